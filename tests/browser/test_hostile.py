"""Records that attack the page: all of them are text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.server import Server, Shop
from tests.browser.visit import Visit

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]

_DEEP: dict[str, Any] = {"end": "reached"}
for _level in range(40):
    _DEEP = {"in": _DEEP}

HOSTILE: dict[str, dict[str, Any]] = {
    "<script>window.attacked = 1</script>": {"field": "<script>window.attacked = 2</script>"},
    "<img src=x onerror='window.attacked = 3'>": {"<img src=x onerror='window.attacked = 4'>": "as a name"},
    "\"'><svg onload=window.attacked=5>": {"a": "javascript:window.attacked=6", "href": "https://example.org/x"},
    "ansi \x1b[31mred\x1b[0m \x07": {"nul": "a\x00b", "line": "one\ntwo\r\tthree"},
    "bidi \u202egnp.exe \u2066x\u2069": {"zero": "a\u200bb\ufeffc"},
    "template ${window.attacked = 7} {{7*7}}": {"__proto__": {"polluted": True}, "constructor": "c"},
    "a long field": {"long": "x" * 1_000_000 + "END"},
    "many fields": {f"field{number}": number for number in range(900)},
    "deep": {"deep": _DEEP},
    "numbers": {"big": 2**70, "float": 1e300, "exact": 12345678901234567890},
    "<b>" * 2000: {"list": list(range(500))},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server over a home with hostile records alone."""
    directory = tmp_path_factory.mktemp("hostile")
    with Shop(directory / "home") as shop:
        for event, fields in HOSTILE.items():
            shop.log(event, **fields)
    with Server(directory / "home", directory / "known") as running:
        yield running


def _is_harmless(tab: Visit) -> None:
    """Assert that no record has made an element, run, or changed an object."""
    assert 0 == tab.find("main script, main img, main svg, main iframe, main b, main object, main style").count()
    assert tab.page.evaluate("window.attacked === undefined && {}.polluted === undefined")
    links = tab.find("main a").evaluate_all("nodes => nodes.map(node => node.href)")
    assert [] == [link for link in links if not link.startswith(tab.url)]


def test_hostile_records_are_text_in_the_table_and_the_facets(visit: Open) -> None:
    """Every hostile text is on the page as it was logged, with what cannot be seen as escapes."""
    tab = visit()
    _is_harmless(tab)
    events = tab.find(".event-name").all_inner_texts()

    assert len(HOSTILE) == len(events)
    assert "<script>window.attacked = 1</script>" in events
    assert "<img src=x onerror='window.attacked = 3'>" in events
    assert r"ansi \x1b[31mred\x1b[0m \x07" in events
    assert r"bidi \u202egnp.exe \u2066x\u2069" in events
    facet = tab.find('.facet[data-field="event"]').inner_text()
    assert "<script>window.attacked = 1</script>" in facet
    assert r"\u202egnp.exe" in facet
    seen = tab.find("main").inner_text()
    assert not set("\x1b\u202e\u2066\u200b\ufeff\x00") & set(seen)
    tab.page.keyboard.press("j")
    for _ in HOSTILE:
        tab.page.keyboard.press("e")
        tab.page.keyboard.press("j")
    _is_harmless(tab)


def test_a_hostile_record_is_text_when_it_is_open(visit: Open) -> None:
    """The panel shows each field as text, and has made no element of it."""
    tab = visit()
    for at, event in enumerate(reversed(HOSTILE)):
        tab.rows().nth(at).locator("a.event-name").click()
        expect(tab.rows().nth(at)).to_have_class(re.compile("is-open"))
        tab.page.wait_for_selector('.detail[data-ready="yes"]')
        _is_harmless(tab)
        _shows_all_of(tab, event)


def _shows_all_of(tab: Visit, event: str) -> None:
    """Assert that the open panel has the fields of a hostile record."""
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 1440
    detail = tab.find(".detail")
    if event == "a long field":
        detail.get_by_role("button", name="Show all 1,000,003 characters").click()
        expect(detail.locator(".leaf").filter(has_text="xEND")).to_have_count(1)
    elif event == "deep":
        expect(detail.locator(".leaf", has_text="end").last).to_contain_text("reached")
    elif event == "numbers":
        text = detail.locator(".tree").first.inner_text()
        assert str(2**70) in text
        assert "12345678901234567890" in text
    elif event == "many fields":
        while (more := detail.get_by_role("button", name="Show more", exact=False)).count():
            more.first.click()
        expect(detail.locator(".leaf", has_text="field899")).to_have_count(1)
    else:
        first = next(iter(HOSTILE[event]))
        assert first in detail.locator(".tree").first.inner_text()


def test_a_hostile_value_can_be_chosen_as_a_filter(visit: Open) -> None:
    """A facet with a hostile text selects exactly its record, also from a link, and the chip is text."""
    tab = visit()
    tab.button("Only event <img src=x", exact=False).click()
    tab.ready()
    expect(tab.rows()).to_have_count(1)
    expect(tab.find(".chip")).to_contain_text("<img src=x onerror=")
    _is_harmless(tab)

    attack = "contains=%3Cscript%3Ewindow.attacked%3D8%3C%2Fscript%3E&log=%3Cimg%20src%3Dx%3E&record=%3Cb%3E"
    again = visit(f"#/records?{attack}", allowed=("404", "400"))
    expect(again.find(".chip")).to_contain_text("<script>window.attacked=8</script>")
    _is_harmless(again)
