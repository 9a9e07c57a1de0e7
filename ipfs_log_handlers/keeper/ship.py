"""Ship: sealed batches go to a store, several to a call, and only what the store confirmed counts.

A call carries one CAR: the manifests of its batches and the newest head block as roots, every block that hangs on
them. All but a confirmation is "unknown" and is asked about or sent again, for ever. A CAR that a store names as bad
fails its whole call, so the group is halved until the bad one is found; named twice, it is set aside, and those behind
it go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal

from ipfs_log_handlers.errors import FormatError, StoreError, StoreRefused, StoreRejected, StoreUnavailable
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import disk, head, shipped
from ipfs_log_handlers.home.batches import Batches, Facts
from ipfs_log_handlers.home.layout import Room, Shelf
from ipfs_log_handlers.home.shipped import Mark, Trouble
from ipfs_log_handlers.stores import Shipment, Store

__all__ = ["MOST_BATCHES", "MOST_BYTES", "Delivered", "Shipper", "newest_of", "trouble_of"]

MOST_BATCHES: Final = 32
"""Batches in one call: a backlog of small ones goes many to a call (benchmarks/README.md)."""
MOST_BYTES: Final = 8 << 20
"""Bytes of one call beyond its first batch."""
_PIECE: Final = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A batch that a store has just confirmed."""

    subsystem: str
    """Its subsystem."""
    index: int
    """Its number."""
    cid: str
    """CID of its manifest."""
    store: str
    """Address of the store."""
    seconds: float
    """How long the call took that carried it."""


@dataclass(frozen=True, slots=True)
class _Parcel:
    """One batch in a call."""

    facts: Facts
    sections: tuple[tuple[Cid, int, int], ...]

    @property
    def index(self) -> int:
        return self.facts.manifest.index


def newest_of(shelf: Shelf) -> tuple[str, int] | None:
    """Log and number of the newest sealed batch on a shelf; of a former log without its head, the newest file's."""
    try:
        sealed = head.load(shelf.head)
    except FormatError:
        sealed = None
    if sealed is not None:
        return sealed.log, sealed.index
    if shelf.path.parent.name != "former":
        return None
    batches = Batches(shelf.batches)
    for index in reversed(batches.indexes()):
        try:
            return batches.facts(index).manifest.log, index
        except FormatError:
            continue
    return None


class Shipper:
    """Ships the logs of a home to one store. One keeper at a time uses it, in its event loop.

    Args:
        store: the store.
        told: called for each batch as its confirmation is noted.
    """

    def __init__(self, store: Store, told: Callable[[Delivered], None] | None = None) -> None:
        self.store = store
        self._told = told
        self._most: dict[str, int] = {}
        self._named: dict[tuple[str, int], int] = {}
        self._unknown: set[str] = set()

    def missing(self, room: Room) -> int:
        """How many sealed batches of a subsystem the store has neither confirmed nor refused."""
        total = 0
        for shelf in room.shelves():
            newest = newest_of(shelf)
            if newest is not None:
                total += len(self._mark(shelf, newest[0]).missing(newest[1]))
        return total

    async def ship_some(self, room: Room) -> list[Delivered] | None:
        """Send one call's worth of a subsystem.

        Returns:
            What was confirmed; an empty list when a batch was set aside or the group was halved; `None` when nothing
            is left to ship.

        Raises:
            StoreUnavailable, StoreRefused: nothing is known of this call; the mark tells it.
            OSError, FormatError: the home cannot be read.
        """
        for shelf in room.shelves():
            newest = newest_of(shelf)
            if newest is None:
                continue
            log, index = newest
            mark = self._mark(shelf, log)
            missing = mark.missing(index)
            if missing:
                return await self._ship_group(room, shelf, mark, missing)
        return None

    def tell(self, room: Room, trouble: Trouble) -> None:
        """Note a trouble with the store in the marks of a subsystem, where `status` and waiting processes see it."""
        for shelf in room.shelves():
            newest = newest_of(shelf)
            if newest is None:
                continue
            mark = self._mark(shelf, newest[0])
            if mark.missing(newest[1]):
                self._keep(shelf, replace(mark, trouble=trouble))

    def _mark(self, shelf: Shelf, log: str) -> Mark:
        return shipped.load(shelf.shipped, self.store.name, log, self.store.address)

    def _keep(self, shelf: Shelf, mark: Mark) -> None:
        shipped.store(shelf.shipped, self.store.name, mark)

    async def _ship_group(self, room: Room, shelf: Shelf, mark: Mark, missing: Sequence[int]) -> list[Delivered]:
        parcels, broken = self._pack(shelf, mark, missing)
        if broken is not None:
            return await self._judge(shelf, mark, missing[0], broken)
        begun = time.monotonic()
        with_head = parcels[-1].index > max((mark.upto, *mark.beyond))
        if mark.log in self._unknown or mark.trouble is not None:
            there = await self._already_there(parcels, with_head=with_head)
            if there:
                self._unknown.discard(mark.log)
                moves = with_head and await self._has_head(there[-1], mark, known=there[-1] is parcels[-1])
                return await self._confirm(room, shelf, mark, there, time.monotonic() - begun, moves_head=moves)
        self._unknown.add(mark.log)
        try:
            await self.store.ship(_shipment(Batches(shelf.batches), parcels, with_head=with_head))
        except (StoreRejected, FormatError) as error:
            self._unknown.discard(mark.log)
            self._find_poison(shelf, mark, parcels, str(error))
            return []
        self._unknown.discard(mark.log)
        return await self._confirm(room, shelf, mark, parcels, time.monotonic() - begun, moves_head=with_head)

    async def _already_there(self, parcels: Sequence[_Parcel], *, with_head: bool) -> list[_Parcel]:
        """The batches that are pinned, when an answer was lost; the newest only if the head block is pinned too."""
        head_cid = parcels[-1].facts.head_cid
        known = await self.store.pinned([*(parcel.facts.cid for parcel in parcels), *([head_cid] if with_head else [])])
        headless = with_head and head_cid not in known
        return [parcel for parcel in parcels if parcel.facts.cid in known and not (headless and parcel is parcels[-1])]

    async def _has_head(self, parcel: _Parcel, mark: Mark, *, known: bool) -> bool:
        """Whether the call whose answer was lost has pinned a newer head block with its last batch, which this is."""
        if parcel.index <= max((mark.upto, *mark.beyond)):
            return False
        return known or parcel.facts.head_cid in await self.store.pinned([parcel.facts.head_cid])

    def _pack(
        self, shelf: Shelf, mark: Mark, missing: Sequence[int]
    ) -> tuple[list[_Parcel], FormatError | FileNotFoundError | None]:
        """The batches of the next call; or what is wrong with the first one: it is not what was signed."""
        batches = Batches(shelf.batches)
        parcels: list[_Parcel] = []
        total = 0
        for index in missing[: self._most.get(mark.log, MOST_BATCHES)]:
            try:
                parcel = _parcel(batches, index)
            except (FormatError, FileNotFoundError) as error:
                return parcels, None if parcels else error
            size = sum(length for _, _, length in parcel.sections)
            if parcels and total + size > MOST_BYTES:
                break
            parcels.append(parcel)
            total += size
        return parcels, None

    async def _judge(self, shelf: Shelf, mark: Mark, index: int, error: Exception) -> list[Delivered]:
        """A batch that is not whole here is confirmed if the store has it (only the mark was lost), else set aside."""
        with suppress(FormatError, FileNotFoundError):
            cid = Batches(shelf.batches).facts(index).cid
            if cid in await self.store.pinned([cid]):
                self._keep(shelf, mark.confirm([index]))
                return []
        self._keep(shelf, mark.set_aside(index, f"damaged in the home: {error}"))
        return []

    def _find_poison(self, shelf: Shelf, mark: Mark, parcels: Sequence[_Parcel], reason: str) -> None:
        if len(parcels) > 1:
            self._most[mark.log] = max(1, len(parcels) // 2)
            return
        which = (mark.log, parcels[0].index)
        self._named[which] = self._named.get(which, 0) + 1
        if self._named[which] >= 2:
            self._keep(shelf, mark.set_aside(parcels[0].index, reason))

    async def _confirm(
        self,
        room: Room,
        shelf: Shelf,
        mark: Mark,
        parcels: Sequence[_Parcel],
        seconds: float,
        *,
        moves_head: bool,
    ) -> list[Delivered]:
        """Mark batches as confirmed; the head block that was pinned before goes, once the mark names the new one."""
        old, mark = mark.head, replace(mark, trouble=None)
        if moves_head:
            mark = replace(mark, head=parcels[-1].facts.head_cid.text)
        self._keep(shelf, mark.confirm(parcel.index for parcel in parcels))
        if mark.log in self._most:
            self._most[mark.log] = min(MOST_BATCHES, self._most[mark.log] * 2)
        delivered = [
            Delivered(
                subsystem=room.name,
                index=parcel.index,
                cid=parcel.facts.cid.text,
                store=self.store.address,
                seconds=seconds,
            )
            for parcel in parcels
        ]
        if self._told is not None:
            for each in delivered:
                self._told(each)
        if old is not None and old != mark.head:
            await self._unpin(old)
        return delivered

    async def _unpin(self, head_cid: str) -> None:
        """Best effort: a head block too many is a few hundred bytes."""
        try:
            await self.store.unpin([Cid.parse(head_cid)])
        except (StoreError, FormatError):
            return


def _parcel(batches: Batches, index: int) -> _Parcel:
    facts = batches.facts(index)
    sections: list[tuple[Cid, int, int]] = []
    for path in batches.files(index):
        with disk.stream(path) as stream:
            sections += car.scan(stream)
    there = {cid for cid, _, _ in sections}
    if not {facts.manifest.payload, *facts.manifest.evidence} <= there:
        raise FormatError("the payload has left the home", where=batches.file(index))
    return _Parcel(facts, tuple(sections))


def _shipment(batches: Batches, parcels: Sequence[_Parcel], *, with_head: bool) -> Shipment:
    newest = parcels[-1]
    roots = [parcel.facts.cid for parcel in parcels]
    if with_head:
        roots.append(newest.facts.head_cid)
    wanted = [
        [
            section
            for section in parcel.sections
            if section[0] != parcel.facts.head_cid or (with_head and parcel is newest)
        ]
        for parcel in parcels
    ]
    lengths = [(cid, length) for sections in wanted for cid, _, length in sections]
    header = car.header(roots)

    def pieces() -> Iterator[bytes]:
        yield header
        for parcel, sections in zip(parcels, wanted, strict=True):
            keep = {cid for cid, _, _ in sections}
            for cid, block in batches.blocks(parcel.index):
                if cid in keep:
                    yield car.section_head(cid, len(block))
                    for start in range(0, len(block), _PIECE):
                        yield block[start : start + _PIECE]

    return Shipment(
        roots=tuple(roots),
        blocks=len(lengths),
        block_bytes=sum(length for _, length in lengths),
        size=len(header) + sum(len(car.section_head(cid, length)) + length for cid, length in lengths),
        open=pieces,
    )


def trouble_of(error: Exception, next_retry: float) -> Trouble:
    """What an error of a store means to somebody who waits."""
    kind: Literal["refused", "silent", "unavailable", "denied", "rejected"] = "unavailable"
    if isinstance(error, StoreRefused):
        kind = "denied"
    elif isinstance(error, StoreUnavailable):
        causes = list(_causes(error))
        if any(isinstance(cause, (ConnectionRefusedError, FileNotFoundError)) for cause in causes):
            kind = "refused"
        elif any(isinstance(cause, TimeoutError) or type(cause).__name__ == "TimeoutError" for cause in causes):
            kind = "silent"
    return Trouble(kind, str(error), time.time(), next_retry)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = getattr(error, "os_error", None)
        if isinstance(inner, BaseException):
            yield inner
        error = error.__cause__ or error.__context__
