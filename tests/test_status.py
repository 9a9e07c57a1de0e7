"""Status tells what is durable, sealed and shipped from the home alone, and adds up."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.home import lock, segments, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.shipped import Mark, Trouble
from ipfs_log_handlers.keeper.loop import Keeper, NoGuest
from ipfs_log_handlers.process import HomeProcess, _at_exit
from ipfs_log_handlers.recorder import Recorder
from ipfs_log_handlers.status import status
from ipfs_log_handlers.stores.memory import MemoryStore
from tests.reading import homes
from tests.workshop import OTHER, dropped, handler_of, lines, logging_to, put_live, put_segment

KEYS = {
    "subsystem", "durable", "sealed", "shipped", "dropped", "quarantined", "set_aside", "spool_bytes", "store_bytes",
    "oldest_unshipped", "head", "keeper", "last_error", "next_retry", "warnings", "archives_waiting",
    "bounded_bytes", "max_spool_bytes",
}  # fmt: skip


def one(home: Path, **how: Any) -> dict[str, Any]:
    """The status of the one subsystem."""
    (found,) = status(home, **how)
    return found


def counts(home: Path) -> tuple[int, int, int]:
    """Durable, sealed, shipped."""
    found = one(home)
    return found["durable"], found["sealed"], found["shipped"]


def mark(home: Path, upto: int, name: str = "x", **more: Any) -> None:
    """What a store has confirmed."""
    log = Batches(homes.room(home).current.batches).facts(0).manifest.log
    address = f"memory:{name}"
    shipped.store(homes.room(home).current.shipped, name, Mark(log=log, address=address, upto=upto, **more))


def test_no_home(home):
    """A home that is not there yet has nothing to tell."""
    assert status(home) == []


def test_keys(home):
    """The keys are those that are promised, and the whole is JSON."""
    homes.make(home, 1)
    found = one(home)
    assert found.keys() == KEYS
    assert json.loads(json.dumps(found)) == found
    assert found["head"].startswith("bafy")
    assert found["keeper"] is None
    assert found["spool_bytes"] == 0
    assert found["store_bytes"] > 0


def test_journey_of_records(home):
    """Records are durable, then sealed, then shipped, and each number contains the next."""
    homes.log(home, range(25), kubo="memory:journey")
    assert counts(home) == (25, 0, 0)
    assert one(home)["spool_bytes"] > 0
    assert one(home)["head"] is None
    homes.seal(home)
    assert counts(home) == (25, 25, 0)
    homes.ship(home, "memory:journey")
    homes.log(home, range(25, 30), kubo="memory:journey")
    assert counts(home) == (30, 25, 25)


def test_torn_line_is_not_counted(home):
    """Half a line, or one whose checksum does not hold, is no durable record."""
    homes.log(home, range(5))
    (segment,) = homes.room(home).spool.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"did 2", b"did X") + b'0badc0de {"t')
    assert counts(home) == (4, 0, 0)


def test_part_of_it_shipped(home):
    """Only the batches that are confirmed count as shipped, above `upto` and with batches set aside, too."""
    homes.make(home, 45)
    mark(home, 2)
    assert counts(home) == (45, 45, 30)
    mark(home, 0, beyond=(4,))
    assert counts(home) == (45, 45, 15)
    mark(home, 4, aside=(shipped.Aside(1, "bad hash"),))
    assert counts(home) == (45, 45, 35)
    assert one(home)["set_aside"] == 1


def test_replicas(home):
    """A batch is shipped once as many stores as configured have confirmed it."""
    homes.log(home, range(40), kubo=["memory:a", "memory:b", "memory:c"], replicas=2)
    homes.seal(home)
    mark(home, 3, "a")
    assert counts(home)[2] == 0
    mark(home, 1, "b")
    assert counts(home)[2] == 20
    mark(home, 2, "c")
    assert counts(home)[2] == 30


def test_former_logs_count(home):
    """The numbers go on over logs that ended, whether their head is there or not."""
    homes.make(home, 20)
    homes.end(home)
    homes.log(home, range(5))
    assert counts(home) == (25, 20, 0)
    homes.seal(home)
    assert counts(home) == (25, 25, 0)
    homes.room(home).current.head.unlink()
    homes.make(home, 10)
    homes.make(home, 10)
    assert counts(home) == (45, 45, 0)


def test_oldest_unshipped(home):
    """The age is that of the oldest record that no store has, in a batch or in the spool; without a store, none."""
    homes.make(home, 10, "wal")
    assert one(home)["oldest_unshipped"] is None
    homes.log(home, range(10), "wal", kubo="memory:old")
    time.sleep(0.3)
    homes.log(home, range(10), "wal", kubo="memory:old")
    assert 0.3 <= one(home)["oldest_unshipped"] < 60
    homes.seal(home)
    assert 0.3 <= one(home)["oldest_unshipped"] < 60
    homes.ship(home, "memory:old")
    assert one(home)["oldest_unshipped"] is None


def test_trouble_with_a_store(home):
    """What went wrong last is told with the time of the next try, until the store has everything."""
    store = MemoryStore.named("trouble")
    store.mood = "down"
    homes.log(home, range(10), kubo="memory:trouble")
    homes.ship(home, "memory:trouble")
    found = one(home)
    assert "cannot be reached" in found["last_error"]
    assert found["next_retry"].endswith("Z")
    store.mood = "up"
    homes.ship(home, "memory:trouble")
    assert (one(home)["last_error"], one(home)["next_retry"]) == (None, None)


def test_newest_trouble_is_told(home):
    """Of two stores in trouble, the later trouble is told."""
    homes.make(home, 10)
    mark(home, -1, "a", trouble=Trouble("refused", "old", 1.0, 2.0))
    mark(home, -1, "b", trouble=Trouble("silent", "new", 3.0, 4.0))
    assert one(home)["last_error"] == "new"
    assert one(home)["next_retry"] == "1970-01-01T00:00:04.000000Z"


def test_damaged_head_is_told(home):
    """A head that cannot be read is the last error; the records in the batches are still counted."""
    homes.make(home, 20)
    homes.room(home).current.head.write_bytes(b"junk")
    found = one(home)
    assert "head" in found["last_error"]
    assert found["sealed"] == 20


def test_lost_head_counts_no_record_twice(home):
    """While a head is lost and no keeper has come since, a record that is in a batch and in a segment counts once."""
    with homes.Writing(home) as writing:
        writing.log(range(25))
        homes.seal(home)
        writing.log(range(25, 30))
        assert counts(home) == (30, 25, 0)
        homes.room(home).current.head.unlink()
        assert counts(home) == (30, 25, 0)
        homes.seal(home)
        assert counts(home) == (30, 30, 0)


def test_lost_head_counts_drops_once(home):
    """What was dropped before the head was lost stands in a manifest and in a segment, and is counted once."""
    room = homes.room(home)
    live = put_live(room, lines(1, 5) + dropped("ENOSPC", 2, 6, 7) + lines(8, 9))
    homes.seal(home)
    os.write(live.descriptor, dropped("EIO", 1, 10, 10) + lines(11, 12))
    before = one(home)
    assert (before["durable"], before["dropped"]) == (9, {"ENOSPC": 2, "EIO": 1})
    room.current.head.unlink()
    after = one(home)
    live.close()
    assert (after["durable"], after["dropped"]) == (9, {"ENOSPC": 2, "EIO": 1})


def test_live_processes_that_disagree(home):
    """Where programs that run now want other policies, a warning names the setting, the values and whose they are."""
    older = put_live(homes.room(home), lines(1, 1), records=50)
    assert one(home)["warnings"] == []
    newer = put_live(homes.room(home), lines(1, 1), writer=OTHER, records=70)
    (warning,) = one(home)["warnings"]
    newer.close()
    assert one(home)["warnings"] == []
    older.close()
    assert warning == (
        "live processes disagree on records: 50 (process 7 on box), 70 (process 7 on box); the newest counts, 70"
    )


def test_segment_that_cannot_be_read(home, monkeypatch):
    """A segment that the system refuses is named with the reason; the others are counted."""
    put_segment(homes.room(home), lines(1, 3))
    bad = put_segment(homes.room(home), lines(1, 5), writer=OTHER)
    real = os.open

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if Path(path) == bad:
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    found = one(home)
    assert found["durable"] == 3
    assert found["warnings"] == [f"segment {OTHER}-0 cannot be read: Permission denied"]
    held = lock.take(Home(home))
    assert held is not None
    keeper = Keeper(held, NoGuest())
    keeper.until_done = True
    keeper.ask()
    asyncio.run(keeper.run())
    held.release()
    assert keeper.troubles == {"audit": f"segment {OTHER}-0 cannot be read: [Errno 13] Permission denied"}
    assert one(home)["sealed"] == 3


def test_keeper_is_named(home):
    """While somebody keeps the home, host and pid are told."""
    homes.make(home, 1)
    held = lock.take(Home(home))
    assert held is not None
    assert one(home)["keeper"].keys() == {"host", "pid"}
    held.release()
    assert one(home)["keeper"] is None


def test_dropped_records_are_told_once(home, monkeypatch):
    """A dropped record is counted while this process alone knows it, when it stands in the spool, and when sealed."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    real = segments.create

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(28, "no room")

    monkeypatch.setattr(segments, "create", refuse)
    for number in range(3):
        handler.handle(homes.record(number))
    (found,) = handler.status()
    assert sum(found["dropped"].values()) == 3
    monkeypatch.setattr(segments, "create", real)
    time.sleep(0.15)
    handler.handle(homes.record(3))
    assert sum(handler.status()[0]["dropped"].values()) == 3
    assert sum(one(home)["dropped"].values()) == 3
    handler.close()
    homes.seal(home)
    assert sum(one(home)["dropped"].values()) == 3
    assert sum(handler.status()[0]["dropped"].values()) == 3
    assert one(home)["durable"] == 1


def test_records_without_their_fields_are_counted(home):
    """A handler's own status counts the records that lack fields which their event requires."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    handler.handle(homes.record(1, event="audit.event"))
    handler.handle(homes.record(2))
    assert handler.status()[0]["incomplete"] == 1
    assert handler.status()[0]["durable"] == 2
    handler.close()


def test_many_shipped_batches_cost_no_manifest(home, monkeypatch):
    """Where all is shipped, or nothing, no manifest is read."""
    homes.make(home, 50)

    def facts(self: Batches, index: int) -> Any:
        pytest.fail("a manifest was read")

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "facts", facts)
        assert counts(home) == (50, 50, 0)
    mark(home, 4)
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "facts", facts)
        assert counts(home) == (50, 50, 50)


def test_what_fails_where_nobody_is_told(home, monkeypatch):
    """What goes wrong at exit, or as a store is closed, is counted and shown; nothing is raised."""

    async def broken(_: object) -> None:
        raise RuntimeError("will not close")

    monkeypatch.setattr(MemoryStore, "close", broken)
    with logging_to(home, keeper="thread", kubo="memory:closing") as logger:
        logger.info("one")
        process = handler_of(logger)._recorder.home
        assert process.flush(20.0)
        process.stop_thread()
        monkeypatch.setattr(process, "flush", lambda _: 1 / 0)
        monkeypatch.setattr(HomeProcess, "everywhere", lambda: [process])
        _at_exit()
        monkeypatch.undo()
        HomeProcess._exiting = False
        (found,) = handler_of(logger).status()
    assert found["failures"] == {
        "closing memory:closing: RuntimeError: will not close": 1,
        "exit: ZeroDivisionError: division by zero": 1,
    }


@pytest.mark.parametrize("subsystem", ["audit", None])
def test_home_that_was_never_made_tells_its_failures(home, monkeypatch, subsystem):
    """Where nothing but failures happened, they are told all the same, of the handler's own subsystem."""
    handler = IPFSHandler(subsystem, home=home, keeper="none")
    assert handler.status() == []
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "take", lambda *_, **__: int("hush"))
        handler.handle(homes.record(1))
    found = handler.status()
    handler.close()
    HomeProcess.forget(home)
    assert [(each["subsystem"], each["failures"]) for each in found] == [
        (subsystem or "logs", {"a record was lost: ValueError": 1})
    ]
    assert found[0].keys() == KEYS | {"failures", "incomplete"}


class TestNoHome:
    """A home that cannot be made or read is told of by a status, and raises nothing."""

    def told(self, handler: IPFSHandler) -> dict[str, Any]:
        """Log a record, flush, close: the status, which is the same each time but for what failed at the end."""
        handler.handle(homes.record(1))
        first = handler.status()
        handler.flush()
        handler.close()
        (found,) = handler.status()
        assert [{**each, "failures": 0} for each in first] == [{**found, "failures": 0}]
        assert found.keys() == KEYS | {"failures", "incomplete"}
        return found

    def test_below_a_file(self, tmp_path):
        """Below a file no home can be: that is told before the first record, and with the records that it cost."""
        (tmp_path / "file").touch()
        where = tmp_path / "file" / "home"
        handler = IPFSHandler("audit", home=where, keeper="none")
        trouble = f"{where} cannot be made: Not a directory"
        assert [("audit", trouble)] == [(each["subsystem"], each["last_error"]) for each in handler.status()]
        found = self.told(handler)
        HomeProcess.forget(where)
        assert (found["last_error"], found["dropped"]) == (trouble, {"ENOTDIR": 1})

    def test_file_in_its_place(self, home):
        """A file that takes the place of the home after the handler was made is told of."""
        handler = IPFSHandler("audit", home=home, keeper="none")
        home.touch()
        found = self.told(handler)
        HomeProcess.forget(home)
        assert found["last_error"] == f"{home} cannot be made: Not a directory"
        assert found["dropped"] == {"the home is refused": 1}

    def test_that_the_system_will_not_make(self, home, monkeypatch):
        """Where the system refuses to make it, as below /proc, the status says so as soon as a record came."""
        real = Path.mkdir

        def refuse(path: Path, *args: Any, **more: Any) -> None:
            if path == home:
                raise FileNotFoundError(2, "No such file or directory")
            real(path, *args, **more)

        monkeypatch.setattr(Path, "mkdir", refuse)
        handler = IPFSHandler("audit", home=home, keeper="none")
        assert handler.status() == []
        found = self.told(handler)
        HomeProcess.forget(home)
        assert found["last_error"] == f"{home} cannot be made: No such file or directory"
        assert found["dropped"] == {"ENOENT": 1}

    @pytest.mark.parametrize("part", ["keeper.lock", "audit"])
    def test_that_cannot_be_read(self, home, monkeypatch, part):
        """A home, or a subsystem of it, that the system will not let a program read any more: the other is told of."""
        homes.make(home, 3)
        homes.make(home, 2, "wal")
        refused = home / part
        for name in ("open", "listdir"):
            monkeypatch.setattr(os, name, self.refusing(getattr(os, name), refused))
        handler = IPFSHandler("audit", home=home, keeper="none")
        every = handler.status()
        found = {each["subsystem"]: (each["sealed"], each["last_error"]) for each in every}
        handler.close()
        whole = part == "keeper.lock"
        trouble = f"{home if whole else refused} cannot be read: Permission denied"
        assert all(each.keys() == KEYS | {"failures", "incomplete"} for each in every)
        assert found == {"audit": (0, trouble), "wal": (0, trouble) if whole else (2, None)}
        if whole:
            with pytest.raises(PermissionError):
                status(home)

    def refusing(self, real: Callable[..., Any], refused: Path) -> Callable[..., Any]:
        """A function of `os` that refuses a path, and all below it."""

        def refuse(path: Any, *args: Any, **more: Any) -> Any:
            if isinstance(path, (str, Path)) and (Path(path) == refused or refused in Path(path).parents):
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **more)

        return refuse


def test_a_record_that_failed_altogether(home, monkeypatch):
    """A record for which not even a substitute could be written is counted, without the words of the error."""
    with logging_to(home) as logger:
        logger.info("one")
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "take", lambda *_, **__: int("hush"))
            handler_of(logger).__dict__.pop("handle")  # the short way has its place
            handler_of(logger)._recorder.quick = None
            logger.info("two")
        (found,) = handler_of(logger).status()
    assert found["failures"] == {"a record was lost: ValueError": 1}
