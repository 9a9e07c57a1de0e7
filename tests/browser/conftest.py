"""Fixtures of the tests in a real browser: Chromium, a home that a program has logged to, and a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ipfs_log_handlers import open_home
from tests.browser.install import NoChromiumError, chromium
from tests.browser.server import Server, history
from tests.browser.visit import DEADLINE_MS, Visit
from tests.support import sample_homes
from tests.support.programs import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.kubo.daemon import Daemon

_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one Chromium for the tests of a module; where there is none, they fail and are not skipped.

    Not for the whole run: while Playwright runs, its event loop counts as running in this thread, and tests of other
    modules start loops of their own.
    """
    from playwright.sync_api import expect, sync_playwright

    try:
        path = chromium()
    except NoChromiumError as error:
        pytest.fail(f"this test needs Chromium: {error}", pytrace=False)
    expect.set_options(timeout=DEADLINE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def shop_home(kubo: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the home of a shop with records of every proof state: published, shipped, sealed and in the spool."""
    home = tmp_path_factory.mktemp("shop") / "home"
    history(home, 700, ago_s=3600, span_s=7200)
    open_home(home).ship((kubo.url,))
    open_home(home).publish((kubo.url,))
    history(home, 120, ago_s=1500, span_s=2000)
    open_home(home).ship((kubo.url,))
    history(home, 100, ago_s=400, span_s=900)
    sample_homes.seal(home)
    history(home, 30, ago_s=10, span_s=280)
    return home


@pytest.fixture(scope="module")
def server(shop_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server over the home of the shop."""
    with Server(shop_home, tmp_path_factory.mktemp("known"), "--sql") as running:
        yield running


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Any]:
    """Return a function that opens a tab; at the end, no tab may have met an error or asked another host."""
    visits: list[Visit] = []

    def open_tab(address: str = "", *, on: Server = server, wait: bool = True, **options: Any) -> Visit:
        visits.append(Visit(browser, on.url, **options))
        return visits[-1].go(address, wait=wait)

    yield open_tab
    problems = [problem for made in visits for problem in made.close()]
    assert [] == problems


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Return the directory in which a run keeps its screenshots."""
    directory = ROOT / "build" / "screenshots"
    os.makedirs(directory, exist_ok=True)
    return directory
