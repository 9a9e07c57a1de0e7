"""The live tail in a real browser, with a program that logs meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.server import Server, Shop
from tests.browser.visit import Visit
from tests.support import programs

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]
LIVE = "#/records?live=1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server over a home of its own, with a first record."""
    directory = tmp_path_factory.mktemp("tail")
    with Shop(directory / "home") as shop:
        shop.log("the first record")
    with Server(directory / "home", directory / "known") as running:
        yield running


@pytest.fixture
def shop(server: Server) -> Iterator[Shop]:
    """Start a program that logs what it is told."""
    with Shop(server.home) as logging:
        yield logging


def _is_live(tab: Visit) -> None:
    """Return when the tail of a tab stands."""
    tab.page.wait_for_selector('.tail-state[data-state="live"]')


def _events(tab: Visit, prefix: str) -> list[str]:
    """Return the events in the table that begin with a prefix, newest first."""
    return [event for event in tab.find(".event-name").all_inner_texts() if event.startswith(prefix)]


def test_a_new_record_appears_at_the_top_soon(visit: Open, shop: Shop) -> None:
    """A record is shown without a reload, announced to screen readers, and is selected by the filter of the page."""
    tab = visit(f"{LIVE}&level=warning")
    _is_live(tab)
    shop.log("too low to be shown", level=20)
    began = time.monotonic()
    shop.log("soon shown", level=30)
    tab.page.wait_for_selector('tr.record:has-text("soon shown")')
    print(f"call to visible row: {time.monotonic() - began:.3f} s")

    assert "soon shown" == tab.find(".event-name").first.inner_text()
    assert [] == _events(tab, "too low")
    expect(tab.find("#status")).to_contain_text("1 new record. soon shown")


def test_a_paused_tail_gets_all_of_the_time_between(visit: Open, shop: Shop) -> None:
    """While it is paused, nothing is added; then all of it comes, in order and once."""
    tab = visit(LIVE)
    _is_live(tab)
    tab.button("Pause").click()
    expect(tab.find(".tail-state")).to_have_text("Paused")
    for number in range(5):
        shop.log(f"while paused {number}")
    assert [] == _events(tab, "while paused")
    tab.button("Go on").click()
    tab.page.wait_for_selector('tr.record:has-text("while paused 4")')

    assert [f"while paused {number}" for number in (4, 3, 2, 1, 0)] == _events(tab, "while paused")


def test_two_tabs_and_a_restart_of_the_server_lose_no_record(visit: Open, server: Server, shop: Shop) -> None:
    """Records before, during and after a restart of the server are in both tabs, in order, each once."""
    tabs = [visit(LIVE, allowed=("net::ERR_",)), visit(LIVE, allowed=("net::ERR_",))]
    for tab in tabs:
        _is_live(tab)
    for number in range(20):
        if number == 7:
            server.stop()
        if number == 13:
            server.start()
        shop.log(f"restart {number:02}")
    for tab in tabs:
        tab.page.wait_for_selector('tr.record:has-text("restart 19")')
        _is_live(tab)
        assert [f"restart {number:02}" for number in reversed(range(20))] == _events(tab, "restart")


def test_a_record_that_comes_while_the_list_loads_is_shown_once(visit: Open, shop: Shop) -> None:
    """What was logged just before and just after the tail began is shown, and not twice."""
    tab = visit(wait=False)
    for number in range(10):
        shop.log(f"meanwhile {number}")
        if number == 4:
            tab.button("Live").click()
    tab.page.wait_for_selector('tr.record:has-text("meanwhile 9")')
    _is_live(tab.ready())

    assert [f"meanwhile {number}" for number in reversed(range(10))] == _events(tab, "meanwhile")


def test_a_tab_that_nobody_sees_closes_its_connection_and_misses_nothing(visit: Open, shop: Shop) -> None:
    """Browsers have few connections to one server; a hidden tab gives its own back, and goes on when it is shown."""
    tab = visit(wait=False)
    tab.page.clock.install()
    tab.go(LIVE)
    _is_live(tab)
    hidden = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
    changed = "document.dispatchEvent(new Event('visibilitychange'))"
    tab.page.evaluate(hidden % "true")
    tab.page.evaluate(changed)
    tab.page.clock.fast_forward(31_000)
    tab.page.wait_for_selector('.tail-state[data-state="paused"]')
    shop.log("while hidden")
    tab.page.evaluate(hidden % "false")
    tab.page.evaluate(changed)
    tab.page.wait_for_selector('tr.record:has-text("while hidden")')


def test_skipped_records_and_the_end_of_the_stream_are_said(visit: Open) -> None:
    """Skipped records are counted on the page, and it connects again after the server has closed the stream.

    The answer is made here: a real server skips records only for a browser that hangs for a long time.
    """
    tab = visit()
    ready = 'id: 1\nevent: ready\ndata: {"cursor": "1"}\n\n'
    end = 'event: end\ndata: {"reason": "the server stops"}\n\n'
    streams = iter([f"{ready}{_skipped(120)}{end}", f"{ready}{_skipped(3)}"])
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=200, content_type="text/event-stream", body=next(streams, ": nothing\n\n"))

    tab.page.route("**/api/tail*", answer)
    tab.button("Live").click()
    expect(tab.find(".tail-state .skipped")).to_contain_text("123 records skipped")
    assert "cursor=1" in asked[1]


def _skipped(count: int) -> str:
    """Return the event of the server that says how many records were skipped."""
    return f'event: skipped\ndata: {{"count": {count}, "total": {count}}}\n\n'


def test_the_tail_can_be_ended_and_is_a_part_of_the_address(visit: Open, shop: Shop) -> None:
    """The button ends the tail; then nothing is added before a reload."""
    tab = visit(LIVE)
    _is_live(tab)
    tab.button("Live").click()
    assert "live" not in tab.ready().page.url
    shop.log("after the end of the tail")
    tab.button("Reload").click()
    tab.page.wait_for_selector('tr.record:has-text("after the end of the tail")')


def test_states_of_shown_records_change_when_they_are_sealed(visit: Open, server: Server, shop: Shop) -> None:
    """A record that was in the spool is shown as sealed after it was sealed, without a reload."""
    tab = visit(LIVE)
    _is_live(tab)
    shop.log("to be sealed")
    row = tab.find('tr.record:has-text("to be sealed")')
    expect(row.locator(".state")).to_have_attribute("data-state", "spool")
    _seal(server.home)
    expect(row.locator(".state")).to_have_attribute("data-state", "sealed")


def _seal(home: Path) -> None:
    """Seal the records of a home, in a process of its own: an event loop runs in this thread."""
    program = "from pathlib import Path\nfrom tests.support import sample_homes\nsample_homes.seal(Path(HOME))"
    programs.run(home, program).clean()
