"""Salvage: the blocks of a damaged batch come back from its file, with work that is bounded whatever the file holds."""

from __future__ import annotations

import asyncio

import pytest

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.maintenance.salvage import Salvaged, salvage
from tests.support import sample_homes
from tests.support.hostile_homes import KEY


async def nowhere(_: Cid) -> None:
    """Give no block: no store is there."""


def salvaged(data: bytes, batches: Batches, *, index: int = 0) -> Salvaged | None:
    """Put a batch together again from its file alone."""
    facts = batches.facts(index)
    return asyncio.run(salvage(data, facts.manifest.log, index, facts.cid, None, nowhere))


@pytest.fixture
def batches(home) -> Batches:
    """Seal a batch."""
    sample_homes.make(home, 10)
    return Batches(sample_homes.subsystem_dir(home).current.batches)


@pytest.mark.parametrize("changed", [1, 2, 3, 4])
def test_a_block_is_found_behind_what_is_left_of_its_cid(batches, changed):
    """A CID of which some bytes are damaged still shows where its block stands."""
    data = bytearray(batches.file(0).read_bytes())
    whole = list(batches.blocks(0))
    payload = whole[-1][0]
    at = data.rindex(bytes(payload))
    for offset in range(changed):
        data[at + 8 + 3 * offset] ^= 0xFF
    found = salvaged(bytes(data), batches)

    assert found is not None
    assert () == found.missing
    assert dict(whole) == dict(found.blocks)


def test_a_block_is_found_though_its_length_is_damaged(batches):
    """A block whose length is wrong ends before the next one."""
    data = bytearray(batches.file(0).read_bytes())
    whole = list(batches.blocks(0))
    head = whole[1][0]
    data[data.rindex(bytes(head)) - 1] ^= 0x7F
    found = salvaged(bytes(data), batches)

    assert found is not None
    assert dict(whole) == dict(found.blocks)


def test_a_file_full_of_cids_costs_bounded_work(batches, monkeypatch):
    """Repairing a home that somebody prepared takes seconds: few of the places where a block may stand are hashed."""
    hashed = []
    matches = Cid.matches

    def counting(cid: Cid, block: bytes) -> bool:
        hashed.append(len(block))
        return matches(cid, block)

    facts = batches.facts(0)
    manifest = bytes(facts.cid)
    monkeypatch.setattr(Cid, "matches", counting)
    assert asyncio.run(salvage(manifest * 300_000, facts.manifest.log, 0, facts.cid, KEY, nowhere)) is None
    assert asyncio.run(salvage(manifest * 300_000, facts.manifest.log, 0, None, KEY, nowhere)) is None
    assert sum(hashed) < 2 << 30
