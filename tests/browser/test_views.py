"""The other views in a real browser: the chain, the health of the home, SQL, help, colours, time zone, pictures."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ipfs_log_handlers import open_home
from tests.browser.server import Server
from tests.browser.visit import Visit
from tests.support import cli, sample_homes
from tests.support.programs import ROOT

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]

COMMITTED = ROOT / "docs" / "images" / "serve.png"
"""The screenshot that README.md shows."""


def test_the_chain_shows_logs_heads_stores_and_batches(visit: Open, shop_home: Path) -> None:
    """Each log is verified and shows its head and what each store has; each batch is listed."""
    home = open_home(shop_home)
    heads = {status.subsystem: status.head for status in home.status()}
    batches = list(home.batches())
    tab = visit("#/chain")

    assert set(heads) == {text.split()[0] for text in tab.find(".card h3").all_inner_texts()}
    for subsystem, head in heads.items():
        card = tab.find(f'.card[aria-label="Log of {subsystem}"]')
        expect(card).to_contain_text("✓ verified")
        expect(card).to_contain_text(str(head))
        expect(card.locator("progress")).to_have_count(1)
        expect(card).to_contain_text("This reader sees the log for the first time")
    assert {batch.cid for batch in batches} == set(
        tab.find("tr[data-batch]").evaluate_all("rows => rows.map(row => row.dataset.batch)")
    )
    assert {"sealed", "shipped"} <= set(tab.find("tr[data-batch] .state").all_inner_texts()) | {"shipped"}

    tab.find('.card[aria-label="Log of audit"]').get_by_role("link", name="Only its batches").click()
    tab.ready()
    assert {"audit"} == set(tab.find("tr[data-batch] td:first-child").all_inner_texts())
    assert "log=" in tab.page.url


def test_the_chain_says_whether_a_log_continues_what_this_reader_saw_before(
    visit: Open, shop_home: Path, tmp_path: Path
) -> None:
    """A reader that has verified the home before is told that the log continues the head of that time."""
    assert 0 == cli.run("verify", "--memory", tmp_path, home=shop_home).code
    with Server(shop_home, tmp_path) as again:
        tab = visit("#/chain", on=again)
        expect(tab.find(".card").first).to_contain_text("The log continues the head that this reader saw before")


def test_the_chain_of_a_car_file_shows_its_batches(visit: Open, shop_home: Path, tmp_path: Path) -> None:
    """A file has no index that knows manifests and times of sealing: its batches are shown without these."""
    home = open_home(shop_home)
    home.export_car(tmp_path / "logs.car")
    count = len(list(home.batches()))
    with Server(None, tmp_path / "known", "--source", str(tmp_path / "logs.car")) as exported:
        tab = visit("#/chain", on=exported)
        expect(tab.find("tr[data-batch]")).to_have_count(count)
        first = tab.find("tr[data-batch]").first.locator("td")
        expect(first.nth(2)).to_have_text("–")
        expect(first.last).to_have_text("–")
        expect(tab.find(".chart[aria-label]")).to_have_attribute("aria-label", re.compile(f"{count} batches, from 2"))


def test_the_chain_says_which_batch_it_cannot_list(visit: Open, shop_home: Path, tmp_path: Path) -> None:
    """A batch whose file was emptied is named above the list of the others."""
    shutil.copytree(shop_home, tmp_path / "home", symlinks=True)
    sample_homes.cut_off(tmp_path / "home", 0)
    with Server(tmp_path / "home", tmp_path / "known") as damaged:
        tab = visit("#/chain", on=damaged)
        expect(tab.find("ul.problems[aria-label='Batches that are not listed'] li")).to_have_count(1)
        expect(tab.find("tr[data-batch]").first).to_be_visible()


def test_health_shows_counters_keeper_and_what_doctor_finds(visit: Open, shop_home: Path) -> None:
    """The counters are those of `ipfs-logs status`, the checks those of `ipfs-logs doctor`, the worst first."""
    home = open_home(shop_home)
    tab = visit("#/health")
    for status in home.status():
        card = tab.find(f'.card[aria-label="Subsystem {status.subsystem}"]')
        counts = [int(text.replace(",", "")) for text in card.locator(".flow-step strong").all_inner_texts()]
        assert [status.durable, status.sealed, status.shipped, status.published] == counts
    order = ["fail", "warn", "ok"]
    states = tab.find(".checks li").evaluate_all("items => items.map(item => item.dataset.state)")

    assert sorted(states, key=order.index) == states
    assert len(states) > 3
    expect(tab.find(".page > p:not(.verdict)")).to_contain_text("No process is the keeper now")
    tab.button("Check again").click()
    tab.ready()


def test_sql_answers_a_query_over_the_records_of_the_filter(visit: Open, shop_home: Path) -> None:
    """The answer is a table; the query is in the address; an error is shown in words."""
    with open_home(shop_home).dataset() as dataset:
        count = dataset.filter(logger="shop.payments").count()
    tab = visit("#/sql?logger=shop.payments")
    tab.find("#sql-text").fill("SELECT logger, count(*) AS n FROM logs_all GROUP BY logger")
    tab.button("Run").click()
    expect(tab.find(".answer th")).to_have_text(["logger", "n"])
    expect(tab.find(".answer td")).to_have_text(["shop.payments", str(count)])
    assert "query=SELECT" in tab.page.url

    broken = visit("#/sql", allowed=("400",))
    broken.find("#sql-text").fill("SELECT nonsense FROM logs_all")
    broken.page.keyboard.press("Control+Enter")
    expect(broken.find(".answer [role=alert]")).to_contain_text("nonsense")


def test_colours_follow_the_system_or_the_choice_and_are_kept(visit: Open) -> None:
    """The button goes from automatic to light and dark; the choice holds after a reload."""
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    background = "document.body && getComputedStyle(document.body).backgroundColor"
    bright, dim = light.page.evaluate(background), dark.page.evaluate(background)
    assert bright != dim
    dark.page.emulate_media(color_scheme="light")
    expect(dark.find("html")).to_have_attribute("data-theme", "light")
    assert bright == dark.page.evaluate(background)

    light.button("Automatic colours").click()
    light.button("Light colours").click()
    assert dim == light.page.evaluate(background)
    light.page.reload()
    light.ready()
    assert dim == light.page.evaluate(background)
    assert "Dark colours" == light.find("#theme").inner_text()
    light.page.emulate_media(color_scheme="dark")
    light.page.emulate_media(color_scheme="light")
    assert dim == light.page.evaluate(background)


def test_times_are_shown_in_the_local_time_zone_or_in_utc(visit: Open) -> None:
    """The button changes every time on the page, and the same record has another time of day."""
    tab = visit(timezone_id="Asia/Kolkata")
    shown = tab.find("tr.record time").first
    utc = shown.get_attribute("datetime") or ""
    assert utc[11:16] not in shown.inner_text()
    tab.button("Local time").click()
    assert utc[11:23] in shown.inner_text()
    assert "UTC" == tab.find("#zone").inner_text()


def test_a_level_of_the_address_is_one_choice_however_often_it_is_shown(visit: Open) -> None:
    """A level that the page does not offer is added to its list once, and only while it is chosen."""
    tab = visit("#/records?level=notice")
    offered = tab.find("#level option")
    assert ["notice and above"] == [text for text in offered.all_inner_texts() if "notice" in text.lower()]
    tab.button("Local time").click()
    tab.button("UTC").click()
    assert ["notice and above"] == [text for text in offered.all_inner_texts() if "notice" in text.lower()]
    tab.find("#level").select_option("error")
    tab.ready()
    assert [] == [text for text in offered.all_inner_texts() if "notice" in text.lower()]


def test_a_home_without_records_says_so(visit: Open, tmp_path: Path) -> None:
    """An empty home has no error, only words."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with Server(home, tmp_path / "known") as empty:
        tab = visit(on=empty)
        expect(tab.find(".end")).to_contain_text("No record matches")
        tab.go("#/chain")
        expect(tab.find(".logs")).to_contain_text("There is no log yet")
        tab.go("#/health")
        expect(tab.find(".logs")).to_contain_text("Nothing was logged yet")


def test_a_server_that_does_not_answer_is_said(visit: Open, shop_home: Path, tmp_path: Path) -> None:
    """After the end of the server the page says so, keeps what it shows, and goes on when the server is back."""
    with Server(shop_home, tmp_path / "known") as ending:
        tab = visit("#/records?subsystem=audit", on=ending, allowed=("ERR_CONNECTION_REFUSED",))
        ending.stop()
        tab.find("#level").select_option("warning")
        expect(tab.find(".end")).to_contain_text("The server does not answer")
        ending.start()
        tab.button("Reload").click()
        tab.ready()
        assert {"warning"} == set(tab.find("td.level").all_inner_texts())


def test_pictures_of_the_page_are_kept(visit: Open, pictures: Path) -> None:
    """The run keeps a picture of each view, and the one that README.md shows is small and a picture."""
    tab = visit()
    tab.find("td.proof a").nth(3).click()
    tab.page.wait_for_selector('.detail[data-ready="yes"]')
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.screenshot(path=pictures / f"records-{scheme}.png")
    for view in ("chain", "health", "sql"):
        tab.go(f"#/{view}").page.screenshot(path=pictures / f"{view}.png")

    kept = [pictures / f"{name}.png" for name in ("records-light", "records-dark", "chain", "health", "sql")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in [*kept, COMMITTED])
    assert os.path.getsize(COMMITTED) < 300_000
    assert "docs/images/serve.png" in (ROOT / "README.md").read_text()
