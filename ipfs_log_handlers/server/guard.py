"""Decide to whom the server answers: by host, origin and token of a request; and what each answer forbids."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ipfs_log_handlers.server.answers import Refusal, failure
from ipfs_log_handlers.server.sources import Options

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = ["Guard"]

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "ipfs-logs",
}
"""The headers of every answer."""
_OPEN: Final = ("/healthz", "/login")
"""Routes that need no token."""
_NAVIGATED: Final = ("/", "/login")
"""Routes to which a link on another page may lead."""
_UNKNOWN_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>ipfs-logs</title><link rel=icon href='data:,'>"
    "<p>This server wants a token. Open the link that it printed when it was started, in this tab."
)
_KNOWN_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>ipfs-logs</title><p><a href=/>Show the records</a>"
)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


def _is_loopback(address: str) -> bool:
    """Return whether only this machine can reach an IP address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Guard:
    """The middleware that stands before every route.

    Args:
        options: how the server listens.
    """

    def __init__(self, options: Options) -> None:
        self._token = options.token
        self._names = frozenset(name.lower() for name in options.names)
        self._is_local = _is_loopback(options.address)
        secret = b"" if options.token is None else options.token.encode()
        self._cookie = hashlib.sha256(b"ipfs-logs serve cookie\0" + secret).hexdigest()
        self._proxied = bool(options.names)

    # -- the middleware

    def middleware(self) -> Middleware:
        """Return the middleware."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                host = self._checked_host(request)
                self._check_origin(request, host)
            except Refusal as refusal:
                return failure(refusal)
            if self._token is not None and request.path not in _OPEN and not self._is_known(request):
                return self._unknown(request)
            return await handler(request)

        return guard

    async def add_headers(self, _: web.Request, answer: web.StreamResponse) -> None:
        """Add the headers that each answer has; a signal of aiohttp, so that streams have them, too."""
        for name, value in _HEADERS.items():
            answer.headers[name] = value
        answer.headers.setdefault("Cache-Control", "no-store")

    def _checked_host(self, request: web.Request) -> str:
        """Return the host that the client asked for, with its port.

        A page of a stranger whose name leads to this machine has another host: it is refused.
        """
        given = request.headers.getall("Host", [])
        host = given[0].lower() if len(given) == 1 else ""
        name = _name_of(host)
        is_known = name in _LOOPBACK_NAMES or name in self._names or (not self._is_local and _is_address(name))
        if not is_known:
            raise Refusal(
                421, "this is not a name of this server", where="Host", found=host,
                hint="Behind a proxy, start the server with --behind-proxy and that name.",
            )  # fmt: skip
        return host

    def _check_origin(self, request: web.Request, host: str) -> None:
        """Refuse what a page of another site has asked for."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise Refusal(403, "the request comes from another page", where="Origin", found=origin)
        site = request.headers.get("Sec-Fetch-Site", "none")
        if site in ("none", "same-origin"):
            return
        if request.path in _NAVIGATED and request.headers.get("Sec-Fetch-Mode") == "navigate":
            return
        raise Refusal(403, "the request comes from another page", where="Sec-Fetch-Site", found=site)

    # -- the token

    def _is_known(self, request: web.Request) -> bool:
        """Return whether a request has the cookie, or the token itself."""
        cookie = request.cookies.get(self._cookie_name(request), "")
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        by_cookie = _same(cookie, self._cookie)
        by_token = scheme.lower() == "bearer" and _same(given.strip(), self._token or "")
        return by_cookie or by_token

    def _unknown(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            return web.Response(text=_UNKNOWN_PAGE, status=401, content_type="text/html")
        refusal = Refusal(
            401, "this server wants a token", hint="Open the link that it printed, or send `Authorization: Bearer …`.",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
        return failure(refusal)

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Give a browser the cookie, if its link has the token.

        The answer is a page that leads on, and no redirection: of a redirection that began on another site, browsers
        send no strict cookie.
        """
        if self._token is not None and not _same(request.query.get("token", ""), self._token):
            raise Refusal(403, "this is not the token of this server", where="token")
        answer = web.Response(text=_KNOWN_PAGE, content_type="text/html", headers={"Refresh": "0; url=/"})
        if self._token is not None:
            secure = self._proxied and request.headers.get("X-Forwarded-Proto", "").lower() == "https"
            answer.set_cookie(
                self._cookie_name(request), self._cookie, httponly=True, samesite="Strict", secure=secure, path="/"
            )
        return answer

    @staticmethod
    def _cookie_name(request: web.Request) -> str:
        """Return the name of the cookie: servers on several ports of one machine share all cookies."""
        port = request.host.rpartition(":")[2]
        return f"ipfs_logs_{port}" if port.isdecimal() else "ipfs_logs"


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _name_of(host: str) -> str:
    """Return a host without its port; empty text for what is no host."""
    found = _HOST.fullmatch(host)
    return found[1] if found else ""


def _is_address(name: str) -> bool:
    """Return whether a host is an IP address: no stranger's page can have such a name."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
