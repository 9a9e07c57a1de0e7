"""Keep blocks and pins in this process, for tests: a store that checks and answers like Kubo, and fails on request.

Importing this module registers the addresses `memory:NAME`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal

from ipfs_log_handlers.errors import FormatError, LogStoreError, StoreDenied, StoreRejected, StoreUnavailable
from ipfs_log_handlers.format import car, dagcbor, directory
from ipfs_log_handlers.format.cid import CODECS, DAG_CBOR, DAG_PB, Cid
from ipfs_log_handlers.format.ipns_record import IpnsRecord
from ipfs_log_handlers.stores import MissingBlockError, Shipment, StoreInfo, StoreScheme, register_scheme
from ipfs_log_handlers.stores.address import check_name, store_name

__all__ = ["MemoryStore", "State"]

State = Literal["up", "down", "silent", "denying"]


class _Blocks(dict[Cid, bytes]):
    """Blocks by CID. As at Kubo, the hash alone counts: a block is also found under the CID of another codec."""

    def __contains__(self, cid: object) -> bool:
        return isinstance(cid, Cid) and any(super(_Blocks, self).__contains__(same) for same in _same_hash(cid))

    def __missing__(self, cid: Cid) -> bytes:
        for same in _same_hash(cid):
            if super().__contains__(same):
                return self[same]
        raise KeyError(cid)


def _same_hash(cid: Cid) -> Iterator[Cid]:
    return (cid.as_codec(codec) for codec in CODECS)


class MemoryStore:
    """Keep the Store contract over two dictionaries.

    Args:
        label: the text after `memory:` in its address.
        name: the store's name in the home.
        deadline_s: seconds that a call waits when the store is `silent`.
    """

    _known: ClassVar[dict[str, MemoryStore]] = {}

    state: State
    """How the next call ends: `up`, `down` (no connection), `silent` (no answer), `denying` (the token is wrong)."""

    blocks: dict[Cid, bytes]
    """Every block that was imported, pinned or not."""

    pins: dict[Cid, str]
    """The recursive pins, with their names."""

    alone: set[Cid]
    """The blocks that are pinned without what they link."""

    shipments: list[Shipment]
    """Every shipment that was confirmed, in order."""

    names: dict[str, bytes]
    """The newest record of each IPNS name."""

    resolves: bool
    """Whether names can be resolved; false: records are taken, and nobody finds them, as by a Kubo without routing."""

    def __init__(self, label: str = "store", *, name: str | None = None, deadline_s: float = 30.0) -> None:
        self.address = f"memory:{check_name(label)}"
        self.name = name or store_name(self.address)
        self.state = "up"
        self.blocks = _Blocks()
        self.pins = {}
        self.alone = set()
        self.shipments = []
        self.names = {}
        self.resolves = True
        self._deadline_s = deadline_s

    def __repr__(self) -> str:
        return f"MemoryStore({self.address!r})"

    @classmethod
    def named(cls, label: str, *, name: str | None = None) -> MemoryStore:
        """Return the store of this process with the address `memory:LABEL`, so that a test can read it."""
        if label not in cls._known:
            cls._known[label] = cls(label, name=name)
        return cls._known[label]

    @classmethod
    def forget(cls) -> None:
        """Forget all stores that were opened by address."""
        cls._known.clear()

    async def ship(self, shipment: Shipment) -> None:
        """Import the CAR as `dag/import` does: blocks stay even if a later block is bad or a root is not pinned."""
        await self._answer()
        self.take(b"".join(shipment.open()), shipment)
        self.shipments.append(shipment)

    def take(self, data: bytes, shipment: Shipment) -> None:
        """Do what `ship` does with the bytes of the CAR, without an event loop."""
        roots, blocks, block_bytes = self.load(data)
        if roots != shipment.roots or (blocks, block_bytes) != (shipment.blocks, shipment.block_bytes):
            raise StoreUnavailable("the CAR contains other roots or blocks than were announced", where=self.address)
        for root in roots:
            problem = self.pin(root)
            if problem:
                raise StoreUnavailable(f"did not pin {root}", found=problem, where=self.address)

    def load(self, data: bytes) -> tuple[tuple[Cid, ...], int, int]:
        """Keep the blocks of a CAR, each hashed and decoded; return its roots, and number and bytes of its blocks."""
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
            raise StoreRejected("the store calls these bytes bad", found=str(error), where=self.address) from error
        return reader.roots, len(sizes), sum(sizes)

    def pin(self, root: Cid, name: str = "") -> str:
        """Pin a root recursively; return an empty text, or the name of a missing block: then the root is not pinned."""
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
        """Remove every block that no pin reaches."""
        kept: set[Cid] = set()
        waiting = list(self.pins)
        while waiting:
            cid = waiting.pop()
            if cid not in kept:
                kept.add(cid)
                waiting.extend(_links(cid, self.blocks[cid]))
        hashes = {cid.digest for cid in kept | self.alone}
        self.blocks = _Blocks({cid: block for cid, block in self.blocks.items() if cid.digest in hashes})

    async def pinned(self, cids: Sequence[Cid]) -> frozenset[Cid]:
        """Return those of the CIDs that are pinned."""
        await self._answer()
        return frozenset(cids) & self.pins.keys()

    async def list_pins(self) -> frozenset[Cid]:
        """Return all CIDs that are pinned."""
        await self._answer()
        return frozenset(self.pins)

    async def get(self, cid: Cid) -> bytes:
        """Return a block after hashing it again, because a test may have damaged it."""
        await self._answer()
        if cid not in self.blocks:
            raise MissingBlockError(
                "the store does not have the block", found=f"could not find {cid}", where=self.address
            )
        cid.verify(self.blocks[cid])
        return self.blocks[cid]

    async def unpin(self, cids: Sequence[Cid]) -> None:
        """Remove pins; the blocks stay until `collect_garbage`."""
        await self._answer()
        for cid in cids:
            self.pins.pop(cid, None)
            self.alone.discard(cid)

    async def keep_alone(self, cid: Cid, block: bytes) -> None:
        """Pin one block without what it links."""
        await self.unpin([cid])
        cid.verify(block)
        self.blocks[cid] = block
        self.alone.add(cid)

    async def put_name(self, name: str, record: bytes) -> None:
        """Take a record if the key of the name has signed it and no later one is there, as Kubo does."""
        await self._answer()
        self.keep_name(name, record)

    def keep_name(self, name: str, record: bytes) -> None:
        """Do what `put_name` does, without an event loop."""
        try:
            new = IpnsRecord.open(record, name)
        except LogStoreError as error:
            raise StoreUnavailable("record validation failed", found=str(error), where=self.address) from error
        before = self.names.get(name)
        if before is not None and before != record and IpnsRecord.parse(before).sequence >= new.sequence:
            number = IpnsRecord.parse(before).sequence
            raise StoreUnavailable(
                "the record was not taken",
                found=f"existing IPNS record has sequence {number} >= new record sequence {new.sequence}",
                where=self.address,
            )
        self.names[name] = record

    async def get_name(self, name: str) -> bytes:
        """Return the newest record of a name."""
        await self._answer()
        if not self.resolves or name not in self.names:
            raise StoreUnavailable("routing: not found", where=self.address)
        return self.names[name]

    async def resolve_name(self, name: str, *, deadline_s: float | None = None) -> Cid:
        """Return the block to which a name leads."""
        del deadline_s
        return IpnsRecord.parse(await self.get_name(name)).value

    async def probe(self) -> StoreInfo:
        """Describe the store: memory, which is lost at the end of the process."""
        await self._answer()
        size = sum(map(len, self.blocks.values()))
        return StoreInfo(kind="memory", version="1", address=self.address, syncs=False, repo_bytes=size)

    async def close(self) -> None:
        """Do nothing: no connection is open."""

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.state == "down":
            raise StoreUnavailable("the store cannot be reached", where=self.address)
        if self.state == "denying":
            raise StoreDenied("the store refuses the call (403)", where=self.address, hint="Set `token`")
        if self.state == "silent":
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
    return _links_in(dagcbor.decode(block)) if cid.codec == DAG_CBOR else ()


def _links_in(value: object) -> list[Cid]:
    if isinstance(value, Cid):
        return [value]
    if isinstance(value, dict):
        return [cid for item in value.values() for cid in _links_in(item)]
    return [cid for item in value for cid in _links_in(item)] if isinstance(value, list) else []


def _open(address: str, name: str, token: str | None) -> MemoryStore:
    del token
    return MemoryStore.named(address.removeprefix("memory:"), name=name)


register_scheme("memory", StoreScheme(normalise=check_name, open=_open))
