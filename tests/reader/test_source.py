"""Blocks are given by their CID and hashed, wherever they lie."""

from __future__ import annotations

from io import BytesIO

import pytest

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.reader.batch import OpenBatch
from ipfs_log_handlers.reader.source import CarBlocks, Fallback
from tests.vectors.build_chain import manifests

ONE, TWO, THREE = (Cid.of(RAW, data) for data in (b"one", b"two", b"three"))


def car_of(*blocks: tuple[Cid, bytes]) -> BytesIO:
    """Make a CAR file in memory."""
    return BytesIO(car.header([blocks[0][0]]) + b"".join(car.section(*block) for block in blocks))


def test_blocks_of_several_cars_are_found_by_their_cid() -> None:
    """A batch and its archive lie in two files."""
    blocks = CarBlocks(car_of((ONE, b"one")), car_of((TWO, b"two"), (ONE, b"one")))

    assert (b"one", b"two") == (blocks.block(ONE), blocks.block(TWO))
    assert ONE in blocks
    assert THREE not in blocks
    assert [ONE, TWO, ONE] == [section.cid for section in blocks.sections]


def test_a_damaged_block_shows_when_it_is_asked_for() -> None:
    """The others are given all the same."""
    blocks = CarBlocks(car_of((ONE, b"0ne"), (TWO, b"two")))

    assert b"two" == blocks.block(TWO)
    with pytest.raises(VerificationError):
        blocks.block(ONE)


def test_a_missing_block_is_named() -> None:
    """The error says which."""
    with pytest.raises(VerificationError, match="missing") as caught:
        CarBlocks(car_of((ONE, b"one"))).block(TWO)

    assert TWO.text in str(caught.value)


def test_what_is_no_car_is_refused() -> None:
    """A file that is cut has no blocks that can be trusted to be all."""
    with pytest.raises(FormatError):
        CarBlocks(BytesIO(b"not a CAR"))


def test_blocks_that_are_not_here_are_asked_for_elsewhere() -> None:
    """Only those."""
    asked: list[Cid] = []

    def elsewhere(cid: Cid) -> bytes:
        asked.append(cid)
        return b"two"

    source = Fallback(CarBlocks(car_of((ONE, b"one"))), elsewhere)

    assert (b"one", b"two") == (source.block(ONE), source.block(TWO))
    assert [TWO] == asked
    assert TWO not in source


def test_a_batch_is_read_from_any_source() -> None:
    """Files are one of them: what gives blocks by their CID is enough."""
    manifest = manifests()[1]

    class Memory:
        def __contains__(self, cid: Cid) -> bool:
            return cid == manifest.cid

        def block(self, cid: Cid) -> bytes:
            assert cid == manifest.cid
            return manifest.encode()

    batch = OpenBatch(Memory(), manifest.cid, ONE)

    assert manifest == batch.manifest()
    assert manifest.cid in batch
    assert ONE not in batch
