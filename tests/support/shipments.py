"""Make shipments for the tests of stores: good ones, and each kind of bad one."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ipfs_log_handlers.format import car, dagcbor, varint
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.stores import Shipment, Store

__all__ = [
    "bad_codec",
    "batch",
    "cut",
    "data_of",
    "of",
    "run",
    "shipment",
    "sized",
    "too_big",
    "unfinished",
    "unreadable",
    "without_payload",
    "wrong_hash",
]

Block = tuple[Cid, bytes]
T = TypeVar("T")


def run(store: Store, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the work in a new event loop, and close the store in it."""

    async def whole() -> T:
        try:
            return await work()
        finally:
            await store.close()

    return asyncio.run(whole())


def batch(payload: bytes | None = None) -> list[Block]:
    """Return a payload and, last, the manifest that links it; a new payload each time unless it is given."""
    payload = os.urandom(200) if payload is None else payload
    cid = Cid.of(RAW, payload)
    manifest = dagcbor.encode({"index": 0, "payload": cid})
    return [(cid, payload), (Cid.of(DAG_CBOR, manifest), manifest)]


def of(data: bytes, roots: Sequence[Cid], blocks: Sequence[Block]) -> Shipment:
    """Return a shipment of these bytes that claims to contain these blocks."""
    return Shipment(
        roots=tuple(roots),
        blocks=len(blocks),
        block_bytes=sum(len(block) for _, block in blocks),
        size=len(data),
        open=lambda: (data[at : at + (1 << 18)] for at in range(0, len(data), 1 << 18)),
    )


def shipment(*batches: list[Block]) -> Shipment:
    """Return a good shipment; its roots are the manifests."""
    batches = batches or (batch(),)
    blocks = [block for blocks in batches for block in blocks]
    roots = [blocks[-1][0] for blocks in batches]
    return of(car.encode(roots, blocks), roots, blocks)


def data_of(ship: Shipment) -> bytes:
    """Return the bytes of the CAR file."""
    return b"".join(ship.open())


def wrong_hash() -> Shipment:
    """Return a shipment in which one bit of the payload is flipped, so that its CID is wrong."""
    (cid, payload), manifest = batch()
    blocks = [(cid, bytes([payload[0] ^ 1]) + payload[1:]), manifest]
    return of(car.encode([manifest[0]], blocks), [manifest[0]], blocks)


def sized(size: int) -> Shipment:
    """Return a shipment of one raw block of that size, which is its own root."""
    block = hashlib.sha256(os.urandom(8)).digest() * (size // 32 + 1)
    block = block[:size]
    cid = Cid.of(RAW, block)
    head = varint.encode(len(cid) + size) + cid
    return of(car.header([cid]) + head + block, [cid], [(cid, block)])


def too_big() -> Shipment:
    """Return a shipment with a block that is one byte larger than Kubo accepts."""
    return sized((2 << 20) + 1)


def bad_codec() -> Shipment:
    """Return a shipment whose root claims to be dag-cbor and is not."""
    block = b"\x9f" + os.urandom(8) + b"\xff"
    cid = Cid.of(DAG_CBOR, block)
    return of(car.encode([cid], [(cid, block)]), [cid], [(cid, block)])


def cut(last: int = 5) -> Shipment:
    """Return a CAR file without its last bytes, as a damaged disk or connection leaves it."""
    whole = shipment()
    data = data_of(whole)[:-last]
    return replace(whole, size=len(data), open=lambda: iter([data]))


def unfinished() -> Shipment:
    """Return a CAR file without its last block; a reader of CARv1 cannot notice that."""
    blocks = batch()
    missing = os.urandom(50)
    roots = [blocks[-1][0]]
    return of(car.encode(roots, blocks), roots, [*blocks, (Cid.of(RAW, missing), missing)])


def without_payload() -> Shipment:
    """Return a manifest without its payload."""
    manifest = batch()[-1]
    return of(car.encode([manifest[0]], [manifest]), [manifest[0]], [manifest])


def unreadable() -> Shipment:
    """Return a CAR file that cannot be read to its end, because the disk fails."""

    def broken():
        yield b"first"
        raise OSError(5, "Input/output error")

    return replace(shipment(), open=broken)
