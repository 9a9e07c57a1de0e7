"""A shipment says what a store must confirm."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.stores import Shipment


def test_blocks_in_memory_become_a_car():
    """It has one root, and is given in pieces of at most 256 KiB, at each try again."""
    blocks = [(Cid.of(RAW, block), block) for block in (b"root", b"", bytes(300 << 10))]
    shipment = Shipment.of_blocks(blocks[0][0], blocks, linked=7)
    for _ in range(2):
        pieces = list(shipment.open())
        assert max(map(len, pieces)) == 256 << 10
        assert car.decode(b"".join(pieces)) == ((blocks[0][0],), blocks)
    assert (shipment.roots, shipment.blocks, shipment.block_bytes) == ((blocks[0][0],), 3, (300 << 10) + 4)
    assert (shipment.size, shipment.linked) == (sum(map(len, pieces)), 7)


def test_no_block_is_refused():
    """The root must be among the blocks."""
    with pytest.raises(ValueError, match="at least its roots"):
        Shipment.of_blocks(Cid.of(RAW, b""), [])
