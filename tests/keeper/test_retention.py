"""Payloads that are shipped leave the home on proof, and only then; docs/home.md 23."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.acts import Hold
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.keeper.retention import Retention
from ipfs_log_handlers.testing import FakeKubo, Response
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import oracle, programs, sample_homes
from tests.support.daemon_contents import LOG_MANY, blocks_of, manifests
from tests.support.logging_home import wait_until
from tests.support.many_batches import files_looked_at, seal_batches

RETAIN = """
    configure(kubo=KUBO, flush_timeout=20.0, batch={"records": 20}, max_store_bytes=0, keep_days=0)
    for i in range(COUNT): log.info("r%d", FIRST + i)
    [h] = logging.getLogger().handlers
    h.flush()
    print("flushed", flush=True)
    sys.stdin.readline()
"""


def retaining(home: Path, kubo: str, first: int, until: Callable[[], bool]) -> None:
    """Run a program whose keeper takes payloads out, until something is so."""
    process = programs.start(home, RETAIN, KUBO=kubo, COUNT=1, FIRST=first)
    assert process.stdout is not None
    assert "flushed\n" == process.stdout.readline()
    wait_until(until)
    _, err = process.communicate("\n", timeout=60)
    assert (0, "") == (process.returncode, err)


def test_payloads_leave_only_when_the_store_proves_to_have_them(home, kubo):
    """With `max_store_bytes` reached, payloads that Kubo has leave the home; the chain stays, and is whole there."""
    programs.run(home, LOG_MANY, KUBO=kubo.url, COUNT=200, FIRST=0).clean()
    files = [home / "logs" / "batches" / "000" / f"{index:06}.car" for index in range(2)]
    sizes = [path.stat().st_size for path in files]

    retaining(home, kubo.url, 200, lambda: all(p.stat().st_size < n for p, n in zip(files, sizes, strict=True)))

    [log] = oracle.read_home(home)["logs"]
    assert [None, None] == [batch.lines for batch in log.batches[:2]]
    there = oracle.read_daemon(blocks_of(kubo), log.head_cid)
    assert [f"r{i}" for i in range(201)] == [record["event"] for record in there.records]


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["unpinned", "lost", "other bytes"])
def test_a_store_that_lost_a_payload_keeps_it_in_the_home(home, lie):
    """A pin that is gone, a block that is gone or other bytes under its CID: the payload stays here."""
    with FakeKubo() as daemon:
        programs.run(home, 'configure(kubo=KUBO); log.info("kept")', KUBO=daemon.url).clean()
        [log] = oracle.read_home(home)["logs"]
        store = daemon.store
        [payload] = [cid for cid in store.blocks if cid.text == log.batches[0].manifest["payload"]]
        [manifest] = [cid for cid in store.pins if cid.text == log.batches[0].cid]
        if lie == "unpinned":
            del store.pins[manifest]
        elif lie == "lost":
            del store.blocks[payload]
        else:
            store.blocks[payload] = hashlib.sha256(store.blocks[payload]).digest()
        asked_for = manifest.text if lie == "unpinned" else payload.text
        retaining(home, daemon.url, 0, lambda: any(asked_for == each.query.get("arg") for each in daemon.requests))

    [log] = oracle.read_home(home)["logs"]
    assert ["kept", "r0"] == [record["event"] for record in log.records]


@pytest.mark.slow
def test_a_store_that_is_silent_about_old_payloads_holds_up_no_sealing(home):
    """While the keeper waits for an answer about what may leave, new records are sealed as ever."""
    with FakeKubo() as daemon:
        programs.run(home, 'configure(kubo=KUBO); log.info("kept")', KUBO=daemon.url).clean()
        daemon.respond_always("pin/ls", Response(then="hang"))

        def sealed() -> bool:
            asked = any(each.command == "pin/ls" for each in daemon.requests)
            return asked and 1 < len(manifests(home))

        retaining(home, daemon.url, 0, sealed)

    assert ["kept", "r0"] == [record["event"] for record in oracle.sealed_records(home)]


# -- what cannot go holds up nothing


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """Make the store `memory:retention`."""
    yield MemoryStore.named("retention")
    MemoryStore.forget()


def shipped(home: Path, count: int) -> SubsystemDir:
    """Make a home with this number of batches of one record, all of them shipped to `memory:retention`."""
    subsystem_dir = seal_batches(home, count, noise="x" * 300)
    sample_homes.ship(home, "memory:retention")
    return subsystem_dir


def everything_may_go(home: Path, **more: object) -> Policy:
    """Return the policy that lets each shipped payload leave at once."""
    return replace(Policy.default(home, "logs"), max_store_bytes=0, keep_days=0, **more)  # type: ignore[arg-type]


def held(subsystem_dir: SubsystemDir) -> list[int]:
    """List the numbers of the batches that can be read and have their payload."""
    log_dir = LogDir.current_of(subsystem_dir)
    batches = log_dir.sealed_batches
    return [
        header.manifest.index
        for header in log_dir.batch_headers()
        if batches.has_payload(header.manifest.index, header.manifest.payload)
    ]


def test_a_damaged_batch_holds_up_no_other(home: Path, store: MemoryStore) -> None:
    """Home rule 14: of six batches the first is damaged; the payloads of the five after it leave."""
    subsystem_dir = shipped(home, 6)
    path = LogDir.current_of(subsystem_dir).sealed_batches.file(0)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    asyncio.run(Retention(subsystem_dir).run([store], everything_may_go(home)))
    assert [] == held(subsystem_dir)
    assert bytes(data) == path.read_bytes()


def test_a_batch_that_was_set_aside_holds_up_no_other(home: Path, store: MemoryStore) -> None:
    """A payload that the store does not have stays; those before and after it leave."""
    subsystem_dir = shipped(home, 6)
    directory = subsystem_dir.current.shipped
    state = delivery_state.load_all(directory)[store.name]
    fresh = DeliveryState(log=state.log, address=state.address)
    delivery_state.store(directory, store.name, fresh.set_aside(2, "bad").confirm([0, 1, 3, 4, 5]))
    asyncio.run(Retention(subsystem_dir).run([store], everything_may_go(home)))
    assert [2] == held(subsystem_dir)


def test_a_batch_that_was_passed_over_leaves_once_the_store_has_it(home: Path, store: MemoryStore) -> None:
    """What could not be proven in one run is tried again in a later one."""
    subsystem_dir = shipped(home, 4)
    [cid] = [each.cid for each in LogDir.current_of(subsystem_dir).batch_headers([1])]
    name = store.pins.pop(cid)
    retention = Retention(subsystem_dir)
    asyncio.run(retention.run([store], everything_may_go(home)))
    assert [1] == held(subsystem_dir)
    store.pins[cid] = name
    asyncio.run(retention.run([store], everything_may_go(home)))
    assert [] == held(subsystem_dir)


def test_batches_that_are_not_confirmed_by_enough_stores_stay(home: Path, store: MemoryStore) -> None:
    """One store has everything, the other nothing: with `replicas=2` no payload leaves."""
    subsystem_dir = shipped(home, 3)
    other = MemoryStore("other")
    asyncio.run(Retention(subsystem_dir).run([store, other], everything_may_go(home, replicas=2)))
    assert [0, 1, 2] == held(subsystem_dir)


def test_young_batches_stay(home: Path, store: MemoryStore) -> None:
    """Within `keep_days` no payload leaves, unless the disk is full."""
    subsystem_dir = shipped(home, 3)
    policy = replace(everything_may_go(home), keep_days=1.0)
    asyncio.run(Retention(subsystem_dir).run([store], policy))
    assert [0, 1, 2] == held(subsystem_dir)
    asyncio.run(Retention(subsystem_dir).run([store], policy, free_space=1))
    assert [1, 2] == held(subsystem_dir)


def test_a_held_payload_stays_and_holds_up_no_other(home: Path, store: MemoryStore) -> None:
    """Neither a full disk nor any limit gives up what a hold covers; after its release the payload leaves."""
    subsystem_dir = shipped(home, 4)
    [manifest] = LogDir.current_of(subsystem_dir).manifests([1])
    hold = open_home(home).set_hold("logs", since=manifest.first / 1e6, until=manifest.last / 1e6, reason="case 12")
    retention = Retention(subsystem_dir)
    covered = [each.index for each in LogDir.current_of(subsystem_dir).manifests(range(4)) if _covers(hold, each)]
    assert 1 in covered
    for free_space in (0, 1 << 40):
        asyncio.run(retention.run([store], everything_may_go(home), free_space=free_space))
        assert covered == [index for index in held(subsystem_dir) if index < 4]
    open_home(home).release_hold("logs", reason="closed")
    asyncio.run(retention.run([store], everything_may_go(home)))
    assert [] == [index for index in held(subsystem_dir) if index < 4]


def _covers(hold: Hold, manifest: Manifest) -> bool:
    return hold.covers(manifest.first, manifest.last)


def test_where_it_is_not_known_what_is_held_every_payload_stays(home: Path, store: MemoryStore) -> None:
    """A damaged batch with an act may be a hold."""
    subsystem_dir = shipped(home, 4)
    open_home(home).set_hold("logs", since="2000-01-01", until="2000-01-02", reason="case 12")
    LogDir.current_of(subsystem_dir).sealed_batches.file(4).write_bytes(b"")
    with pytest.raises(FormatError):
        asyncio.run(Retention(subsystem_dir).run([store], everything_may_go(home)))
    assert [0, 1, 2, 3] == held(subsystem_dir)


@pytest.mark.slow
def test_a_run_does_the_same_work_beside_any_number_of_batches(home: Path, store: MemoryStore) -> None:
    """The batches whose payload left long ago are not looked at, by this keeper or the next one."""
    work = []
    for first in (1, 201):
        subsystem_dir = seal_batches(home, 200, first=first)
        batches = LogDir.current_of(subsystem_dir).sealed_batches
        for index in range(first - 1, first + 199):
            batches.strip(index)
        sealed_through = LogDir.current_of(subsystem_dir).sealed_through()
        assert sealed_through is not None
        state = DeliveryState(log=sealed_through[0], address=store.address, confirmed_through=sealed_through[1])
        delivery_state.store(subsystem_dir.current.shipped, store.name, state)
        with files_looked_at() as paths:
            assert 0 == asyncio.run(Retention(subsystem_dir).run([store], everything_may_go(home)))
        work.append(len(paths))
    assert work[0] == work[1] <= 30


@pytest.mark.slow
def test_a_run_removes_a_bounded_number_of_payloads(home: Path, store: MemoryStore) -> None:
    """One run does not hold up shipping for long; the next one goes on where it stopped."""
    subsystem_dir = shipped(home, 100)
    retention = Retention(subsystem_dir)
    asyncio.run(retention.run([store], everything_may_go(home)))
    assert list(range(64, 100)) == held(subsystem_dir)
    asyncio.run(retention.run([store], everything_may_go(home)))
    assert [] == held(subsystem_dir)
