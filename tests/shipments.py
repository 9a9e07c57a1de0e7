"""Shipments for the tests of stores: good ones, and each kind of bad one."""

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
    """Runs the work in a loop of its own, and closes the store in it."""

    async def whole() -> T:
        try:
            return await work()
        finally:
            await store.close()

    return asyncio.run(whole())


def batch(payload: bytes | None = None) -> list[Block]:
    """A payload and the manifest that links it, last; new ones each time unless the payload is given."""
    payload = os.urandom(200) if payload is None else payload
    cid = Cid.of(RAW, payload)
    manifest = dagcbor.encode({"index": 0, "payload": cid})
    return [(cid, payload), (Cid.of(DAG_CBOR, manifest), manifest)]


def of(data: bytes, roots: Sequence[Cid], blocks: Sequence[Block]) -> Shipment:
    """A shipment of these bytes, said to hold these blocks."""
    return Shipment(
        roots=tuple(roots),
        blocks=len(blocks),
        block_bytes=sum(len(block) for _, block in blocks),
        size=len(data),
        open=lambda: (data[at : at + (1 << 18)] for at in range(0, len(data), 1 << 18)),
    )


def shipment(*batches: list[Block]) -> Shipment:
    """A good one; its roots are the manifests."""
    batches = batches or (batch(),)
    blocks = [block for each in batches for block in each]
    roots = [each[-1][0] for each in batches]
    return of(car.encode(roots, blocks), roots, blocks)


def data_of(ship: Shipment) -> bytes:
    """The bytes of the CAR."""
    return b"".join(ship.open())


def wrong_hash() -> Shipment:
    """A payload with one bit turned, under the CID that it had before."""
    (cid, payload), manifest = batch()
    blocks = [(cid, bytes([payload[0] ^ 1]) + payload[1:]), manifest]
    return of(car.encode([manifest[0]], blocks), [manifest[0]], blocks)


def sized(size: int) -> Shipment:
    """One raw block of that size, its own root."""
    block = hashlib.sha256(os.urandom(8)).digest() * (size // 32 + 1)
    block = block[:size]
    cid = Cid.of(RAW, block)
    head = varint.encode(len(cid) + size) + cid
    return of(car.header([cid]) + head + block, [cid], [(cid, block)])


def too_big() -> Shipment:
    """A block of one byte more than Kubo takes."""
    return sized((2 << 20) + 1)


def bad_codec() -> Shipment:
    """A root that says dag-cbor and is not."""
    block = b"\x9f" + os.urandom(8) + b"\xff"
    cid = Cid.of(DAG_CBOR, block)
    return of(car.encode([cid], [(cid, block)]), [cid], [(cid, block)])


def cut(last: int = 5) -> Shipment:
    """A CAR without its last bytes, as a disk or a connection may leave it."""
    whole = shipment()
    data = data_of(whole)[:-last]
    return replace(whole, size=len(data), open=lambda: iter([data]))


def unfinished() -> Shipment:
    """A CAR that ends cleanly before its last block, which no reader of CARv1 can see."""
    blocks = batch()
    missing = os.urandom(50)
    roots = [blocks[-1][0]]
    return of(car.encode(roots, blocks), roots, [*blocks, (Cid.of(RAW, missing), missing)])


def without_payload() -> Shipment:
    """A manifest whose payload is nowhere."""
    manifest = batch()[-1]
    return of(car.encode([manifest[0]], [manifest]), [manifest[0]], [manifest])


def unreadable() -> Shipment:
    """A CAR that cannot be read to its end: the disk is broken."""

    def broken():
        yield b"first"
        raise OSError(5, "Input/output error")

    return replace(shipment(), open=broken)
