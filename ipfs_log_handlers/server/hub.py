"""Read new records once, in one thread, for all clients of the live tail; a client that is too slow loses some."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.server.answers import refusal_of
from ipfs_log_handlers.server.items import item_text
from ipfs_log_handlers.server.sources import Sources
from ipfs_log_handlers.server.work import gap_as_json

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Following, Gap, Match, Step

__all__ = ["MAX_QUEUED_BYTES", "Client", "Hub", "new_item", "record_hash"]

_log: Final = logging.getLogger("ipfs_log_handlers.server")
MAX_QUEUED_BYTES: Final = 4 << 20
"""Bytes that wait for one client; more records are left out and counted."""
_ROUND_S: Final = 0.5
"""Seconds after which the thread looks whether the server stops, while the event loop is busy."""
_MAX_GAPS: Final = 100
"""Gaps that wait to be told."""


def new_item(match: Match, *, has_homes: bool) -> str:
    """Return the JSON of a record that has just come: a follower does not know in which batch it stands."""
    step: Step = "spool" if has_homes else "sealed"
    return item_text(match, step, is_placed=False)


class Client:
    """One client of the live tail; its methods are called in the event loop.

    Args:
        takes: says whether a record passes the filter of the client; called in the thread of the hub.
    """

    def __init__(self, takes: Callable[[Match], bool]) -> None:
        self.takes = takes
        self.seen: set[int] | None = None
        """Hashes of records that the client has got already; `None`: it cannot have got any of those that come."""
        self.ready = asyncio.Event()
        """Set while something waits to be sent."""
        self.reason: str | None = None
        """Why the tail ended; `None`: it goes on."""
        self.skipped = 0
        """Records that were left out and not told yet."""
        self._waiting: deque[tuple[Sequence[str], str]] = deque()
        self._bytes = 0
        self._gaps: deque[dict[str, Any]] = deque(maxlen=_MAX_GAPS)

    def put(self, items: Sequence[str], cursor: str) -> None:
        """Let records wait; leave them out if too many wait already."""
        size = sum(map(len, items))
        if self._waiting and self._bytes + size > MAX_QUEUED_BYTES:
            self.skipped += len(items)
        else:
            self._waiting.append((items, cursor))
            self._bytes += size
        self.ready.set()

    def put_gap(self, gap: dict[str, Any]) -> None:
        """Let a gap wait."""
        self._gaps.append(gap)
        self.ready.set()

    def end(self, reason: str) -> None:
        """End the tail, after what waits."""
        self.reason = self.reason or reason
        self.ready.set()

    def take(self) -> tuple[Sequence[str], str] | None:
        """Return the next records with the cursor after them; `None`: nothing waits."""
        if not self._waiting:
            if self.reason is None and not self._gaps:
                self.ready.clear()
            return None
        items, cursor = self._waiting.popleft()
        self._bytes -= sum(map(len, items))
        return items, cursor

    def take_gaps(self) -> list[dict[str, Any]]:
        """Return the gaps that wait."""
        gaps = list(self._gaps)
        self._gaps.clear()
        return gaps


class Hub:
    """The one follower of the sources. It runs while there are clients.

    Args:
        sources: what is followed.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._clients: set[Client] = set()
        self._joining: list[tuple[Client, asyncio.Future[str]]] = []
        self._lock = threading.Lock()
        """Guards the clients: the loop adds and removes them, the thread looks at them."""
        self._thread: threading.Thread | None = None
        self._following: Following | None = None
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def join(self, client: Client) -> str:
        """Give a client all records from now on; return the cursor of this moment.

        Raises:
            ConfigurationError: the sources cannot be followed.
            LogStoreError, OSError: the sources cannot be read.
        """
        self._loop = loop = asyncio.get_running_loop()
        joined: asyncio.Future[str] = loop.create_future()
        with self._lock:
            self._joining.append((client, joined))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
                self._thread.start()
        return await joined

    def leave(self, client: Client) -> None:
        """Give a client no more records; after the last one, the thread ends."""
        with self._lock:
            self._clients.discard(client)
            self._joining = [pair for pair in self._joining if pair[0] is not client]
            following = None if self._clients or self._joining else self._following
        if following is not None:
            following.close()

    def close(self) -> None:
        """End the tail of every client, and the thread."""
        self._is_closed = True
        with self._lock:
            clients, following = list(self._clients), self._following
        for client in clients:
            client.end("the server stops")
        if following is not None:
            following.close()

    # -- the thread

    def _run(self) -> None:
        error: Exception | None = None
        dataset: Dataset | None = None
        try:
            dataset = self._sources.open(self._tell_gap)
            cursor: str | None = None
            while not self._is_closed:
                following = dataset.follow(cursor)
                with self._lock:
                    self._following = following
                self._follow(following)
                cursor = following.cursor  # for a client that has joined while the last one left
                with self._lock:
                    self._following = None
                    if not self._clients and not self._joining:
                        self._thread = None
                        return
        except Exception as reason:  # noqa: BLE001 - the clients are told
            error = reason
            if refusal_of(error) is None:
                _log.exception("a fault of the server: the live tail")
        finally:
            if dataset is not None:
                dataset.close()
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        with self._lock:
            clients, joining = list(self._clients), self._joining
            self._clients.clear()
            self._joining = []
            self._thread = self._following = None
        reason = "the server stops" if error is None else _reason_of(error)
        for client in clients:
            self._call(client.end, reason)
        for _, joined in joining:
            self._call(_fail, joined, error or ConnectionAbortedError("the server stops"))

    def _follow(self, following: Following) -> None:
        """Give new records to the clients, until nobody listens any more."""
        while not self._is_closed:
            matches = following.poll()
            if matches:
                self._publish(matches, following.cursor)
            self._let_join(following)
            with self._lock:
                is_heard = bool(self._clients or self._joining)
            if not is_heard or (not matches and not following.wait()):
                return

    def _let_join(self, following: Following) -> None:
        with self._lock:
            joining, self._joining = self._joining, []
            self._clients.update(client for client, _ in joining)
        for _, joined in joining:
            self._call(_resolve, joined, following.cursor)

    def _publish(self, matches: Sequence[Match], cursor: str) -> None:
        """Let the records wait for each client that wants them; return when the event loop has done so."""
        with self._lock:
            clients = list(self._clients)
        has_homes = bool(self._sources.homes)
        texts: dict[int, str] = {}
        delivered: list[tuple[Client, list[str], list[int]]] = []
        for client in clients:
            chosen = [number for number, match in enumerate(matches) if client.takes(match)]
            for number in chosen:
                if number not in texts:
                    texts[number] = new_item(matches[number], has_homes=has_homes)
            hashes = [record_hash(matches[number]) for number in chosen] if client.seen is not None else []
            if chosen:
                delivered.append((client, [texts[number] for number in chosen], hashes))
        if delivered:
            done = threading.Event()
            if self._call(_deliver, delivered, cursor, done):
                while not done.wait(_ROUND_S) and not self._is_closed:
                    pass

    def _tell_gap(self, gap: Gap) -> None:
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            self._call(client.put_gap, gap_as_json(gap))

    def _call(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call a function in the event loop; say whether there is still one."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed
            return False
        return self._loop is not None


def _reason_of(error: Exception) -> str:
    """Say to the clients why their tails end; the text of a fault is for the log of the server alone."""
    refusal = refusal_of(error)
    return f"the records cannot be followed: {'a fault of the server' if refusal is None else error}"


def record_hash(match: Match) -> int:
    """Return a hash of a record, for one process."""
    return hash((match.subsystem, match.line))


def _deliver(
    delivered: Sequence[tuple[Client, Sequence[str], Sequence[int]]], cursor: str, done: threading.Event
) -> None:
    for client, items, hashes in delivered:
        kept: Sequence[str] = items
        if client.seen is not None and hashes:
            seen = client.seen
            kept = [text for text, number in zip(items, hashes, strict=True) if number not in seen]
        if kept:
            client.put(kept, cursor)
    done.set()


def _resolve(joined: asyncio.Future[str], cursor: str) -> None:
    if not joined.done():
        joined.set_result(cursor)


def _fail(joined: asyncio.Future[str], error: BaseException) -> None:
    if not joined.done():
        joined.set_exception(error)
