"""Status tells what is durable, sealed and shipped from the home alone, and adds up."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.home import delivery_state, lock, segments
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import DeliveryState, LastError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.loop import Keeper, Standalone
from ipfs_log_handlers.monitoring.status import status as status_of
from ipfs_log_handlers.runtime.process import ProcessCounters
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.logging_home import OTHER, dropped, lines, logging_to, path_meant, put_live, put_segment
from tests.support.many_batches import files_looked_at, seal_batches
from tests.support.one_status import KEYS, one
from tests.support.sample_homes import status


def counts(home: Path) -> tuple[int, int, int]:
    """Durable, sealed, shipped."""
    found = one(home)
    return found["durable"], found["sealed"], found["shipped"]


def mark(home: Path, confirmed_through: int, name: str = "x", **more: Any) -> None:
    """Write what a store has confirmed."""
    log = Batches(sample_homes.subsystem_dir(home).current.batches).facts(0).manifest.log
    address = f"memory:{name}"
    delivery_state.store(
        sample_homes.subsystem_dir(home).current.shipped,
        name,
        DeliveryState(log=log, address=address, confirmed_through=confirmed_through, **more),
    )


def test_a_missing_home_has_no_subsystem(home):
    """A home that is not there yet has nothing to tell."""
    assert status(home) == []


def test_a_subsystem_has_the_promised_keys(home):
    """The keys are those that are promised, and the whole is JSON."""
    sample_homes.make(home, 1)
    found = one(home)
    assert found.keys() == KEYS
    assert json.loads(json.dumps(found)) == found
    assert found["head"].startswith("bafy")
    assert found["keeper"] is None
    assert found["spool_bytes"] == 0
    assert found["store_bytes"] > 0


def test_records_become_durable_sealed_and_shipped(home):
    """Records are durable, then sealed, then shipped, and each number contains the next."""
    sample_homes.log(home, range(25), kubo="memory:journey")
    assert counts(home) == (25, 0, 0)
    assert one(home)["spool_bytes"] > 0
    assert one(home)["head"] is None
    sample_homes.seal(home)
    assert counts(home) == (25, 25, 0)
    sample_homes.ship(home, "memory:journey")
    sample_homes.log(home, range(25, 30), kubo="memory:journey")
    assert counts(home) == (30, 25, 25)


def test_a_torn_line_is_not_counted(home):
    """Half a line, or one whose checksum does not hold, is no durable record."""
    sample_homes.log(home, range(5))
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"did 2", b"did X") + b'0badc0de {"t')
    assert counts(home) == (4, 0, 0)


def test_shipped_records_are_those_of_confirmed_batches(home):
    """Only confirmed batches count as shipped: above `confirmed_through`, and with batches set aside, too."""
    sample_homes.make(home, 45)
    mark(home, 2)
    assert counts(home) == (45, 45, 30)
    mark(home, 0, confirmed_after=(4,))
    assert counts(home) == (45, 45, 15)
    mark(home, 4, aside=(delivery_state.Aside(1, "bad hash"),))
    assert counts(home) == (45, 45, 35)
    assert one(home)["set_aside"] == 1


def test_a_batch_counts_as_shipped_with_enough_replicas(home):
    """A batch is shipped once as many stores as configured have confirmed it."""
    sample_homes.log(home, range(40), kubo=["memory:a", "memory:b", "memory:c"], replicas=2)
    sample_homes.seal(home)
    mark(home, 3, "a")
    assert counts(home)[2] == 0
    mark(home, 1, "b")
    assert counts(home)[2] == 20
    mark(home, 2, "c")
    assert counts(home)[2] == 30


def test_former_logs_are_counted_too(home):
    """The numbers go on over logs that ended, whether their head is there or not."""
    sample_homes.make(home, 20)
    sample_homes.end(home)
    sample_homes.log(home, range(5))
    assert counts(home) == (25, 20, 0)
    sample_homes.seal(home)
    assert counts(home) == (25, 25, 0)
    sample_homes.subsystem_dir(home).current.head.unlink()
    sample_homes.make(home, 10)
    sample_homes.make(home, 10)
    assert counts(home) == (45, 45, 0)


def test_the_oldest_unshipped_record_has_an_age(home):
    """The age is that of the oldest record that no store has, in a batch or in the spool; without a store, none."""
    sample_homes.make(home, 10, "wal")
    assert one(home)["oldest_unshipped"] is None
    sample_homes.log(home, range(10), "wal", kubo="memory:old")
    time.sleep(0.3)
    sample_homes.log(home, range(10), "wal", kubo="memory:old")
    assert 0.3 <= one(home)["oldest_unshipped"] < 60
    sample_homes.seal(home)
    assert 0.3 <= one(home)["oldest_unshipped"] < 60
    sample_homes.ship(home, "memory:old")
    assert one(home)["oldest_unshipped"] is None


def test_the_error_of_a_store_lasts_until_it_has_everything(home):
    """What went wrong last is told with the time of the next try, until the store has everything."""
    store = MemoryStore.named("trouble")
    store.state = "down"
    sample_homes.log(home, range(10), kubo="memory:trouble")
    sample_homes.ship(home, "memory:trouble")
    found = one(home)
    assert "cannot be reached" in found["last_error"]
    assert found["next_retry"].endswith("Z")
    store.state = "up"
    sample_homes.ship(home, "memory:trouble")
    assert (one(home)["last_error"], one(home)["next_retry"]) == (None, None)


def test_the_newest_error_is_reported(home):
    """Of two stores in trouble, the later trouble is told."""
    sample_homes.make(home, 10)
    mark(home, -1, "a", last_error=LastError("unreachable", "old", 1.0, 2.0))
    mark(home, -1, "b", last_error=LastError("timeout", "new", 3.0, 4.0))
    assert one(home)["last_error"] == "new"
    assert one(home)["next_retry"] == "1970-01-01T00:00:04.000000Z"


def test_a_damaged_head_is_the_last_error(home):
    """A head that cannot be read is the last error; the records in the batches are still counted."""
    sample_homes.make(home, 20)
    sample_homes.subsystem_dir(home).current.head.write_bytes(b"junk")
    found = one(home)
    assert "head" in found["last_error"]
    assert found["sealed"] == 20


def test_a_damaged_head_is_not_tried_again_as_a_store_is(home):
    """The next try of a store stands beside the error of that store alone."""
    sample_homes.make(home, 3)
    mark(home, -1, last_error=LastError("unreachable", "nobody listens", 1.0, 2.0))
    assert (one(home)["last_error"], one(home)["next_retry"]) == ("nobody listens", "1970-01-01T00:00:02.000000Z")
    sample_homes.subsystem_dir(home).current.head.write_bytes(b"junk")
    assert "head" in one(home)["last_error"]
    assert one(home)["next_retry"] is None


def test_a_lost_head_counts_no_record_twice(home):
    """While a head is lost and no keeper has come since, a record that is in a batch and in a segment counts once."""
    with sample_homes.Writing(home) as writing:
        writing.log(range(25))
        sample_homes.seal(home)
        writing.log(range(25, 30))
        assert counts(home) == (30, 25, 0)
        sample_homes.subsystem_dir(home).current.head.unlink()
        assert counts(home) == (30, 25, 0)
        sample_homes.seal(home)
        assert counts(home) == (30, 30, 0)


def test_a_lost_head_counts_drops_once(home):
    """What was dropped before the head was lost stands in a manifest and in a segment, and is counted once."""
    subsystem_dir = sample_homes.subsystem_dir(home)
    live = put_live(subsystem_dir, lines(1, 5) + dropped("ENOSPC", 2, 6, 7) + lines(8, 9))
    sample_homes.seal(home)
    os.write(live.descriptor, dropped("EIO", 1, 10, 10) + lines(11, 12))
    before = one(home)
    assert (before["durable"], before["dropped"]) == (9, {"ENOSPC": 2, "EIO": 1})
    subsystem_dir.current.head.unlink()
    after = one(home)
    live.close()
    assert (after["durable"], after["dropped"]) == (9, {"ENOSPC": 2, "EIO": 1})


def test_live_processes_that_disagree_are_a_warning(home):
    """Where programs that run now want other policies, a warning names the setting, the values and whose they are."""
    older = put_live(sample_homes.subsystem_dir(home), lines(1, 1), records=50)
    assert one(home)["warnings"] == []
    newer = put_live(sample_homes.subsystem_dir(home), lines(1, 1), writer=OTHER, records=70)
    (warning,) = one(home)["warnings"]
    newer.close()
    assert one(home)["warnings"] == []
    older.close()
    assert warning == (
        "live processes disagree on records: 50 (process 7 on box), 70 (process 7 on box);"
        " the newest setting is used, 70"
    )


def test_a_segment_that_cannot_be_read_is_a_warning(home, monkeypatch):
    """A segment that the system refuses is named with the reason; the others are counted."""
    put_segment(sample_homes.subsystem_dir(home), lines(1, 3))
    bad = put_segment(sample_homes.subsystem_dir(home), lines(1, 5), writer=OTHER)
    real = os.open

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if path_meant(path, more) == bad:
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    found = one(home)
    assert found["durable"] == 3
    assert found["warnings"] == [f"segment {OTHER}-0 cannot be read: Permission denied"]
    held = lock.take(HomeDir(home))
    assert held is not None
    keeper = Keeper(held, Standalone())
    keeper.until_done = True
    keeper.request_flush()
    asyncio.run(keeper.run())
    held.release()
    assert keeper.last_errors == {"audit": f"segment {OTHER}-0 cannot be read: Permission denied"}
    assert one(home)["sealed"] == 3


def test_the_keeper_is_named_while_it_runs(home):
    """While somebody keeps the home, host and pid are told."""
    sample_homes.make(home, 1)
    held = lock.take(HomeDir(home))
    assert held is not None
    assert one(home)["keeper"].keys() == {"host", "pid"}
    held.release()
    assert one(home)["keeper"] is None


def test_dropped_records_are_counted_once(home, monkeypatch):
    """A dropped record is counted while this process alone knows it, when it stands in the spool, and when sealed."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    real = segments.create

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(28, "no room")

    monkeypatch.setattr(segments, "create", refuse)
    for number in range(3):
        handler.handle(sample_homes.record(number))
    (found,) = handler.status()
    assert sum(found["dropped"].values()) == 3
    monkeypatch.setattr(segments, "create", real)
    time.sleep(0.15)
    handler.handle(sample_homes.record(3))
    assert sum(handler.status()[0]["dropped"].values()) == 3
    assert sum(one(home)["dropped"].values()) == 3
    handler.close()
    sample_homes.seal(home)
    assert sum(one(home)["dropped"].values()) == 3
    assert sum(handler.status()[0]["dropped"].values()) == 3
    assert one(home)["durable"] == 1


def test_records_without_their_fields_are_counted(home):
    """A handler's own status counts the records that lack fields which their event requires."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    handler.handle(sample_homes.record(1, event="audit.event"))
    handler.handle(sample_homes.record(2))
    assert handler.status()[0]["incomplete"] == 1
    assert handler.status()[0]["durable"] == 2
    handler.close()


def test_many_shipped_batches_cost_no_manifest(home, monkeypatch):
    """Where all is shipped, or nothing, no manifest is read."""
    sample_homes.make(home, 50)

    def facts(self: Batches, index: int) -> Any:
        pytest.fail("a manifest was read")

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "facts", facts)
        assert counts(home) == (50, 50, 0)
    mark(home, 4)
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "facts", facts)
        assert counts(home) == (50, 50, 50)


@pytest.mark.slow
@pytest.mark.parametrize(("through", "more"), [(-1, ()), (9, (12, 14)), (39, ())])
def test_the_work_does_not_grow_with_the_number_of_batches(home, through, more):
    """Home rule 33: with none, some or all of many batches shipped, at most the oldest that waits is opened."""
    subsystem_dir = seal_batches(home, 40, subsystem="audit")
    with logging_to(home, "audit", kubo="memory:x"):
        mark(home, through, confirmed_after=more)
        batches = str(subsystem_dir.current.batches)
        with files_looked_at() as paths:
            found = one(home)

    assert (40, through + 1 + len(more)) == (found["sealed"], found["shipped"])
    opened = {path for path in paths if path.startswith(batches) and path.endswith(".car")}
    assert len(opened) <= (through < 39)


def test_shipped_records_are_counted_from_manifests_where_there_is_no_index(home):
    """A lost index costs time, no figure."""
    subsystem_dir = seal_batches(home, 10, subsystem="audit")
    mark(home, 3, confirmed_after=(5,))
    (subsystem_dir.current.batches / "index").unlink()
    assert (10, 10, 5) == counts(home)


def test_counts_that_move_into_the_home_during_the_reading_are_counted_once(home):
    """The keeper saves the counts of a process between the look at the process and the look at the home."""
    with sample_homes.Writing(home, max_spool_bytes=64 << 10) as writing:
        process = writing.handler._recorder.home
        logged = 0
        while not any(process.counters().unreported.values()):
            writing.log(range(logged, logged + 1))
            logged += 1
        looks = 0

        def counters() -> ProcessCounters:
            nonlocal looks
            taken = process.counters()
            if looks == 0:
                process.writers["audit"].report_drops()
            looks += 1
            return taken

        [found] = status_of(home, counters)
    assert looks > 1
    assert logged == found.durable + sum(found.dropped.values())
