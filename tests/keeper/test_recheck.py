"""A store that lost what it had confirmed is noticed, and what the home still has is sent again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import HomeError, StoreUnavailable
from ipfs_log_handlers.home import delivery_state, lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.recheck import lost_batches, send_again
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.many_batches import seal_batches

ADDRESS = "memory:recheck"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """Yield the store `memory:recheck`."""
    yield MemoryStore.named("recheck")
    MemoryStore.forget()


@pytest.fixture
def home_dir(home: Path, store: MemoryStore) -> HomeDir:
    """Make a home of twelve batches that the store has confirmed."""
    seal_batches(home, 12)
    sample_homes.ship(home, ADDRESS)
    return HomeDir(home)


def log_dir(home_dir: HomeDir) -> LogDir:
    """Return the only log of the home."""
    return LogDir.current_of(home_dir.subsystem_dir("logs"))


def lose(home_dir: HomeDir, store: MemoryStore, *indexes: int) -> None:
    """Let the store lose these batches; without any, everything."""
    if not indexes:
        store.pins.clear()
        store.blocks.clear()
    for header in log_dir(home_dir).batch_headers(indexes):
        del store.pins[header.cid]


def found(home_dir: HomeDir, sample: int | None = None) -> list[tuple[int, str]]:
    """List the batches that the store lacks, and in which way."""
    return [(batch.index, batch.holding) for batch in lost_batches(home_dir, ADDRESS, sample=sample)]


def state(home_dir: HomeDir, store: MemoryStore) -> delivery_state.DeliveryState:
    """Return what is written about the store."""
    return log_dir(home_dir).delivery_states()[store.name]


def test_a_store_that_has_everything_lacks_nothing(home_dir: HomeDir) -> None:
    """All batches are asked for, and nothing is written."""
    assert [] == found(home_dir)
    assert [] == found(home_dir, sample=4)


def test_each_lost_batch_is_named_and_those_alone(home_dir: HomeDir, store: MemoryStore) -> None:
    """A lost pin and a lost block are both found, in the order of the batches."""
    lose(home_dir, store, 3)
    [header] = log_dir(home_dir).batch_headers([7])
    del store.blocks[header.manifest.payload]
    assert [(3, "not pinned"), (7, "incomplete")] == found(home_dir)


def test_a_sample_notices_a_store_that_was_replaced(home_dir: HomeDir, store: MemoryStore) -> None:
    """Behind the address there is an empty store now: any sample shows it."""
    lose(home_dir, store)
    lacking = found(home_dir, sample=4)
    assert 2 <= len(lacking) <= 4
    assert {(0, "not pinned"), (11, "not pinned")} <= set(lacking)


def test_a_store_that_does_not_answer_is_not_said_to_have_lost_anything(home_dir: HomeDir, store: MemoryStore) -> None:
    """The error comes through, and what is written stays as it was."""
    before = state(home_dir, store)
    store.state = "down"
    with pytest.raises(StoreUnavailable):
        send_again(home_dir, [ADDRESS])
    assert before == state(home_dir, store)


def test_lost_batches_are_shipped_again(home_dir: HomeDir, store: MemoryStore) -> None:
    """What the home still has goes to the store once more, and only that."""
    lose(home_dir, store, 0, 5, 11)
    assert [0, 5, 11] == [batch.index for batch in send_again(home_dir, [ADDRESS])]
    again: list[int] = []
    run_keeper_now(home_dir, Standalone(), timeout=20.0, stores=(ADDRESS,), on_shipped=lambda b: again.append(b.index))
    assert [0, 5, 11] == sorted(again)
    assert [] == found(home_dir)


def test_a_batch_that_nobody_has_any_more_is_said_to_be_gone(home_dir: HomeDir, store: MemoryStore) -> None:
    """Its payload left the home before the store lost it: it is set aside with the reason, and holds up no other."""
    log_dir(home_dir).sealed_batches.strip(4)
    lose(home_dir, store)
    lost = {batch.index: batch for batch in send_again(home_dir, [ADDRESS])}
    assert [4] == [index for index, batch in lost.items() if batch.gone]
    run_keeper_now(home_dir, Standalone(), timeout=20.0, stores=(ADDRESS,))
    [aside] = state(home_dir, store).aside
    assert (4, "lost by the store after its payload left: no store has it") == (aside.index, aside.reason)
    assert [] == found(home_dir)


def test_a_batch_that_another_store_has_is_not_gone(home: Path, home_dir: HomeDir, store: MemoryStore) -> None:
    """Of two stores one lost everything: the other is named for what has left the home."""
    sample_homes.ship(home, "memory:other")
    log_dir(home_dir).sealed_batches.strip(4)
    lose(home_dir, store)
    [batch] = [batch for batch in lost_batches(home_dir, ADDRESS) if not batch.in_home]
    assert (4, ("memory:other",), False) == (batch.index, batch.elsewhere, batch.gone)
    assert batch.as_json().keys() == {"subsystem", "index", "cid", "store", "holding", "in_home", "elsewhere"}


def test_only_stores_that_may_be_asked_are_asked_for_what_is_lost(
    home: Path, home_dir: HomeDir, store: MemoryStore
) -> None:
    """Another store that the home names as a holder is not asked by one who may not ask it."""
    sample_homes.ship(home, "memory:other")
    log_dir(home_dir).sealed_batches.strip(4)
    lose(home_dir, store)
    [batch] = [batch for batch in lost_batches(home_dir, ADDRESS, others=[ADDRESS]) if not batch.in_home]
    assert (4, (), True) == (batch.index, batch.elsewhere, batch.gone)


def test_the_number_of_batches_to_check_is_known_from_the_beginning(home_dir: HomeDir) -> None:
    """A progress bar has a total, and it reaches it."""
    seen: list[tuple[str, int, int]] = []
    lost_batches(home_dir, ADDRESS, on_checked=lambda *step: seen.append(step))
    assert [(ADDRESS, 8, 12), (ADDRESS, 12, 12)] == seen


def test_sending_again_needs_the_home_without_a_keeper(home_dir: HomeDir) -> None:
    """The delivery states are the keeper's to write."""
    held = lock.take(home_dir)
    assert held is not None
    with pytest.raises(HomeError, match="is the keeper of this home"):
        send_again(home_dir, [ADDRESS])
    held.release()


def shipped_by_a_keeper(home_dir: HomeDir) -> list[int]:
    """Run a keeper until everything is shipped; list the batches that it shipped."""
    shipped: list[int] = []
    run_keeper_now(
        home_dir, Standalone(), timeout=20.0, stores=(ADDRESS,), on_shipped=lambda b: shipped.append(b.index)
    )
    return sorted(shipped)


def test_a_keeper_that_reaches_a_store_again_notices_that_it_is_empty(home_dir: HomeDir, store: MemoryStore) -> None:
    """One of the newest is not pinned, so all are asked for; everything that the home has is sent again."""
    lose(home_dir, store)
    assert list(range(12)) == shipped_by_a_keeper(home_dir)
    assert [] == found(home_dir)
    assert not state(home_dir, store).lost


def test_a_keeper_sends_only_what_is_lost(home_dir: HomeDir, store: MemoryStore) -> None:
    """The store still has the others."""
    lose(home_dir, store, 2, 5, 10)
    assert [2, 5, 10] == shipped_by_a_keeper(home_dir)


def test_a_keeper_says_that_blocks_may_be_lost_until_all_were_read(home_dir: HomeDir, store: MemoryStore) -> None:
    """A pin stands, and a block of it is gone: the keeper does not read everything back, `send_again` does."""
    for header in log_dir(home_dir).batch_headers([4, 11]):
        del store.blocks[header.manifest.payload]
    assert [11] == shipped_by_a_keeper(home_dir)
    assert state(home_dir, store).lost
    assert [4] == [batch.index for batch in send_again(home_dir, [ADDRESS])]
    assert [4] == shipped_by_a_keeper(home_dir)
    assert not state(home_dir, store).lost


def test_a_store_that_fails_during_the_check_is_asked_again(home_dir: HomeDir, store: MemoryStore) -> None:
    """What was found to be lost is written at once, and the next keeper goes on."""
    lose(home_dir, store)
    store.state = "down"
    run_keeper_now(home_dir, Standalone(), timeout=0.5, stores=(ADDRESS,))
    assert not state(home_dir, store).lost
    store.state = "up"
    assert list(range(12)) == shipped_by_a_keeper(home_dir)


def test_a_damaged_batch_is_left_out(home_dir: HomeDir, store: MemoryStore) -> None:
    """A batch whose manifest cannot be read has no name to ask for: `verify` and `doctor` report it, not this."""
    path = log_dir(home_dir).sealed_batches.file(2)
    path.write_bytes(b"damaged")
    lose(home_dir, store, 3)
    assert [(3, "not pinned")] == found(home_dir)
