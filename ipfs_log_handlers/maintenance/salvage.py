"""Salvage the blocks of a damaged batch: from the intact parts of its file, from stores, and with the key.

A block counts only if it hashes to a CID that the chain names: the head block or the next batch names the manifest, and
the manifest names the payload. Only the file itself names the head block. If the head block is lost, it is made again:
the same key signs the same checkpoint with the same bytes, so this is no second claim.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from operator import ne
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, directory, merkle, varint
from ipfs_log_handlers.format.car import SupportsSeek
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, key_name_of
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest

__all__ = ["MAX_FETCHED_BYTES", "Salvaged", "salvage", "salvage_archive"]

_PLACE: Final = re.compile(
    rb"(?=\x01[\x55\x70\x71]\x12\x20|[^\x01][\x55\x70\x71]\x12\x20|\x01[^\x55\x70\x71]\x12\x20"
    rb"|\x01[\x55\x70\x71][^\x12]\x20|\x01[\x55\x70\x71]\x12[^\x20])",
    re.DOTALL,
)
"""The first bytes of a CID, with at most one damaged byte; the block follows after the CID."""
_CID: Final = 36
"""Bytes of a CID."""
_MAX_PLACES: Final = 4096
"""Largest number of places in a file that may be a CID. A batch has far fewer; 64 MiB of noise have some thirty."""
_MAX_WRONG_BYTES: Final = 4
"""Largest number of damaged bytes in a CID after which its block is still searched."""
_MAX_COPIES: Final = 4
"""Largest number of places with the same CID after which its block is searched."""
_MAX_ENDS: Final = 8
"""Largest number of places at which a block of damaged length may end. Every try costs a hash over the block."""
_MAX_CANDIDATES: Final = 64
"""Largest number of CIDs at the beginning of a file that may name its manifest or head block, which come first."""
MAX_FETCHED_BYTES: Final = 256 << 20
"""Largest number of bytes of one archive that are fetched from stores; use `ipfs get` for a larger one."""

Fetch = Callable[[Cid], Awaitable[bytes | None]]
"""A function that returns a block from a store, rehashed; `None` when no store has it."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The blocks of a batch that could be salvaged."""

    manifest: Cid
    """CID of the manifest."""
    head: Cid
    """CID of the head block."""
    blocks: tuple[tuple[Cid, bytes], ...]
    """Manifest, head block, evidence and payload, in the order of a batch file."""
    missing: tuple[Cid, ...]
    """Blocks of payload or evidence that are lost."""
    archive: Cid | None = None
    """Root of the archived file or directory, whose blocks lie in a file of their own."""


async def salvage(
    data: bytes, log: str, index: int, named: Cid | None, key: SecretKey | None, fetch: Fetch
) -> Salvaged | None:
    """Collect the blocks of a batch again.

    Args:
        data: the bytes that are left of its file.
        log: the log.
        index: number of the batch.
        named: CID of its manifest, from the head or the next batch; `None` if neither can be read.
        key: the home's key.
        fetch: function that fetches a block that is not intact in the file.

    Returns:
        The blocks; `None` when the manifest is lost.
    """
    places = [match.start() for match in islice(_PLACE.finditer(data), _MAX_PLACES)]

    async def get(cid: Cid) -> bytes | None:
        block = _block(data, places, cid)
        return await fetch(cid) if block is None else block

    roots = list(islice(_cids(data, places), _MAX_CANDIDATES))
    cid, manifest = await _manifest(log, index, [named] if named is not None else roots, get)
    if cid is None or manifest is None:
        return None
    head = await _head(log, index, cid, manifest, roots, key, get)
    if head is None:
        return None
    blocks = {cid: manifest.encode(), Cid.of(DAG_CBOR, head): head}
    wanted = [*manifest.evidence, *([] if manifest.payload_encoding.blocks_apart else [manifest.payload])]
    missing = []
    while wanted:
        next_cid = wanted.pop(0)
        block = await get(next_cid)
        if block is None:
            missing.append(next_cid)
        elif next_cid not in blocks:
            blocks[next_cid] = block
            wanted[:0] = [link for link, _ in directory.links(next_cid, block)]
    archive = manifest.payload if manifest.payload_encoding.blocks_apart else None
    return Salvaged(cid, Cid.of(DAG_CBOR, head), tuple(blocks.items()), tuple(missing), archive)


async def salvage_archive(stream: SupportsSeek | None, root: Cid, fetch: Fetch) -> Iterator[tuple[Cid, bytes]] | Cid:
    """Return the blocks of an archived file or directory, root first; or the CID of a block that is lost.

    Args:
        stream: its file, open until the blocks were taken; `None` if the file is lost.
        root: the payload of its manifest.
        fetch: as for `salvage`. Fetched blocks are held in memory, `MAX_FETCHED_BYTES` bytes at most.
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
            if block is None or sum(map(len, fetched.values())) > MAX_FETCHED_BYTES:
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
    for candidate in candidates:
        block = await get(candidate) if candidate != cid and candidate.codec == DAG_CBOR else None
        if block is not None:
            try:
                head = Head.decode(block)
            except FormatError:
                continue
            if (head.log, head.index, head.manifest) == (log, index, cid):
                return block
    return None


def _cids(data: bytes, places: Sequence[int]) -> Iterator[Cid]:
    """Yield the CIDs at these places, in their order; the CIDs of the header come first."""
    for place in places:
        try:
            yield Cid.decode(data[place : place + _CID])
        except FormatError:
            continue


def _block(data: bytes, places: Sequence[int], cid: Cid) -> bytes | None:
    """Find an intact block after its CID; it ends after its stated length, or at the next CID.

    The work grows linearly with the number of places, because few of them contain this CID, intact or damaged.
    """
    similar = (
        number
        for number, place in enumerate(places)
        if sum(map(ne, data[place : place + _CID], cid)) <= _MAX_WRONG_BYTES
    )
    for number in islice(similar, _MAX_COPIES):
        start = places[number] + _CID
        for end in dict.fromkeys(_ends(data, places[number], places[number + 1 : number + 1 + _MAX_ENDS])):
            if start < end <= start + car.MAX_BLOCK and cid.matches(data[start:end]):
                return data[start:end]
    return None


def _ends(data: bytes, place: int, later: Sequence[int]) -> Iterator[int]:
    """Yield the possible ends of the block after the CID at `place`: after its stated length, at the end, or later."""
    for length in range(1, min(4, place) + 1):
        try:
            size, end = varint.decode(data, place - length)
        except FormatError:
            continue
        if end == place:
            yield place + size
    yield len(data)
    for other in later:
        yield from (other - length for length in range(1, 5))
