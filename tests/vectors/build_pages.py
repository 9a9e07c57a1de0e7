"""Golden bytes of the index: hashes of ids, Bloom filters, and a whole page.

The lines of the page stand in a zstd frame with one raw block, made here, so that its bytes do not depend on a version
of zstd.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from ipfs_log_handlers.format import index_page
from ipfs_log_handlers.format.bloom import (
    BATCH_BITS,
    MAX_BATCH_BLOCKS,
    BloomFilter,
    hash_of_number,
    hash_of_text,
    hashes_in,
)
from ipfs_log_handlers.format.index_page import IndexPage, entry_line
from ipfs_log_handlers.format.manifest import Manifest
from tests.vectors import dump, load

IDS: list[Any] = ["", "4bf92f3577b34da6a3ce929d0e0e4736", "späť", "500", 500, 500.0, -0.0, 0.1, 2**64]
LOG = "ipfs-logs/0123456789abcdef/audit/01234567"


def frame(text: bytes, level: int = 0) -> bytes:
    """Return a zstd frame that holds a text as it is, whatever the level."""
    del level
    assert len(text) < 1 << 17
    header = b"\x28\xb5\x2f\xfd\xa0" + len(text).to_bytes(4, "little")  # one segment, size in 4 bytes
    return header + (len(text) << 3 | 1).to_bytes(3, "little") + text  # the last block, raw


def page() -> IndexPage:
    """Return a page of three batches: one with two ids, one that could not be read, one without its payload."""
    manifests = [Manifest.decode(bytes.fromhex(block)) for block in load("chain.json")["manifests"][:2]]
    filled = BloomFilter.of(hashes_in(IDS[1:3]), BATCH_BITS, MAX_BATCH_BLOCKS).encode()
    lines = [
        entry_line(manifests[0], {"request_id": len(filled), "trace_id": 0}),
        b"null",
        entry_line(manifests[1], {}),
    ]
    filters = {"request_id": [filled, None, None], "trace_id": [b"", None, None]}
    return IndexPage(log=LOG, first=256, lines=lines, filters=filters)


def files() -> dict[str, bytes]:
    """Build them all."""
    hashed = [
        {"id": value, "hash": f"{hash_of_text(value) if isinstance(value, str) else hash_of_number(value):018x}"}
        for value in IDS
    ]
    filled = BloomFilter.of(hashes_in(IDS), BATCH_BITS, MAX_BATCH_BLOCKS).encode()
    with mock.patch.object(index_page, "compress", frame):
        whole = page().encode()
    return {"pages.json": dump({"ids": hashed, "filter": filled.hex()}), "index.page": whole}
