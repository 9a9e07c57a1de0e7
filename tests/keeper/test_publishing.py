"""A home is published once a resolve has given its head back, whatever a store says, and whenever a process dies."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import LogStoreError, StoreError, StoreUnavailable
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.home_head import HomeHead
from ipfs_log_handlers.format.ipns_record import IpnsRecord
from ipfs_log_handlers.home import disk, keys, name_key, name_state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.lock import LostLockError
from ipfs_log_handlers.home.name_state import NameState
from ipfs_log_handlers.keeper import publishing
from ipfs_log_handlers.keeper.publishing import NothingShippedError, Publication
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes


def publish(home: Path, *stores: MemoryStore, again: bool = False) -> NameState:
    """Publish once; what is published is checked at the stores."""
    publication = Publication(HomeDir(home), {store.address: store for store in stores}, lambda: True, again=again)
    return asyncio.run(publication.run())


def newest(store: MemoryStore, home: Path) -> tuple[IpnsRecord, HomeHead]:
    """Return the record of the name at a store, and the home head to which it leads, both verified."""
    key, own = name_key.load(HomeDir(home)), keys.load(HomeDir(home))
    assert key is not None
    assert own is not None
    record = IpnsRecord.open(store.names[key.name], key.name)
    assert record.value in store.pins
    head = HomeHead.decode(store.blocks[record.value])
    head.verify(own.verifier)
    return record, head


def heads_pinned(store: MemoryStore) -> list[Cid]:
    """Return the home heads that are pinned at a store."""
    found = []
    for cid in store.pins:
        with suppress(LogStoreError):
            HomeHead.decode(store.blocks[cid])
            found.append(cid)
    return found


@pytest.fixture
def store(request: pytest.FixtureRequest) -> MemoryStore:
    """Return a store in memory, to which homes of this test are shipped."""
    MemoryStore.forget()
    return MemoryStore.named("store")


@pytest.fixture
def shipped(home: Path, store: MemoryStore) -> Path:
    """Make a home with two subsystems, shipped."""
    for subsystem in ("audit", "wal"):
        sample_homes.log(home, range(20), subsystem)
    sample_homes.ship(home, store.address)
    return home


def more(home: Path, store: MemoryStore, first: int = 100) -> None:
    """Log and ship some more records."""
    sample_homes.log(home, range(first, first + 5))
    sample_homes.ship(home, store.address)


def test_a_home_head_links_the_newest_head_of_each_log(shipped, store):
    """Its pin keeps each head block, manifest and batch; and no batch before."""
    state = publish(shipped, store)
    record, head = newest(store, shipped)

    assert [log.log.split("/")[2] for log in head.logs] == ["audit", "wal"]
    assert {log.head.text for log in head.logs} == {status["head"] for status in sample_homes.status(shipped)}
    assert state.is_published
    assert state.confirmed is not None
    assert (state.confirmed.cid, state.confirmed.sequence) == (head.cid.text, record.sequence)
    assert heads_pinned(store) == [head.cid]
    store.pins = {head.cid: ""}
    store.collect_garbage()
    assert len(store.blocks) == 1 + 2 * 3


def test_nothing_is_sent_for_what_is_published(shipped, store):
    """A second publication of the same heads makes no call; with `again` the same bytes are sent again."""
    publish(shipped, store)
    names, shipments = dict(store.names), len(store.shipments)
    store.state = "down"
    publish(shipped, store)
    with pytest.raises(StoreUnavailable):
        publish(shipped, store, again=True)
    store.state = "up"
    publish(shipped, store, again=True)
    assert (store.names, len(store.shipments)) == (names, shipments + 1)


def test_numbers_grow_and_older_home_heads_are_unpinned(shipped, store):
    """Each new head has a larger counter and sequence number; one home head stays pinned."""
    seen: list[tuple[int, int]] = []
    for turn in range(4):
        more(shipped, store, 100 * turn)
        publish(shipped, store)
        record, head = newest(store, shipped)
        seen.append((record.sequence, head.counter))
        assert heads_pinned(store) == [head.cid]
    assert seen == sorted(set(seen))
    assert all(sequence == counter for sequence, counter in seen)


def test_a_daemon_that_answers_and_does_not_resolve(shipped, store):
    """The record is taken, as Kubo without routing does: not published, and the reason says what is missing."""
    store.resolves = False
    with pytest.raises(StoreUnavailable, match=r"does not resolve the name.*Ipns.UsePubsub"):
        publish(shipped, store)
    state = name_state.load(HomeDir(shipped))
    assert state.name in store.names
    assert not state.is_published
    assert state.confirmed is None

    store.resolves = True
    assert publish(shipped, store).is_published


def test_an_answer_with_another_block_does_not_count(shipped, store, monkeypatch):
    """A store that resolves the name to something else."""
    other = Cid.of(0x71, b"\xa0")

    async def lie(*_: Any, **__: Any) -> Cid:
        return other

    monkeypatch.setattr(store, "resolve_name", lie)
    with pytest.raises(StoreUnavailable, match="leads to another block"):
        publish(shipped, store)
    assert not name_state.load(HomeDir(shipped)).is_published


def test_a_home_without_shipped_batches(home, store):
    """Nothing is sent, and no key is made."""
    sample_homes.make(home)
    with pytest.raises(NothingShippedError, match="no batch is shipped"):
        publish(home, store)
    assert not HomeDir(home).name_key.exists()
    with pytest.raises(NothingShippedError, match="no batch is sealed"):
        publish(home.parent / "empty", store)


def test_only_what_enough_stores_have(home, store):
    """A batch that one of two replicas has is not shipped, and a home head does not link it."""
    second = MemoryStore.named("second")
    addresses = [store.address, second.address]
    sample_homes.log(home, range(20), kubo=addresses, replicas=2)
    sample_homes.ship(home, *addresses)
    publish(home, store, second)
    before = newest(store, home)[1]
    assert newest(second, home)[1] == before
    sample_homes.log(home, range(20, 25), kubo=addresses, replicas=2)
    sample_homes.ship(home, store.address)
    publish(home, store, second)
    assert newest(store, home)[1] == before
    sample_homes.ship(home, *addresses)
    publish(home, store, second)
    assert newest(store, home)[1].logs[0].index == before.logs[0].index + 1


def test_one_store_of_two_is_silent(home, store):
    """The home is published as soon as one store has given the name back."""
    second = MemoryStore.named("second")
    sample_homes.log(home, range(20), kubo=[store.address, second.address])
    sample_homes.ship(home, store.address, second.address)
    second.state = "down"
    state = publish(home, store, second)
    assert state.is_published
    assert state.confirmed is not None
    assert state.confirmed.address == store.address


def test_a_store_that_lost_what_was_published(shipped, store, monkeypatch):
    """No home head with older batches is made: the batches are shipped again first."""
    publish(shipped, store)
    real = publishing._shipped_through
    monkeypatch.setattr(publishing, "_shipped_through", lambda *args: real(*args) - 1)
    with pytest.raises(StoreUnavailable, match="shipped again"):
        publish(shipped, store)


def test_a_record_is_renewed_at_half_of_its_time(shipped, store, monkeypatch):
    """The same home head, a larger sequence number, a later end."""
    publish(shipped, store)
    record, head = newest(store, shipped)
    real = clock.wall
    monkeypatch.setattr(clock, "wall", lambda: real() + publishing.VALIDITY_S - publishing.RENEWAL_S - 60)
    publish(shipped, store)
    assert newest(store, shipped) == (record, head)
    monkeypatch.setattr(clock, "wall", lambda: real() + publishing.VALIDITY_S - publishing.RENEWAL_S + 60)
    publish(shipped, store)
    renewed, same = newest(store, shipped)
    assert same == head
    assert renewed.sequence > record.sequence
    assert renewed.validity > record.validity


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["removed", "damaged", "from a backup"])
def test_numbers_grow_although_the_state_is_lost(shipped, store, monkeypatch, loss):
    """The clock gives a larger number; where it went back, the newest record of our own key does."""
    home = HomeDir(shipped)
    publish(shipped, store)
    backup = home.name_state.read_bytes()
    more(shipped, store)
    publish(shipped, store)
    record, head = newest(store, shipped)
    if loss == "removed":
        home.name_state.unlink()
    elif loss == "damaged":
        home.name_state.write_bytes(b"x" + home.name_state.read_bytes())
    else:
        home.name_state.write_bytes(backup)
    monkeypatch.setattr(clock, "wall", lambda: 1e9)
    more(shipped, store, 200)
    assert publish(shipped, store).is_published
    again, newer = newest(store, shipped)
    assert again.sequence > record.sequence
    assert newer.logs > head.logs


def test_a_number_of_another_key_is_not_believed(shipped, store):
    """A store that refuses with a huge number, and has no record of our key with it, moves nothing."""

    async def refuse(*_: Any) -> None:
        raise StoreUnavailable("no", found="existing IPNS record has sequence 9000000000000000000 >= 1")

    store.put_name = refuse
    with pytest.raises(StoreUnavailable, match="9000000000000000000"):
        publish(shipped, store)
    assert name_state.load(HomeDir(shipped)).sequence < 1 << 40


class TestCrash:
    """A process dies between two steps; the next one goes on."""

    @staticmethod
    def crash(home: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, step: int) -> bool:
        """Publish, and end before a step; return whether the publication came to its end first."""

        class Killed(BaseException):
            pass

        count = itertools.count(1)

        def stopping(real: Callable[..., Any]) -> Callable[..., Any]:
            def stepped(*args: Any, **options: Any) -> Any:
                if next(count) == step:
                    raise Killed
                return real(*args, **options)

            return stepped

        with monkeypatch.context() as patched:
            for name in ("write_new", "link", "remove", "rename", "sync_directory"):
                patched.setattr(disk, name, stopping(getattr(disk, name)))
            for name in ("ship", "put_name", "resolve_name", "unpin"):
                patched.setattr(MemoryStore, name, stopping(getattr(MemoryStore, name)))
            try:
                publish(home, store)
            except Killed:
                return False
            return True

    @pytest.mark.slow
    @pytest.mark.parametrize("first", [True, False], ids=["first publication", "a later one"])
    def test_between_every_two_steps(self, home, store, monkeypatch, first):
        """One home head at the end, pinned; numbers never go back; no number is used for two records."""
        records: dict[int, bytes] = {}
        real = MemoryStore.put_name

        async def noting(self: MemoryStore, name: str, record: bytes) -> None:
            sequence = IpnsRecord.open(record, name).sequence
            assert records.setdefault(sequence, record) == record
            assert sequence >= max(records)
            await real(self, name, record)

        monkeypatch.setattr(MemoryStore, "put_name", noting)
        sample_homes.log(home, range(20))
        sample_homes.ship(home, store.address)
        if not first:
            publish(home, store)
            more(home, store)
        names, pins = dict(store.names), dict(store.pins)
        for step in range(1, 60):
            records.clear()
            here = home.with_name(f"home-{step}")
            shutil.copytree(home, here)
            store.names, store.pins = dict(names), dict(pins)
            ended = self.crash(here, store, monkeypatch, step)
            assert publish(here, store).is_published
            assert publish(here, store, again=True).is_published
            record, head = newest(store, here)
            assert heads_pinned(store) == [head.cid]
            assert head.logs[0].index == (2 if not first else 1)
            assert record.sequence == max(records)
            if ended:
                break
        assert ended
        assert step > 12

    def test_another_process_is_the_keeper(self, shipped, store):
        """Who has lost the lock writes and sends nothing."""
        held = iter([True, False])
        publication = Publication(HomeDir(shipped), {store.address: store}, lambda: next(held, False))
        with pytest.raises(LostLockError):
            asyncio.run(publication.run())
        assert store.names == {}


def test_a_home_with_another_key(shipped, store):
    """A home head of a former key is not gone on with, and no log of it is linked."""
    publish(shipped, store)
    before = newest(store, shipped)[1]
    HomeDir(shipped).key.write_text(SecretKey.generate(bytes(32)).text + "\n")
    with pytest.raises(NothingShippedError):
        publish(shipped, store)
    sample_homes.end(shipped)
    sample_homes.log(shipped, range(5))
    sample_homes.ship(shipped, store.address)
    publish(shipped, store)
    record, head = newest(store, shipped)
    assert head.counter == record.sequence > before.counter
    assert len(head.logs) == 1


class Nameless:
    """A store that publishes no names, as one of a registered scheme may be."""

    def __init__(self, store: MemoryStore) -> None:
        self.address, self.name = store.address, store.name


def test_a_store_that_knows_no_names(shipped, store):
    """It is said that this store cannot publish, and nothing is sent."""
    with pytest.raises(LogStoreError, match="knows no names") as raised:
        publish(shipped, Nameless(store))  # type: ignore[arg-type]
    assert not isinstance(raised.value, StoreError)
