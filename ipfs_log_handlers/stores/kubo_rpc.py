"""One call to Kubo's RPC: a request out, an answer of status 200 back, and every other outcome as one of our errors.

Nothing here needs an executor or a thread, so that a request works while the interpreter shuts down: the resolver
blocks on purpose, on the keeper's thread. No proxy, netrc, redirect or cookie is followed, and no Origin or Referer
sent. Every call has a deadline, tells it to the daemon, too, and reads an answer up to a bound. Nothing is retried.
RPC: https://docs.ipfs.tech/reference/kubo/rpc/.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import metadata
from secrets import token_hex
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ipfs_log_handlers.errors import ConfigurationError, FormatError, StoreError, StoreRefused, StoreUnavailable
from ipfs_log_handlers.stores.address import AUTO, authorization, multiaddr_to_url
from ipfs_log_handlers.stores.kubo_answers import MAX_LINE, failure
from ipfs_log_handlers.stores.unreached import broken, said, untrusted

if TYPE_CHECKING:
    from ipfs_log_handlers.stores import Shipment

__all__ = ["CONNECT_S", "KeeperResolver", "KuboRpc", "Upload", "hidden", "read"]

CONNECT_S: Final = 5.0
"""For one connection: loopback needs none of it, and a lost SYN is sent again after one second and after three."""

MAX_ANSWER: Final = 1 << 20
"""Bytes of an answer that is no block."""

_PIECE = 1 << 16
_DEFAULT_API = "http://127.0.0.1:5001"
_MAX_TOKEN = 1 << 14
_MAX_API_FILE = 2048

_left_behind: list[aiohttp.BaseConnector] = []
"""Connections of an event loop that is gone (a fork, a second keeper): kept, for closing them would touch that loop."""


class KeeperResolver(AbstractResolver):
    """Resolves without an executor, which does not work at exit, and without AI_ADDRCONFIG, which can hang a fork."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Blocks the keeper's thread, which has nothing else to do; `localhost` asks nobody."""
        if host == "localhost" or host.endswith(".localhost"):
            found = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
        else:
            asked = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            found = [(f, str(address[0])) for f, _, _, _, address in asked]
        return [_resolved(host, port, f, a) for f, a in found if family in {socket.AF_UNSPEC, f}]

    async def close(self) -> None:
        """Holds nothing."""


def _resolved(host: str, port: int, family: socket.AddressFamily, address: str) -> ResolveResult:
    flags = socket.AI_NUMERICHOST
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=flags)


class Upload:
    """A CAR as the one part of a multipart body: streamed, its length known beforehand."""

    trouble: Exception | None = None
    """What went wrong with our own CAR: no fault of the daemon's, though the request broke over it."""

    def __init__(self, shipment: Shipment) -> None:
        boundary = token_hex(16)
        part = 'Content-Disposition: form-data; name="file"; filename="batch.car"'
        self._head = f"--{boundary}\r\n{part}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._shipment = shipment
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + shipment.size + len(self._tail)),
        }

    async def body(self) -> AsyncIterator[bytes]:
        """Yields the body; the CAR is opened when the daemon is there, and closed when it goes away."""
        yield self._head
        left = self._shipment.size
        pieces: Iterable[bytes] = ()
        try:
            pieces = self._shipment.open()
            for piece in pieces:
                left -= len(piece)
                if left < 0:
                    break
                yield piece
            if left != 0:
                raise FormatError("a CAR is not as long as its batch says", expected=f"{self._shipment.size} bytes")
        except Exception as error:
            self.trouble = error
            raise
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        yield self._tail


class KuboRpc:
    """The way to one daemon: its address as it is now, the token as it is now, and the connections of one loop.

    Args:
        address: normalised.
        token: in the form that `normalise_token` has checked, or None.
    """

    connected: bool = False
    """False before `look` and after a connection was lost: someone else may answer the next call."""

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address
        self._token = token
        self._authorization: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.endpoint = ""

    def __del__(self) -> None:
        """Says nothing about connections that nobody closed: aiohttp would, through logging, which is our caller."""
        session = getattr(self, "_session", None)
        if session is not None:
            session.detach()

    @property
    def where(self) -> str:
        """The address as errors name it."""
        return f"{AUTO} ({self.endpoint})" if self._address == AUTO and self.endpoint else self._address

    @property
    def usable(self) -> bool:
        """Whether the running loop may go on with the connections that there are."""
        return self.connected and self._loop is asyncio.get_running_loop()

    async def look(self) -> None:
        """Finds out address and token anew: the daemon may have another port, the token may have been renewed."""
        self._authorization = _read_token(self._token)
        endpoint = _discover() if self._address == AUTO else self._address
        if endpoint != self.endpoint:
            await self.close()
            self.endpoint = endpoint

    async def close(self) -> None:
        """Closes the connections, if they belong to the running loop."""
        session, self._session, self.connected = self._session, None, False
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()
        elif session is not None:
            _leave_behind(session)

    async def call(
        self, command: str, options: Mapping[str, str], *, deadline_s: float, bound: int = MAX_ANSWER
    ) -> bytes:
        """Makes a call without a body; returns the whole answer, cut one byte behind `bound`."""
        async with self.request(command, options, deadline_s=deadline_s) as response:
            return await read(response, bound)

    @asynccontextmanager
    async def request(
        self, command: str, options: Mapping[str, str], *, deadline_s: float, upload: Upload | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Makes a call; inside is an answer of status 200, and every error that comes out is a `StoreError` of ours.

        The daemon gets `deadline_s` for it, and a little longer to say that it was not enough.
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
                    complaint = hidden(await _complaint(response), self._authorization)
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
        """Returns the session of the running loop; made here, because a constructor has no loop."""
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop:
            _leave_behind(self._session)
            self._session = None
        if self._session is None:
            self._session, self._loop = _open_session(self.endpoint), loop
        return self._session

    @contextmanager
    def _translated(self, limit_s: float) -> Iterator[None]:
        """Foreign exceptions become ours; after the loss of a connection the daemon is a stranger again."""
        try:
            yield
        except StoreError as error:
            if isinstance(error, StoreRefused):
                self.connected = False
            if isinstance(error.found, str):  # a daemon, or a proxy before it, may repeat what it was sent
                error.found = hidden(error.found.encode("utf-8", "replace"), self._authorization).decode()
            raise
        except aiohttp.ServerTimeoutError as error:  # of all that is timed, only to connect is timed by itself
            self.connected = False
            least = min(CONNECT_S, limit_s)
            raise StoreUnavailable(
                f"nobody answers there (no connection within {least:.0f} s)", where=self.where
            ) from error
        except asyncio.TimeoutError as error:
            self.connected = False
            raise StoreUnavailable(
                f"the daemon did not answer within {limit_s:.0f} s",
                where=self.where,
                hint="It may be stopped, overloaded, or waiting for a block that it cannot find",
            ) from error
        except aiohttp.ClientSSLError as error:
            self.connected = False
            told, found, hint = untrusted(error)
            raise StoreRefused(told, found=found, where=self.where, hint=hint) from error
        except (aiohttp.ClientError, OSError, EOFError) as error:
            self.connected = False
            told, found = broken(error)
            raise StoreUnavailable(told, found=found, where=self.where) from error


async def read(response: aiohttp.ClientResponse, bound: int) -> bytes:
    """Reads at most one byte more than `bound`: who gets that byte knows that the answer was too long."""
    pieces, left = [], bound + 1
    while left > 0 and (piece := await response.content.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def hidden(said: bytes, authorization: str | None) -> bytes:
    """What a daemon said, without the credential that it was sent, in whatever form it repeats it."""
    if authorization is None:
        return said
    kind, _, sent = authorization.partition(" ")
    told = [sent]
    if kind == "Basic":
        with suppress(ValueError):
            pair = base64.b64decode(sent).decode("utf-8", "replace")
            told += [pair, pair.partition(":")[2]]
    for secret in filter(None, told):
        for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
            said = said.replace(form.encode("utf-8", "replace"), b"[token]")
    return said


async def _complaint(response: aiohttp.ClientResponse) -> bytes:
    """Reads the body of a failure; where it breaks off the status still stands."""
    try:
        return await read(response, MAX_LINE)
    except (asyncio.TimeoutError, aiohttp.ClientError, OSError):
        return b""


class _TcpConnector(aiohttp.TCPConnector):
    def __del__(self, _warnings: object = None) -> None:
        """Says nothing: one that is left behind would report through logging, which is our own caller."""


class _UnixConnector(aiohttp.UnixConnector):
    def __del__(self, _warnings: object = None) -> None:
        """Says nothing, as above."""


def _leave_behind(session: aiohttp.ClientSession) -> None:
    if session.connector is not None:
        _left_behind.append(session.connector)
    session.detach()


def _open_session(endpoint: str) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if endpoint.startswith("/unix/"):
        connector = _UnixConnector(endpoint.removeprefix("/unix"))
    else:
        connector = _TcpConnector(resolver=KeeperResolver(), limit=8)
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"ipfs-log-handlers/{_own_version()}", "Accept-Encoding": "identity"},
    )


def _base(endpoint: str) -> str:
    return "http://unix" if endpoint.startswith("/unix/") else endpoint


def _discover() -> str:
    """Returns what the daemon of this user wrote about itself."""
    path = os.path.join(os.environ.get("IPFS_PATH") or os.path.expanduser("~/.ipfs"), "api")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_API_FILE).strip()
    except FileNotFoundError:
        return _DEFAULT_API
    except (OSError, ValueError) as error:
        raise StoreRefused("the address of the daemon cannot be read", found=said(error), where=path) from error
    try:
        return multiaddr_to_url(text)
    except ConfigurationError as error:
        raise StoreRefused("the address of the daemon cannot be read", found=repr(text[:80]), where=path) from error


def _read_token(token: str | None) -> str | None:
    """Returns the Authorization header; what stands behind `env:` and `file:` never gets into an error."""
    if token is None:
        return None
    kind, _, place = token.partition(":")
    try:
        if kind == "env":
            token = os.environ[place]
        elif kind == "file":
            with open(os.path.expanduser(place), encoding="utf-8") as file:
                token = file.read(_MAX_TOKEN)
        return authorization(token)
    except KeyError:
        why = "no such variable"
    except OSError as error:
        why = str(error.strerror)
    except ValueError:
        why = "no token"
    raise StoreRefused("the token cannot be had", found=why, where=f"{kind}:{place}")


def _own_version() -> str:
    try:
        return metadata.version("ipfs-log-handlers")
    except metadata.PackageNotFoundError:
        return "0"
