"""Make one call to Kubo's RPC: return an answer of status 200; every other outcome raises one of our errors.

This module needs no executor and no thread, so that a request works while the interpreter shuts down: the resolver
blocks the keeper's thread on purpose. No proxy, netrc, redirect or cookie is used, and no Origin or Referer is sent.
Every call has a deadline, which is also sent to the daemon, and a limit for its answer. No call is retried.
RPC: https://docs.ipfs.tech/reference/kubo/rpc/.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import metadata
from secrets import token_hex
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ipfs_log_handlers.concurrency import threads
from ipfs_log_handlers.errors import ConfigurationError, FormatError, StoreDenied, StoreError
from ipfs_log_handlers.stores.address import AUTO, authorization, multiaddr_to_url
from ipfs_log_handlers.stores.foreign_errors import in_own_words, translate
from ipfs_log_handlers.stores.kubo_answers import MAX_LINE, failure

__all__ = [
    "CONNECT_S",
    "Content",
    "KeeperResolver",
    "KuboRpc",
    "Options",
    "Upload",
    "complaint_of",
    "hidden",
    "leave_behind",
    "open_session",
    "own_version",
    "read",
    "read_token",
]

CONNECT_S: Final = 5.0
"""Seconds for one connection. A lost SYN is sent again after one second and after three."""

MAX_ANSWER: Final = 1 << 20
"""Largest number of bytes of an answer that is not a block."""

_READ_BYTES: Final = 1 << 16
"""Bytes of an answer that are read at a time."""
_DEFAULT_API: Final = "http://127.0.0.1:5001"
"""The address of a daemon whose `api` file does not exist."""
_MAX_TOKEN_CHARS: Final = 1 << 14
"""Characters that are read of a token file."""
_TOKEN_FORMS_HINT: Final = "Write bearer:SECRET or basic:USER:PASSWORD into it"  # noqa: S105 - no token
_MAX_API_FILE_CHARS: Final = 2048
"""Characters that are read of the file in which a daemon writes its address."""

Options = Mapping[str, "str | Sequence[str]"]
"""Query parameters of a call, by name; one with several values is sent once for each."""

_left_behind: list[aiohttp.BaseConnector] = []
"""Connections of an event loop that no longer exists (after a fork). They are not closed: that would use this loop."""


class KeeperResolver(AbstractResolver):
    """Resolve names without an executor, which fails at exit, and without AI_ADDRCONFIG, which can hang a fork."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve on the calling thread, which is the keeper's; `localhost` needs no look-up."""
        if host == "localhost" or host.endswith(".localhost"):
            addresses = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
        else:
            threads.IN_NAME_LOOKUP.add(threading.get_ident())
            try:
                entries = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            finally:
                threads.IN_NAME_LOOKUP.discard(threading.get_ident())
            addresses = [(kind, str(place[0])) for kind, _, _, _, place in entries]
        return [_resolved(host, port, kind, text) for kind, text in addresses if family in {socket.AF_UNSPEC, kind}]

    async def close(self) -> None:
        """Do nothing: this resolver holds nothing open."""


def _resolved(host: str, port: int, family: socket.AddressFamily, address: str) -> ResolveResult:
    flags = socket.AI_NUMERICHOST
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=flags)


class Content(Protocol):
    """The bytes of an upload; a `Shipment` is one."""

    @property
    def size(self) -> int:
        """Number of the bytes."""

    @property
    def open(self) -> Callable[[], Iterable[bytes]]:
        """Function that reads the bytes from their start, in pieces."""


class Upload:
    """Stream a CAR, or another file, as the one part of a multipart body; its length is known beforehand."""

    trouble: Exception | None = None
    """The error that occurred when our own CAR was read: then the request failed, and the daemon is not the cause."""

    def __init__(self, content: Content) -> None:
        boundary = token_hex(16)
        part = 'Content-Disposition: form-data; name="file"; filename="batch.car"'
        self._head = f"--{boundary}\r\n{part}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._content = content
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + content.size + len(self._tail)),
        }

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body. The CAR is opened when the daemon reads, and closed when the daemon goes away."""
        yield self._head
        left = self._content.size
        pieces: Iterable[bytes] = ()
        try:
            pieces = self._content.open()
            for piece in pieces:
                left -= len(piece)
                if left < 0:
                    break
                yield piece
            if left != 0:
                raise FormatError("a CAR is not as long as its batch says", expected=f"{self._content.size} bytes")
        except Exception as error:
            self.trouble = error
            raise
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        yield self._tail


class KuboRpc:
    """Call one daemon, with its current address, the current token, and the connections of one event loop.

    Args:
        address: normalised.
        token: in the form that `normalise_token` has checked, or None.
    """

    connected: bool = False
    """False before `look` and after a connection was lost: another daemon may answer the next call."""

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address
        self._token = token
        self._authorization: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.endpoint = ""

    def __del__(self) -> None:
        """Prevent aiohttp from logging connections that were not closed: logging would call this package."""
        session = getattr(self, "_session", None)
        if session is not None:
            session.detach()

    @property
    def where(self) -> str:
        """The address as errors name it."""
        return f"{AUTO} ({self.endpoint})" if self._address == AUTO and self.endpoint else self._address

    @property
    def is_here(self) -> bool:
        """Return whether the daemon is on this machine, as far as its address says it."""
        if self.endpoint.startswith("/unix/"):
            return True
        host = urlsplit(self.endpoint).hostname or ""
        return host == "localhost" or host.startswith("127.") or host == "::1"

    @property
    def usable(self) -> bool:
        """Return whether the running loop may use the open connections."""
        return self.connected and self._loop is asyncio.get_running_loop()

    async def look(self) -> None:
        """Read address and token again: the daemon may have another port, the token may have been renewed."""
        self._authorization = read_token(self._token)
        endpoint = _discover() if self._address == AUTO else self._address
        if endpoint != self.endpoint:
            await self.close()
            self.endpoint = endpoint

    async def close(self) -> None:
        """Close the connections, if they belong to the running loop."""
        session, self._session, self.connected = self._session, None, False
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()
        elif session is not None:
            leave_behind(session)

    async def call(self, command: str, options: Options, *, deadline_s: float, bound: int = MAX_ANSWER) -> bytes:
        """Make a call without a body; return the whole answer, cut one byte after `bound`."""
        async with self.request(command, options, deadline_s=deadline_s) as response:
            return await read(response, bound)

    @asynccontextmanager
    async def request(
        self, command: str, options: Options, *, deadline_s: float, upload: Upload | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a call; inside the block is an answer of status 200, and every error that leaves it is a `StoreError`.

        Args:
            command: the part of the path after `/api/v0/`.
            options: query parameters.
            deadline_s: seconds that the daemon gets. The call waits a little longer, so that the daemon can answer that
                it was too slow.
            upload: the body, if the call has one.
        """
        limit = deadline_s + min(5.0, deadline_s / 2)
        with self._translated(limit):
            response = await self._running_session().post(
                f"{_base(self.endpoint)}/api/v0/{command}",
                params={**options, "timeout": f"{max(1, round(deadline_s * 1000))}ms"},
                data=None if upload is None else upload.body(),
                headers=self._headers(upload),
                timeout=aiohttp.ClientTimeout(total=limit, sock_connect=min(CONNECT_S, limit)),
                allow_redirects=False,
            )
            try:
                if response.status != 200:
                    complaint = hidden(await complaint_of(response), self._authorization)
                    raise failure(response.status, complaint, self.where, response.headers)
                yield response
            except BaseException:
                response.close()
                raise
            response.release()

    def _headers(self, upload: Upload | None) -> dict[str, str]:
        headers = {"Content-Length": "0"} if upload is None else upload.headers
        return headers if self._authorization is None else {**headers, "Authorization": self._authorization}

    def _running_session(self) -> aiohttp.ClientSession:
        """Return the session of the running loop; it is made here, because a constructor has no loop."""
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop:
            leave_behind(self._session)
            self._session = None
        if self._session is None:
            self._session, self._loop = open_session(self.endpoint), loop
        return self._session

    @contextmanager
    def _translated(self, limit_s: float) -> Iterator[None]:
        """Translate foreign exceptions; after a lost connection, another daemon may be at the address."""
        try:
            yield
        except StoreError as error:
            if isinstance(error, StoreDenied):
                self.connected = False
            if isinstance(error.found, str):  # a daemon, or a proxy before it, may repeat the token
                error.found = hidden(error.found.encode("utf-8", "replace"), self._authorization).decode()
            raise
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, EOFError) as error:
            self.connected = False
            ours = translate(error, where=self.where, connect_s=min(CONNECT_S, limit_s), answer_s=limit_s)
            raise ours from error


async def read(response: aiohttp.ClientResponse, bound: int) -> bytes:
    """Read at most one byte more than `bound`: that byte shows that the answer was too long."""
    pieces, left = [], bound + 1
    while left > 0 and (piece := await response.content.read(min(left, _READ_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def hidden(answer: bytes, authorization: str | None) -> bytes:
    """Return an answer without the credential of the call, in any form in which the answer may repeat it."""
    if authorization is None:
        return answer
    kind, _, sent = authorization.partition(" ")
    secrets = [sent]
    if kind == "Basic":
        with suppress(ValueError):
            pair = base64.b64decode(sent).decode("utf-8", "replace")
            secrets += [pair, pair.partition(":")[2]]
    for secret in filter(None, secrets):
        for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
            answer = answer.replace(form.encode("utf-8", "replace"), b"[token]")
    return answer


async def complaint_of(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of a failure; if the connection breaks, only the status is used."""
    try:
        return await read(response, MAX_LINE)
    except (asyncio.TimeoutError, aiohttp.ClientError, OSError):
        return b""


class _TcpConnector(aiohttp.TCPConnector):
    def __del__(self, _warnings: object = None) -> None:
        """Prevent aiohttp from logging a connector that was not closed: logging would call this package."""


class _UnixConnector(aiohttp.UnixConnector):
    def __del__(self, _warnings: object = None) -> None:
        """Prevent aiohttp from logging, as above."""


def leave_behind(session: aiohttp.ClientSession) -> None:
    """Give up a session of an event loop that no longer exists, without closing its connections."""
    if session.connector is not None:
        _left_behind.append(session.connector)
    session.detach()


def open_session(endpoint: str, *, connections: int = 8) -> aiohttp.ClientSession:
    """Open a session that ignores proxy variables, and that logs nothing if it is never closed.

    Args:
        endpoint: the URL, or `/unix/…`.
        connections: largest number of connections at the same time.
    """
    connector: aiohttp.BaseConnector
    if endpoint.startswith("/unix/"):
        connector = _UnixConnector(endpoint.removeprefix("/unix"))
    else:
        connector = _TcpConnector(resolver=KeeperResolver(), limit=connections)
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"ipfs-log-handlers/{own_version()}", "Accept-Encoding": "identity"},
    )


def _base(endpoint: str) -> str:
    return "http://unix" if endpoint.startswith("/unix/") else endpoint


def _discover() -> str:
    """Return the address in the `api` file that the daemon of this user wrote, else the default."""
    path = os.path.join(os.path.expanduser(os.environ.get("IPFS_PATH") or "~/.ipfs"), "api")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_API_FILE_CHARS).strip()
    except FileNotFoundError:
        return _DEFAULT_API
    except (OSError, ValueError) as error:
        raise StoreDenied("the address of the daemon cannot be read", found=in_own_words(error), where=path) from error
    try:
        return multiaddr_to_url(text)
    except ConfigurationError as error:
        raise StoreDenied("the address of the daemon cannot be read", found=repr(text[:80]), where=path) from error


def read_token(token: str | None) -> str | None:
    """Return the Authorization header; no error contains the secret of `env:` or `file:`."""
    if token is None:
        return None
    kind, _, place = token.partition(":")
    try:
        if kind == "env":
            token = os.environ[place]
        elif kind == "file":
            with open(os.path.expanduser(place), encoding="utf-8") as file:
                token = file.read(_MAX_TOKEN_CHARS)
        return authorization(token)
    except KeyError:
        raise StoreDenied(f"environment variable {place} is not set", where=f"token {kind}:{place}") from None
    except OSError as error:
        raise StoreDenied(
            "the token file cannot be read", found=error.strerror, where=f"token {kind}:{place}"
        ) from error
    except ValueError:
        raise StoreDenied("no token there", where=f"token {kind}:{place}", hint=_TOKEN_FORMS_HINT) from None


def own_version() -> str:
    """Return the version of this package, `0` if it is not installed."""
    try:
        return metadata.version("ipfs-log-handlers")
    except metadata.PackageNotFoundError:
        return "0"
