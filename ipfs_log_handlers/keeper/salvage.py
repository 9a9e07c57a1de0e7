"""Salvage: the blocks of a damaged batch, from what is whole in its file, from stores, and from the key.

Nothing is believed that does not hash to a CID which the chain names: the head block or the batch behind names the
manifest, the manifest its payload. Only the head block has nobody who names it but the file; the same key signs the
same checkpoint with the same bytes, so where it is lost it is made again, and is no second claim.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, directory, merkle, varint
from ipfs_log_handlers.format.car import SupportsSeek
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, key_name_of
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import UNIXFS, Manifest

__all__ = ["MOST_FETCHED", "Salvaged", "salvage", "salvage_archive"]

_PLACE: Final = re.compile(
    rb"(?=\x01[\x55\x70\x71]\x12\x20|[^\x01][\x55\x70\x71]\x12\x20|\x01[^\x55\x70\x71]\x12\x20"
    rb"|\x01[\x55\x70\x71][^\x12]\x20|\x01[\x55\x70\x71]\x12[^\x20])",
    re.DOTALL,
)
"""How a CID of ours begins, or began before one of its bytes was damaged; the block stands behind its 36 bytes."""
_CID: Final = 36
_MOST: Final = 2 << 20
MOST_FETCHED: Final = 256 << 20
"""Bytes of one archive that are fetched from stores; of a larger one that is lost as a whole, `ipfs get` is the way."""

Fetch = Callable[[Cid], Awaitable[bytes | None]]
"""A block from a store, rehashed; `None` when none gives it."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A batch as far as it could be had again."""

    manifest: Cid
    """CID of the manifest."""
    head: Cid
    """CID of the head block."""
    blocks: tuple[tuple[Cid, bytes], ...]
    """Manifest, head block, evidence, payload, as they stand in a CAR."""
    missing: tuple[Cid, ...]
    """Blocks of payload or evidence that are lost."""
    archive: Cid | None = None
    """Root of the archived file or directory, whose blocks lie in a file of their own."""


async def salvage(
    data: bytes, log: str, index: int, named: Cid | None, key: SecretKey | None, fetch: Fetch
) -> Salvaged | None:
    """Put a batch together again.

    Args:
        data: what is left of its file.
        log: the log.
        index: its number.
        named: CID of its manifest as the head or the batch behind names it; `None`: neither can be read.
        key: the home's key.
        fetch: where blocks come from that are not whole in the file.

    Returns:
        `None` when its manifest is lost.
    """
    places = [match.start() for match in _PLACE.finditer(data)]

    async def get(cid: Cid) -> bytes | None:
        found = _block(data, places, cid)
        return await fetch(cid) if found is None else found

    roots = list(_cids(data, places))
    cid, manifest = await _manifest(log, index, [named] if named is not None else roots, get)
    if cid is None or manifest is None:
        return None
    head = await _head(log, index, cid, manifest, roots, key, get)
    if head is None:
        return None
    blocks = {cid: manifest.encode(), Cid.of(DAG_CBOR, head): head}
    wanted = [*manifest.evidence, *([] if manifest.encoding == UNIXFS else [manifest.payload])]
    missing = []
    while wanted:
        each = wanted.pop(0)
        block = await get(each)
        if block is None:
            missing.append(each)
        elif each not in blocks:
            blocks[each] = block
            wanted[:0] = [link for link, _ in directory.links(each, block)]
    archive = manifest.payload if manifest.encoding == UNIXFS else None
    return Salvaged(cid, Cid.of(DAG_CBOR, head), tuple(blocks.items()), tuple(missing), archive)


async def salvage_archive(stream: SupportsSeek | None, root: Cid, fetch: Fetch) -> Iterator[tuple[Cid, bytes]] | Cid:
    """The blocks of an archived file or directory, root first; or one that is nowhere.

    Args:
        stream: what is left of its file, open until the blocks were taken.
        root: the payload of its manifest.
        fetch: as for `salvage`. What is fetched is held in memory, `MOST_FETCHED` bytes at most.
    """
    places: dict[Cid, tuple[int, int]] = {}
    with suppress(FormatError):
        for cid, offset, size in car.scan(stream) if stream is not None else ():
            places[cid] = (offset, size)
    fetched: dict[Cid, bytes] = {}

    def here(cid: Cid) -> bytes | None:
        if stream is None or cid not in places:
            return fetched.get(cid)
        stream.seek(places[cid][0])
        block = stream.read(places[cid][1])
        return block if cid.matches(block) else fetched.get(cid)

    order, waiting = dict.fromkeys([root]), [root]
    while waiting:
        cid = waiting.pop()
        block = here(cid)
        if block is None:
            block = await fetch(cid)
            if block is None or sum(map(len, fetched.values())) > MOST_FETCHED:
                return cid
            fetched[cid] = block
        fresh = [link for link, _ in directory.links(cid, block) if link not in order]
        order.update(dict.fromkeys(fresh))
        waiting += reversed(fresh)
    return ((cid, here(cid) or b"") for cid in order)


async def _manifest(log: str, index: int, candidates: Sequence[Cid], get: Fetch) -> tuple[Cid | None, Manifest | None]:
    for cid in candidates:
        block = await get(cid)
        if block is not None:
            try:
                manifest = Manifest.decode(block)
            except FormatError:
                continue
            if (manifest.log, manifest.index) == (log, index):
                return cid, manifest
    return None, None


async def _head(
    log: str, index: int, cid: Cid, manifest: Manifest, candidates: Sequence[Cid], key: SecretKey | None, get: Fetch
) -> bytes | None:
    if key is not None and key.name == key_name_of(log):
        root = merkle.edge_root(manifest.edge_after())
        note = Checkpoint(origin=log, size=index + 1, root=root).signed(key)
        return Head(log=log, index=index, manifest=cid, checkpoint=note).encode()
    for each in candidates:
        block = await get(each) if each != cid and each.codec == DAG_CBOR else None
        if block is not None:
            try:
                head = Head.decode(block)
            except FormatError:
                continue
            if (head.log, head.index, head.manifest) == (log, index, cid):
                return block
    return None


def _cids(data: bytes, places: Sequence[int]) -> Iterator[Cid]:
    """What can be read as CIDs, in their order: those of the header come first."""
    for place in places:
        try:
            yield Cid.decode(data[place : place + _CID])
        except FormatError:
            continue


def _block(data: bytes, places: Sequence[int], cid: Cid) -> bytes | None:
    """A block that is whole, wherever it stands: behind its CID, as long as its length says, or up to the next one."""
    for place in places:
        start = place + _CID
        for end in dict.fromkeys(_ends(data, place, places)):
            if start < end <= start + _MOST and cid.matches(data[start:end]):
                return data[start:end]
    return None


def _ends(data: bytes, place: int, places: Sequence[int]) -> Iterator[int]:
    """Where the block of the CID at `place` may end."""
    for length in range(1, min(4, place) + 1):
        try:
            size, end = varint.decode(data, place - length)
        except FormatError:
            continue
        if end == place:
            yield place + size
    yield len(data)
    for other in places:
        yield from (other - length for length in range(1, 5))
