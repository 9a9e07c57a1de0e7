"""Get raw blocks from an HTTP gateway and hash them again, so that the gateway need not be trusted.

A redirect is refused, and the size of an answer is limited. A gateway that is busy, or that cuts an answer, is asked
again.
Spec: https://specs.ipfs.tech/http-gateways/trustless-gateway/.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import ConfigurationError, StoreDenied, StoreUnavailable, VerificationError
from ipfs_log_handlers.format.car import MAX_BLOCK
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.reader.loop_thread import LoopThread
from ipfs_log_handlers.stores import MissingBlockError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Gateway", "GatewayBusyError"]

_TIMEOUT_S: Final = 30.0
"""Seconds that one answer may take."""
_PAUSES_S: Final = (0.1, 0.3, 1.0, 3.0)
"""Seconds before each further try, of a gateway that is busy, unreachable, or sends something else."""
_MAX_PAUSE_S: Final = 20.0
"""Seconds that a busy gateway may ask a reader to wait."""
_CONNECTIONS: Final = 32
"""Connections to a gateway at the same time."""
_BUSY: Final = frozenset({429, 500, 502, 503, 504})
"""Statuses after which the same request is sent again."""


class GatewayBusyError(StoreUnavailable):
    """A gateway has answered 429, which means that it is asked too often."""

    retry_after_s = 0.0
    """Seconds that it asks to wait."""


class Gateway:
    """An HTTP gateway.

    Args:
        address: its URL, such as `http://127.0.0.1:8080`.
        pauses_s: seconds before each further try.

    Raises:
        ConfigurationError: the address is no URL of http or https.
    """

    def __init__(self, address: str, *, pauses_s: tuple[float, ...] = _PAUSES_S) -> None:
        self._address = address.rstrip("/")
        if not self._address.startswith(("http://", "https://")) or "?" in address or "#" in address:
            raise self._not_an_address()
        self._pauses_s = pauses_s
        self._thread = LoopThread()
        self._session: aiohttp.ClientSession | None = None
        self._options: dict[str, Any] = {}
        """Options of each request."""
        self._turns: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that session and turns belong to."""

    def _not_an_address(self) -> ConfigurationError:
        return ConfigurationError(
            "not the address of a gateway", where="gateway", expected="http://127.0.0.1:8080", found=self._address
        )

    def get(self, cid: Cid) -> bytes:
        """Get a block and hash it again.

        Raises:
            StoreUnavailable: the gateway does not have it, does not answer, or is busy.
            StoreDenied: it refuses the request, or redirects it.
            VerificationError: it sends other bytes, again and again.
        """
        return self._thread.run(self._get(cid))

    def ask(self, cid: Cid) -> Future[bytes]:
        """Begin to get a block; the result, or what is raised, is as for `get`."""
        return self._thread.begin(self._get(cid))

    def resolve(self, name: str) -> Cid:
        """Ask where a name `/ipns/<name>` leads to now: to a block of DAG-CBOR. The answer is not proven.

        Raises:
            StoreUnavailable, StoreDenied, VerificationError: as for `get`.
        """
        block = self._thread.run(self._asked(f"/ipns/{name}"))
        return Cid.of(DAG_CBOR, block)

    async def _get(self, cid: Cid) -> bytes:
        return await self._asked(f"/ipfs/{cid.text}", cid)

    async def _asked(self, path: str, cid: Cid | None = None) -> bytes:
        for pause in self._pauses_s:
            try:
                return await self._try_in_turn(path, cid)
            except GatewayBusyError as error:
                pause = min(max(pause, error.retry_after_s), _MAX_PAUSE_S)  # noqa: PLW2901 - as the gateway asks
            except (StoreUnavailable, VerificationError):
                pass
            await asyncio.sleep(pause)
        return await self._try_in_turn(path, cid)

    async def _try_in_turn(self, path: str, cid: Cid | None) -> bytes:
        """Try once there is a connection: the time of an answer does not begin before."""
        async with self._turns_in_this_loop():
            return await self._try(path, cid)

    def _turns_in_this_loop(self) -> asyncio.Semaphore:
        """Return what limits the requests; in a new loop, leave the connections of the old one to their process."""
        if self._turns is None or self._loop is not asyncio.get_running_loop():
            from ipfs_log_handlers.stores.kubo_rpc import leave_behind

            self._loop, self._turns = asyncio.get_running_loop(), asyncio.Semaphore(_CONNECTIONS)
            if self._session is not None:
                leave_behind(self._session)
                self._session = None
        return self._turns

    async def _try(self, path: str, cid: Cid | None) -> bytes:
        import aiohttp

        from ipfs_log_handlers.stores.foreign_errors import translate

        session = self._session or self._opened()
        try:
            async with session.get(f"{self._address}{path}?format=raw", **self._options) as answer:
                if answer.status != 200:
                    raise self._refusal(answer, path)
                block = await _bounded(answer)
        except aiohttp.InvalidURL as error:
            raise self._not_an_address() from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise translate(
                error, where=self._address, connect_s=_TIMEOUT_S, answer_s=_TIMEOUT_S, callee="the gateway"
            ) from error
        if cid is not None:
            cid.verify(block)
        return block

    def _opened(self) -> aiohttp.ClientSession:
        """Open the session at the first request."""
        import aiohttp

        from ipfs_log_handlers.stores.kubo_rpc import open_session

        self._session = session = open_session(self._address, connections=_CONNECTIONS)
        self._options = {
            "headers": {"Accept": "application/vnd.ipld.raw"},
            "timeout": aiohttp.ClientTimeout(total=_TIMEOUT_S),
            "allow_redirects": False,
        }
        self._thread.close_at_end(session.close)
        return session

    def _refusal(self, answer: aiohttp.ClientResponse, path: str) -> Exception:
        status = answer.status
        if status == 429:
            error = GatewayBusyError(
                "a gateway is busy: status 429", where=self._address, found=path.rpartition("/")[2]
            )
            with contextlib.suppress(ValueError):
                error.retry_after_s = float(answer.headers.get("Retry-After", "0"))
            return error
        if status in _BUSY or status in (404, 410):
            kind, what = (
                (MissingBlockError, "does not have a block") if status in (404, 410) else (StoreUnavailable, "fails")
            )
            return kind(f"a gateway {what}: status {status}", where=self._address, found=path.rpartition("/")[2])
        what = "redirects elsewhere" if 300 <= status < 400 else "refuses a block"
        return StoreDenied(f"a gateway {what}: status {status}", where=self._address, found=path.rpartition("/")[2])

    def close(self) -> None:
        """Close connections."""
        self._thread.stop()
        self._session = self._turns = None


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer that has at most the bytes of a block."""
    pieces, left = [], MAX_BLOCK + 1
    while left > 0 and (piece := await answer.content.read(min(left, 1 << 16))):
        pieces.append(piece)
        left -= len(piece)
    if left <= 0:
        raise VerificationError("an answer is longer than a block", expected=f"at most {MAX_BLOCK} bytes")
    return b"".join(pieces)
