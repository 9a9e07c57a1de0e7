"""The files of the page are served, also the icon for which browsers ask by themselves."""

from __future__ import annotations


def test_a_browser_finds_the_icon_where_an_answer_names_none(server):
    """`/healthz` is JSON: beside it a browser asks for `/favicon.ico`."""
    by_itself, named = server.get("/favicon.ico"), server.get("/page/icon.svg")
    assert (by_itself.status, by_itself.headers["content-type"]) == (200, "image/svg+xml; charset=utf-8")
    assert by_itself.body == named.body
