"""A store is asked whether it still has whole batches."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import StoreDenied, StoreUnavailable
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.holdings import holding_of, newest_confirmed, sample_of
from ipfs_log_handlers.manager import DatasetsManager
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes

STATE = DeliveryState(log="log", address="memory:x")


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """Make the store `memory:holdings`."""
    yield MemoryStore.named("holdings")
    MemoryStore.forget()


@pytest.fixture
def header(home: Path, store: MemoryStore) -> BatchHeader:
    """Ship a batch of records to the store."""
    sample_homes.make(home, 20, "audit", kubo="memory:holdings")
    sample_homes.ship(home, "memory:holdings")
    return next(LogDir.current_of(HomeDir(home).subsystem_dir("audit")).batch_headers())


def holding(store: MemoryStore, header: BatchHeader, **more: int) -> str:
    """Return what the store says of the batch."""
    return asyncio.run(holding_of(store, header, **more))


def test_a_batch_whose_blocks_all_come_back_is_whole(store: MemoryStore, header: BatchHeader) -> None:
    """Pin, manifest and payload are there."""
    assert "whole" == holding(store, header)


def test_a_batch_without_its_pin_is_not_held(store: MemoryStore, header: BatchHeader) -> None:
    """Without a pin the next collection of garbage takes the blocks."""
    del store.pins[header.cid]
    assert "not pinned" == holding(store, header)


@pytest.mark.parametrize("part", ["manifest", "payload"])
@pytest.mark.parametrize("how", ["lost", "other bytes"])
def test_a_batch_that_lacks_a_block_is_incomplete(store: MemoryStore, header: BatchHeader, part: str, how: str) -> None:
    """A pin proves nothing: a block that is missing, or whose bytes are others, is found."""
    cid = header.cid if part == "manifest" else header.manifest.payload
    if how == "lost":
        del store.blocks[cid]
    else:
        store.blocks[cid] = hashlib.sha256(store.blocks[cid]).digest()
    assert "incomplete" == holding(store, header)


def test_each_leaf_of_an_archive_is_asked_for(home: Path, store: MemoryStore) -> None:
    """The last block of a file of several is missed; a sample that is content with fewer blocks does not see it."""
    manager = DatasetsManager(home=home, kubo="memory:holdings", keeper="none")
    assert manager.store(data=os.urandom(3 << 20), subsystem="logs")["success"]
    sample_homes.ship(home, "memory:holdings")
    header = next(LogDir.current_of(HomeDir(home).subsystem_dir("logs")).batch_headers())
    assert "whole" == holding(store, header)
    leaves = [cid for cid, block in store.blocks.items() if len(block) == 1 << 20]
    del store.blocks[leaves[-1]]
    assert "incomplete" == holding(store, header)
    assert "whole" == holding(store, header, max_blocks=2)


@pytest.mark.parametrize("state", ["down", "denying"])
def test_a_store_that_does_not_answer_says_nothing(store: MemoryStore, header: BatchHeader, state: str) -> None:
    """Only an answer counts: a batch is not lost because its store is out of reach."""
    store.state = state  # type: ignore[assignment]
    with pytest.raises(StoreUnavailable if state == "down" else StoreDenied):
        holding(store, header)


def test_the_newest_confirmed_batches_leave_out_those_set_aside() -> None:
    """Newest first, also those that are confirmed before an older one is."""
    state = STATE.confirm(range(5)).set_aside(5, "bad").confirm([6, 8])
    assert [8, 6, 4, 3] == newest_confirmed(state, 4)
    assert [8, 6, 4, 3, 2, 1, 0] == newest_confirmed(state, 100)
    assert [] == newest_confirmed(STATE, 3)


def test_a_sample_has_the_ends_and_confirmed_batches_alone() -> None:
    """The oldest and the newest are in each sample, a batch that was set aside in none."""
    state = STATE.confirm(range(100)).set_aside(100, "bad").confirm(range(101, 200))
    sample = sample_of(state, 199, 8)
    assert {0, 199} <= set(sample)
    assert len(sample) <= 8
    assert all(100 not in sample_of(state, 199, 150) for _ in range(20))
    assert [] == list(sample_of(STATE, 10, 8))
