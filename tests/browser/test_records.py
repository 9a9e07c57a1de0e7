"""The view of records in a real browser: table, histogram, facets, filters, one record with its proof, downloads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import expect

from ipfs_log_handlers import check, open_home
from tests.browser.server import Server
from tests.browser.visit import Visit

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]

PUBLISHED = "#/records?subsystem=logs&until=80m&level=error"
"""Records of the first part of the home, which is published."""


def _query(tab: Visit) -> dict[str, list[str]]:
    """Return the filter in the address of a tab."""
    return parse_qs(tab.page.url.partition("#")[2].partition("?")[2])


def _total(tab: Visit) -> int:
    """Return the number of records that the histogram states."""
    return int(tab.find(".histogram .told strong").inner_text().split()[0].replace(",", ""))


def test_the_first_view_shows_the_newest_records_the_histogram_and_the_facets(visit: Open, shop_home: Path) -> None:
    """Without a filter, all records are counted, and the newest hundred stand in the order of time."""
    tab = visit()
    with open_home(shop_home).dataset() as dataset:
        count = dataset.count()

    assert count == _total(tab)
    times = tab.find("tr.record time").evaluate_all("nodes => nodes.map(node => node.dateTime)")
    assert len(times) >= 100
    assert sorted(times, reverse=True) == times
    assert ["level", "logger", "subsystem", "event"] == tab.find(".facet").evaluate_all(
        "nodes => nodes.map(node => node.dataset.field)"
    )
    assert tab.find(".histogram canvas").count() == 1
    assert str(shop_home) == tab.find("#source").inner_text()


def test_older_records_come_as_a_person_scrolls_and_none_twice(visit: Open) -> None:
    """The end of the list loads the next page; no record is shown twice, and the end is said."""
    tab = visit("#/records?subsystem=audit")
    total = _total(tab)
    while not tab.find(".end").inner_text():
        tab.page.mouse.wheel(0, 20_000)
        tab.page.wait_for_timeout(50)
    ids = tab.rows().evaluate_all("rows => rows.map(row => row.dataset.id)")

    assert total == len(ids) == len(set(ids)) > 100
    assert "This is the oldest record" in tab.find(".end").inner_text()


def test_facets_search_and_level_narrow_the_view_and_are_in_its_address(visit: Open) -> None:
    """Each choice is a part of the address, has a chip that takes it away, and the button Back undoes it."""
    tab = visit()
    everything = _total(tab)
    tab.button("Only logger shop.payments", exact=False).click()
    payments = _total(tab.ready())
    assert {"logger": ["shop.payments"]} == _query(tab)
    assert {"shop.payments"} == set(tab.find("td.logger").all_inner_texts())

    tab.find("#search").fill("order>=100400")
    tab.page.keyboard.press("Enter")
    some = _total(tab.ready())
    assert {"logger": ["shop.payments"], "where": ["order>=100400"]} == _query(tab)
    assert 0 < some < payments < everything

    same = visit(tab.page.url.removeprefix(tab.url))
    assert some == _total(same)

    tab.button("Remove where order>=100400 from the filter").click()
    assert payments == _total(tab.ready())
    tab.page.go_back()
    assert some == _total(tab.ready())

    tab.button("Remove all").click()
    tab.ready()
    tab.find("#level").select_option("error")
    tab.ready()
    assert {"level": ["error"]} == _query(tab)
    assert {"error"} == set(tab.find("td.level").all_inner_texts())

    tab.find("#search").fill("failed")
    tab.button("Search", exact=True).click()
    tab.ready()
    assert {"level": ["error"], "contains": ["failed"]} == _query(tab)
    assert {"payment failed"} == set(tab.find(".event-name").all_inner_texts())


def test_a_filter_that_the_server_refuses_is_explained(visit: Open) -> None:
    """A condition that is none, or an empty result, is said in words."""
    tab = visit("#/records?where=nonsense", allowed=("400",))
    expect(tab.find(".end")).to_contain_text("not a condition on a field")

    tab.go("#/records?contains=there-is-no-such-text")
    expect(tab.find(".end")).to_contain_text("No record matches")


def test_dragging_over_the_histogram_zooms_and_its_buttons_move_the_range(visit: Open) -> None:
    """A drag chooses the range under it; the buttons double the range and move it."""
    tab = visit()
    everything = _total(tab)
    box = tab.find(".u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=4)
    tab.page.mouse.up()
    zoomed = _total(tab.ready())
    since, until = _query(tab)["since"][0], _query(tab)["until"][0]
    times = tab.find("tr.record time").evaluate_all("nodes => nodes.map(node => node.dateTime)")

    assert 0 < zoomed < everything
    assert all(since[:23] <= time[:23] <= until[:23] for time in times)

    tab.button("Zoom out").click()
    assert zoomed < _total(tab.ready())
    tab.button("Later").click()
    tab.ready()
    assert until < _query(tab)["until"][0]


def test_a_record_shows_its_fields_traceback_neighbours_and_request(visit: Open) -> None:
    """The panel has the fields as a tree, the traceback, the same process, and all of the same request."""
    tab = visit(f"{PUBLISHED}&logger=shop.payments")
    tab.find(".event-name").first.click()
    tab.page.wait_for_selector('.detail[data-ready="yes"]')
    detail = tab.find(".detail")

    expect(detail.locator("pre.trace")).to_contain_text("TimeoutError: no answer after 5 s")
    branch = detail.locator(".branch", has_text="amount")
    expect(branch.locator(".leaf", has_text="currency")).to_contain_text("EUR")
    expect(detail.locator('section[data-by="process"] li[aria-current="true"]')).to_have_count(1)
    assert detail.locator('section[data-by="process"] li').count() > 5
    request = detail.locator('section[data-by="request_id"] li')
    assert request.count() >= 2
    assert "request handled" in " ".join(request.all_inner_texts())
    stored = detail.locator(".stored pre").text_content() or ""
    assert "payment failed" == json.loads(stored)["event"]

    detail.locator('section[data-by="request_id"] a', has_text="request handled").click()
    expect(detail.locator("h2")).to_have_text("request handled")
    tab.page.wait_for_selector('.detail[data-ready="yes"]')
    detail.get_by_role("button", name="Only records with path = ", exact=False).click(force=True)
    tab.ready()
    assert _query(tab)["where"][0].startswith('path="/')
    expect(detail).to_be_hidden()


def test_the_proof_column_says_how_far_each_record_has_come(visit: Open) -> None:
    """All four states are shown, the newest records first in the spool, the oldest ones published."""
    tab = visit("#/records?subsystem=logs")
    states = set()
    for address in ("#/records?subsystem=logs&since=6m", "#/records?subsystem=logs&since=20m&until=7m",
                    "#/records?subsystem=logs&since=55m&until=27m", "#/records?subsystem=logs&until=2h"):  # fmt: skip
        tab.go(address)
        states |= set(tab.find("tr.record .state").evaluate_all("nodes => nodes.map(node => node.dataset.state)"))

    assert {"spool", "sealed", "shipped", "published"} == states


def test_the_proof_names_key_batch_and_checkpoint_and_its_bundle_is_checked_elsewhere(
    visit: Open, shop_home: Path, tmp_path: Path
) -> None:
    """The panel verifies the record; the downloaded bundle proves it with the key of the home alone."""
    tab = visit(PUBLISHED)
    tab.find("td.proof a").first.click()
    proof = tab.find('.proof-section[data-ready="yes"]')
    expect(proof.locator(".verdict")).to_contain_text("Verified.")
    expect(proof.locator(".verdict")).to_be_in_viewport()
    key = open_home(shop_home).public_key()
    assert key is not None

    assert ["true"] * 4 == proof.locator(".steps li").evaluate_all("nodes => nodes.map(node => node.dataset.done)")
    expect(proof).to_contain_text(key.verifier)
    expect(proof).to_contain_text("This is the key of the home")
    with tab.page.expect_download() as started:
        proof.get_by_role("link", name="Download the bundle").click()
    path = tmp_path / "bundle"
    started.value.save_as(path)
    proven = check(path.read_bytes(), key.verifier)
    expect(proof).to_contain_text(proven.cid)
    expect(proof).to_contain_text(proven.log)
    expect(proof).to_contain_text(proven.tree_root)


def test_a_record_in_the_spool_has_no_proof_yet(visit: Open) -> None:
    """Of a record in no batch the panel says that nothing is signed."""
    tab = visit("#/records?since=6m&subsystem=logs")
    tab.find("td.proof a").first.click()
    proof = tab.find('.proof-section[data-ready="yes"]')

    expect(proof.locator(".verdict")).to_contain_text("Not signed yet.")
    expect(proof.get_by_role("link", name="Download the bundle")).to_have_count(0)


@pytest.mark.parametrize("name", ["JSON Lines", "Table"])
def test_what_is_shown_can_be_downloaded(visit: Open, tmp_path: Path, name: str) -> None:
    """The file has the records of the filter, one for each line."""
    tab = visit("#/records?subsystem=audit&level=warning")
    total = _total(tab)
    tab.find(".menu summary").click()
    with tab.page.expect_download() as started:
        tab.page.get_by_role("link", name=re.compile(name)).click()
    path = tmp_path / started.value.suggested_filename
    started.value.save_as(path)
    lines = path.read_text().splitlines()

    assert path.suffix == {"JSON Lines": ".jsonl", "Table": ".csv"}[name]
    assert total == len(lines) - (path.suffix == ".csv")
    assert all("audit" in line for line in lines[1:])


def test_a_tab_of_a_server_with_a_token_needs_the_link(
    visit: Open, shop_home: Path, tmp_path: Path, server: Server
) -> None:
    """Without the token the page shows nothing and says what to do; the link opens it, and stays in no address."""
    token = "a-token-of-32-characters-0123456"
    with Server(shop_home, tmp_path, "--token", token) as guarded:
        closed = visit("healthz", on=guarded, wait=False, allowed=("401",))
        closed.page.goto(guarded.url)
        expect(closed.find("body")).to_contain_text("token")
        assert closed.find("tr.record").count() == 0

        tab = visit(f"login?token={token}", on=guarded)
        assert token not in tab.page.url
        assert tab.rows().count() >= 100
