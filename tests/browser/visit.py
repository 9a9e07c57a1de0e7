"""One tab of the browser, which notes all that it must not do: errors, and requests to another host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Request

__all__ = ["DEADLINE_MS", "Visit"]

DEADLINE_MS = 20_000
"""Milliseconds in which the page must show what a test waits for."""


class Visit:
    """A tab with an empty profile. `page` is Playwright's page.

    Args:
        browser: the browser.
        url: the address of the server.
        allowed: parts of console errors that the test causes itself.
        options: options of Playwright's context, such as `color_scheme`.
    """

    def __init__(self, browser: Browser, url: str, *, allowed: tuple[str, ...] = (), **options: Any) -> None:
        self.url = url
        self.problems: list[str] = []
        self._allowed = allowed
        self._context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self._context.set_default_timeout(DEADLINE_MS)
        self.page = self._context.new_page()
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error of the page: {error}"))
        self.page.on("request", self._note_request)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(part in message.text for part in self._allowed):
            self.problems.append(f"console: {message.text} {message.location}")

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.problems.append(f"request to another host: {request.url}")

    def go(self, address: str = "", *, wait: bool = True) -> Visit:
        """Open an address of the page, such as `#/chain`; return when its view is ready, or at once."""
        self.page.goto(self.url + address)
        return self.ready() if wait else self

    def ready(self) -> Visit:
        """Return when the view has all of its data."""
        self.page.wait_for_selector('main > [data-ready="yes"]')
        return self

    def find(self, selector: str, **options: Any) -> Locator:
        """Return the elements of a selector of CSS."""
        return self.page.locator(selector, **options)

    def button(self, name: str, **options: Any) -> Locator:
        """Return the button with a name."""
        return self.page.get_by_role("button", name=name, **options)

    def rows(self) -> Locator:
        """Return the rows of records."""
        return self.find("tr.record")

    def close(self) -> list[str]:
        """Close the tab; return what it must not have done."""
        self._context.close()
        return self.problems
