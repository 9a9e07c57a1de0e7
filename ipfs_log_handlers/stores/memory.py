"""A store in this process, for tests: it checks and answers as Kubo does, and fails as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from ipfs_log_handlers.errors import FormatError, StoreRefused, StoreRejected, StoreUnavailable
from ipfs_log_handlers.format import car, dagcbor, directory
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, Cid
from ipfs_log_handlers.stores import Shipment, StoreInfo
from ipfs_log_handlers.stores.address import normalise, store_name

__all__ = ["MemoryStore", "Mood"]

Mood = Literal["up", "down", "silent", "refuse"]


class MemoryStore:
    """The Store contract over two dictionaries.

    Args:
        label: what stands behind `memory:` in its address.
        name: the store's name in the home.
        deadline_s: how long a call waits when the store is `silent`.
    """

    _known: ClassVar[dict[str, MemoryStore]] = {}

    mood: Mood
    """What the next call meets: `up`, `down` (no connection), `silent` (no answer), `refuse` (a wrong token)."""

    blocks: dict[Cid, bytes]
    """All that was imported, pinned or not."""

    pins: dict[Cid, str]
    """What is pinned recursively, and the name of the pin."""

    shipments: list[Shipment]
    """Every shipment that was confirmed, in order."""

    def __init__(self, label: str = "store", *, name: str | None = None, deadline_s: float = 30.0) -> None:
        self.address = normalise(f"memory:{label}")
        self.name = name or store_name(self.address)
        self.mood = "up"
        self.blocks = {}
        self.pins = {}
        self.shipments = []
        self._deadline_s = deadline_s

    def __repr__(self) -> str:
        return f"MemoryStore({self.address!r})"

    @classmethod
    def named(cls, label: str, *, name: str | None = None) -> MemoryStore:
        """Returns the one store of this process that `memory:LABEL` means, so that a test can look into it."""
        if label not in cls._known:
            cls._known[label] = cls(label, name=name)
        return cls._known[label]

    @classmethod
    def forget(cls) -> None:
        """Drops all stores that were opened by address."""
        cls._known.clear()

    async def ship(self, shipment: Shipment) -> None:
        """Imports the CAR as `dag/import` does: blocks stay, even when a later one is bad or a root is not pinned."""
        await self._meet()
        self.take(b"".join(shipment.open()), shipment)
        self.shipments.append(shipment)

    def take(self, data: bytes, shipment: Shipment) -> None:
        """What `ship` does with the bytes of the CAR, without a loop."""
        roots, blocks, block_bytes = self.load(data)
        if roots != shipment.roots or (blocks, block_bytes) != (shipment.blocks, shipment.block_bytes):
            raise StoreUnavailable("the CAR holds other roots or blocks than were announced", where=self.address)
        for root in roots:
            trouble = self.pin(root)
            if trouble:
                raise StoreUnavailable(f"did not pin {root}", found=trouble, where=self.address)

    def load(self, data: bytes) -> tuple[tuple[Cid, ...], int, int]:
        """Stores the blocks of a CAR, each hashed and decoded; returns its roots, the count and sum of its blocks."""
        sizes = []
        reader = None
        try:
            reader = car.Reader(_Stream(data))
            for cid, block in reader:
                _links(cid, block)
                self.blocks[cid] = block
                sizes.append(len(block))
        except FormatError as error:
            if "ends in the middle" in error.message:
                raise StoreUnavailable("unexpected EOF", found=str(error), where=self.address) from error
            raise StoreRejected("the store names these bytes as bad", found=str(error), where=self.address) from error
        return reader.roots, len(sizes), sum(sizes)

    def pin(self, root: Cid, name: str = "") -> str:
        """Pins a root recursively; returns what is missing, as text, and then pins nothing."""
        waiting, seen = [root], set()
        while waiting:
            cid = waiting.pop()
            if cid in seen:
                continue
            if cid not in self.blocks:
                return f"ipld: could not find {cid}"
            seen.add(cid)
            waiting.extend(_links(cid, self.blocks[cid]))
        self.pins[root] = name
        return ""

    def collect_garbage(self) -> None:
        """Drops every block that no pin reaches."""
        kept: set[Cid] = set()
        waiting = list(self.pins)
        while waiting:
            cid = waiting.pop()
            if cid not in kept:
                kept.add(cid)
                waiting.extend(_links(cid, self.blocks[cid]))
        self.blocks = {cid: block for cid, block in self.blocks.items() if cid in kept}

    async def pinned(self, cids: Sequence[Cid]) -> frozenset[Cid]:
        """Tells which of these are pinned."""
        await self._meet()
        return frozenset(cids) & self.pins.keys()

    async def get(self, cid: Cid) -> bytes:
        """Returns a block, rehashed: a test may have damaged it."""
        await self._meet()
        if cid not in self.blocks:
            raise StoreUnavailable(
                "the store does not have the block", found=f"could not find {cid}", where=self.address
            )
        cid.verify(self.blocks[cid])
        return self.blocks[cid]

    async def unpin(self, cids: Sequence[Cid]) -> None:
        """Takes pins away; the blocks stay until `collect_garbage`."""
        await self._meet()
        for cid in cids:
            self.pins.pop(cid, None)

    async def probe(self) -> StoreInfo:
        """Says that it is memory, and loses all at the end of the process."""
        await self._meet()
        held = sum(map(len, self.blocks.values()))
        return StoreInfo(kind="memory", version="1", address=self.address, syncs=False, repo_bytes=held)

    async def close(self) -> None:
        """Holds nothing open."""

    async def _meet(self) -> None:
        await asyncio.sleep(0)
        if self.mood == "down":
            raise StoreUnavailable("the store cannot be reached", where=self.address)
        if self.mood == "refuse":
            raise StoreRefused("the store refuses the call (403)", where=self.address, hint="Set `token`")
        if self.mood == "silent":
            await asyncio.sleep(self._deadline_s)
            raise StoreUnavailable(f"the store did not answer within {self._deadline_s:.0f} s", where=self.address)


class _Stream:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int, /) -> bytes:
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece


def _links(cid: Cid, block: bytes) -> Iterable[Cid]:
    if cid.codec == DAG_PB:
        return [link for link, _ in directory.links(cid, block)]
    return _found(dagcbor.decode(block)) if cid.codec == DAG_CBOR else ()


def _found(value: object) -> list[Cid]:
    if isinstance(value, Cid):
        return [value]
    if isinstance(value, dict):
        return [cid for item in value.values() for cid in _found(item)]
    return [cid for item in value for cid in _found(item)] if isinstance(value, list) else []
