"""The page with the keyboard alone, and its accessibility as axe-core sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.axe import serious_findings
from tests.browser.visit import Visit

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]


def _press(tab: Visit, *keys: str) -> None:
    for key in keys:
        tab.page.keyboard.press(key)


def _focused(tab: Visit) -> str:
    """Return tag and text of the element that has the focus."""
    return str(tab.page.evaluate("`${document.activeElement.tagName} ${document.activeElement.innerText}`"))


def test_every_feature_can_be_used_with_the_keyboard_alone(visit: Open) -> None:
    """Search, go through the records, expand one, open one, see its proof, close it, help, views, live tail."""
    tab = visit()
    _press(tab, "Tab")
    assert "Skip to the content" in _focused(tab)
    _press(tab, "Enter")
    assert _focused(tab).startswith("MAIN")

    _press(tab, "/")
    tab.page.keyboard.type("failed")
    _press(tab, "Enter")
    tab.ready()
    assert {"payment failed"} == set(tab.find(".event-name").all_inner_texts())
    _press(tab, "Escape", "j", "j", "j", "k")
    second = tab.rows().nth(1)
    expect(second).to_be_focused()
    expect(second).to_have_attribute("aria-current", "true")

    _press(tab, "e")
    expect(tab.find("tr.expanded pre.trace")).to_contain_text("TimeoutError")
    _press(tab, "e")
    expect(tab.find("tr.expanded")).to_have_count(0)

    _press(tab, "Enter")
    tab.page.wait_for_selector('.detail[data-ready="yes"]')
    assert "record=" in tab.page.url
    assert _focused(tab).startswith("ASIDE")
    _press(tab, "Tab", "Tab")
    assert tab.page.evaluate("Boolean(document.activeElement.closest('.detail'))")
    _press(tab, "Escape")
    expect(tab.find(".detail")).to_be_hidden()
    expect(second).to_be_focused()

    _press(tab, "?")
    expect(tab.find("dialog#help")).to_be_visible()
    _press(tab, "Escape")
    expect(tab.find("dialog#help")).to_be_hidden()

    _press(tab, "2")
    expect(tab.ready().find("h1")).to_have_text("Chain")
    _press(tab, "3")
    expect(tab.ready().find("h1")).to_have_text("Health")
    _press(tab, "1", "l")
    tab.page.wait_for_selector('.tail-state[data-state="live"]')
    _press(tab, "p")
    tab.page.wait_for_selector('.tail-state[data-state="paused"]')
    _press(tab, "p", "l")
    tab.page.wait_for_selector('.tail-state[data-state="off"]', state="attached")


def test_the_range_is_zoomed_and_values_are_chosen_with_the_keyboard(visit: Open) -> None:
    """The histogram takes plus, minus and arrows; a facet and the range are controls like others."""
    tab = visit()
    tab.find(".histogram .chart").focus()
    _press(tab, "+")
    assert "since=" in tab.ready().page.url
    facet = tab.button("Only level ", exact=False).first
    facet.focus()
    _press(tab, "Enter")
    tab.ready()
    assert "where=level" in tab.page.url

    tab.find("#range").select_option("own")
    tab.find("#from").fill("2h")
    tab.find("#until").fill("now")
    _press(tab, "Enter")
    tab.ready()
    assert "since=2h" in tab.page.url
    assert "until" not in tab.page.url


def test_the_keys_can_be_turned_off(visit: Open) -> None:
    """A person who speaks to the computer turns the single keys off, and they stay off."""
    tab = visit()
    tab.button("Help").click()
    tab.find("#keys-on").uncheck()
    tab.button("Close").click()
    tab.page.reload()
    tab.ready()
    _press(tab, "2")
    assert "#/chain" not in tab.page.url
    _press(tab, "Tab", "Tab")


def test_the_focus_can_be_seen_on_each_control(visit: Open) -> None:
    """Each control that Tab reaches before the records has an outline."""
    tab = visit()
    outline = "(style => style.outlineStyle + ' ' + style.outlineWidth)(getComputedStyle(document.activeElement))"
    for _ in range(25):
        _press(tab, "Tab")
        assert "solid 2px" == tab.page.evaluate(outline), _focused(tab)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Open, scheme: str) -> None:
    """No view has a serious finding: with an open record, an expanded one, a filter, the help, the live tail."""
    tab = visit("#/records?live=1&contains=failed", color_scheme=scheme, reduced_motion="reduce")
    _press(tab, "j", "e", "j", "Enter")
    tab.page.wait_for_selector('.detail[data-ready="yes"]')
    assert [] == serious_findings(tab.page)
    _press(tab, "?")
    assert [] == serious_findings(tab.page)
    _press(tab, "Escape")

    for view in ("#/chain", "#/health", "#/sql"):
        tab.go(view)
        if view == "#/sql":
            tab.button("Run").click()
            tab.page.wait_for_selector(".answer table")
        assert [] == serious_findings(tab.page), view


def test_a_narrow_window_has_all_of_it_without_scrolling_sideways(visit: Open) -> None:
    """On a telephone, nothing is cut off, and an open record covers the table."""
    tab = visit(viewport={"width": 390, "height": 800})
    for view in ("#/records", "#/chain", "#/health"):
        tab.go(view)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390, view
    tab.go("#/records")
    tab.find(".event-name").first.click()
    tab.page.wait_for_selector('.detail[data-ready="yes"]')
    box = tab.find(".detail").bounding_box()
    assert box is not None
    assert box["width"] <= 390
    tab.button("Close the record").click()
    expect(tab.find(".detail")).to_be_hidden()
