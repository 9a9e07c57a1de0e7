"""Reading a home: every record once, in order, verified before it is seen, whatever happens beside it."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import logs as logs_module
from ipfs_log_handlers.home import segments
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader import dataset as dataset_module
from ipfs_log_handlers.reader import sealed as sealed_module
from ipfs_log_handlers.reader.dataset import Dataset, Gap, Reading, with_subsystem
from ipfs_log_handlers.spool import tail as spooled_module
from ipfs_log_handlers.testing import FakeDaemon
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes


def read(home: Path, subsystem: str = "audit", *, fetch: bool = False, **how: Any) -> tuple[list[int], list[Gap]]:
    """Return the numbers of the records, and the gaps."""
    gaps: list[Gap] = []
    with Dataset(HomeDir(home), gaps.append, fetch=fetch) as dataset:
        return sample_homes.numbers(dataset.records(subsystem, **how)), gaps


def no_gap(gap: Gap) -> None:
    """Fail where a batch could not be shown."""
    pytest.fail(str(gap))


def test_sealed_then_spooled(home):
    """Batches come first, then what is still in the spool; with `sealed_only`, the batches alone."""
    sample_homes.make(home, 25)
    sample_homes.log(home, range(25, 40))

    assert read(home) == (list(range(40)), [])
    assert read(home, sealed_only=True) == (list(range(25)), [])


def test_record_is_as_logged(home):
    """A record is the object that was logged, with its subsystem."""
    sample_homes.make(home, 1)
    with Dataset(HomeDir(home), no_gap) as dataset:
        (found,) = dataset.records("audit")

    assert found["subsystem"] == "audit"
    assert found["event"] == "did 0"
    assert (found["level"], found["logger"], found["number"]) == ("info", "app.0", 0)
    assert (found["pid"], found["seq"]) == (os.getpid(), 1)


@pytest.mark.parametrize("line", [b'{"a":1,"seq":2}', b'{"event":"\\"subsystem\\"","seq":2}'])
def test_subsystem_is_added(line):
    """The subsystem is added to the bytes of a line without changing them."""
    assert with_subsystem(line, "audit") == line[:-1] + b',"subsystem":"audit"}'


def test_own_field_named_subsystem_is_kept():
    """A field named `subsystem` that was logged becomes `subsystem_`."""
    assert with_subsystem(b'{"subsystem":"x","seq":1}', "wal") == b'{"seq":1,"subsystem_":"x","subsystem":"wal"}'


def test_former_logs_come_first(home):
    """The records of logs that ended come before those of the current one, each once."""
    sample_homes.make(home, 20)
    sample_homes.end(home)
    sample_homes.log(home, range(20, 30))
    assert read(home) == (list(range(30)), [])
    sample_homes.seal(home)
    sample_homes.end(home)
    assert read(home) == (list(range(30)), [])


def test_lost_head_shows_each_record_once(home):
    """Where the head is lost, what is in batches is not shown from the spool again, and the loss is told."""
    with sample_homes.Writing(home) as writing:
        writing.log(range(20))
        sample_homes.seal(home)
        writing.log(range(20, 25))
        (sample_homes.subsystem_dir(home).current.head).unlink()
        found, gaps = read(home)

    assert found == list(range(25))
    assert [(gap.kind, gap.index) for gap in gaps] == [("damaged", None)]


HALF = b'0badc0de {"time":"2026'


def test_torn_tail_is_no_record(home):
    """Half a line at the end of a segment is no record: of a writer that lives not yet, of one that is gone damage."""
    with sample_homes.Writing(home) as writing:
        writing.log(range(5))
        (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
        with segment.open("ab") as stream:
            stream.write(HALF)
        assert read(home) == (list(range(5)), [])
    found, (gap,) = read(home)

    assert found == list(range(5))
    assert (gap.kind, gap.index, gap.segment) == ("damaged", None, segment.stem)


def test_damage_in_the_spool_is_told(home):
    """A damaged line costs that record, and is told with its place, once; those behind it are shown."""
    sample_homes.log(home, range(5))
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole.replace(b"did 2", b"did X"))
    found, (gap,) = read(home)

    assert found == [0, 1, 3, 4]
    at = whole.rindex(b"\n", 0, whole.index(b"did 2")) + 1
    size = whole.index(b"\n", at) + 1 - at
    assert str(gap) == (
        f"audit: {size} bytes at {at} of segment {segment.stem} are damaged and left out; `ipfs-logs doctor` says more"
    )
    assert read(home, sealed_only=True) == ([], [])


def test_line_is_whole_when_its_writer_is_gone(home, monkeypatch):
    """A last line that its writer finished before it went is a record, though it was half there when it was read."""
    sample_homes.log(home, range(3))
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-5])
    real = spooled_module.is_written

    def finish_then_ask(path: Path) -> bool:
        path.write_bytes(whole)
        return real(path)

    monkeypatch.setattr(spooled_module, "is_written", finish_then_ask)
    assert read(home) == ([0, 1, 2], [])


def test_line_being_written_is_waited_for(home):
    """A line whose last bytes come while its segment is read is not taken for damage."""
    sample_homes.log(home, range(3))
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    whole = segment.read_bytes()
    cut = whole.index(b"did 1")
    segment.write_bytes(whole[:cut])
    real = segments.read

    def read_then_complete(descriptor: int, offset: int, *, owner_gone: bool, most: int = 64 << 10) -> segments.Span:
        found = real(descriptor, offset, owner_gone=owner_gone, most=most)
        segment.write_bytes(whole)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "read", read_then_complete)
        patch.setattr(os, "fstat", lambda _: os.stat_result([stat.S_IFREG] + [0] * 5 + [len(whole)] + [0] * 3))
        found, _ = read(home)
    assert found[:2] == [0, 1]


def test_damaged_batch_is_a_gap(home):
    """Nothing of a damaged batch is shown, the gap is named, and those behind it go on."""
    sample_homes.make(home, 30)
    path = Batches(sample_homes.subsystem_dir(home).current.batches).file(1)
    sample_homes.flip_last_byte(path)
    found, gaps = read(home)

    assert found == [*range(10), *range(20, 30)]
    assert [(gap.kind, gap.subsystem, gap.index) for gap in gaps] == [("damaged", "audit", 1)]
    path.unlink()
    assert read(home)[0] == found


def test_foreign_batch_is_not_shown(home):
    """A whole and valid batch in the place of another is a gap."""
    sample_homes.make(home, 30)
    batches = Batches(sample_homes.subsystem_dir(home).current.batches)
    sample_homes.splice(batches.file(0), batches.file(2))

    found, gaps = read(home)
    assert found == list(range(20))
    assert [gap.index for gap in gaps] == [2]


def test_payload_that_left_is_fetched(home):
    """A payload that retention took away comes from the store; without one the gap is named."""
    store = MemoryStore.named("fetch")
    sample_homes.log(home, range(30), kubo="memory:fetch")
    sample_homes.ship(home, "memory:fetch")
    sample_homes.strip(home, 1)
    assert read(home, fetch=True) == (list(range(30)), [])

    store.state = "down"
    found, gaps = read(home, fetch=True)
    assert found == [*range(10), *range(20, 30)]
    assert [(gap.kind, gap.index) for gap in gaps] == [("absent", 1)]


def test_payload_that_left_is_fetched_inside_a_running_loop(home):
    """A program may read from a coroutine, payloads that left the home included; no thread of the reader stays."""
    before = set(threading.enumerate())
    with FakeDaemon() as daemon:
        sample_homes.log(home, range(30), kubo=daemon.url)
        sample_homes.ship(home, daemon.url)
        for index in range(3):
            sample_homes.strip(home, index)

        async def inside() -> tuple[list[int], list[Gap]]:
            return read(home, fetch=True)

        assert asyncio.run(inside()) == (list(range(30)), [])
        assert read(home, fetch=True) == (list(range(30)), [])
    assert "ipfs-logs-fetcher" not in {thread.name for thread in set(threading.enumerate()) - before}


def test_payload_that_a_store_forged_is_not_shown(home):
    """What a store gives is rehashed."""
    store = MemoryStore.named("forge")
    sample_homes.log(home, range(20), kubo="memory:forge")
    sample_homes.ship(home, "memory:forge")
    payload = Batches(sample_homes.subsystem_dir(home).current.batches).facts(0).manifest.payload
    sample_homes.strip(home, 0)
    store.blocks[payload] += b"x"

    found, gaps = read(home, fetch=True)
    assert found == list(range(10, 20))
    assert [gap.index for gap in gaps] == [0]


def test_large_batch_is_inflated_twice(home, monkeypatch):
    """A batch that is too large to hold is verified whole before its first record is shown, too."""
    monkeypatch.setattr(sealed_module, "_MAX_HELD_BYTES", 0)
    sample_homes.make(home, 30)
    assert read(home) == (list(range(30)), [])


def test_giant_record(home):
    """A record larger than a block lies in a UnixFS payload, and comes back whole."""
    text = os.urandom(1_200_000).hex()
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(sample_homes.record(0, text=text))
    sample_homes.seal(home)
    with Dataset(HomeDir(home), no_gap) as dataset:
        (found,) = dataset.records("audit")
    assert found["text"] == text


def test_one_batch_by_cid(home):
    """One batch is found by the CID of its manifest or of its payload, and by no other."""
    sample_homes.make(home, 30)
    sample_homes.make(home, 5, "wal")
    facts = Batches(sample_homes.subsystem_dir(home).current.batches).facts(1)
    with Dataset(HomeDir(home), no_gap) as dataset:
        for cid in (facts.cid, facts.manifest.payload):
            found = dataset.batch(cid)
            assert found is not None
            assert [(name, line.split(b'"event":"')[1][:6]) for name, line in found] == [
                ("audit", b"did %d" % number) for number in range(10, 20)
            ]
        assert dataset.batch(Cid.of(0x55, b"another")) is None


@pytest.mark.parametrize("moment", ["after the head was read", "after the spool was listed", "between two segments"])
def test_sealing_in_between(home, monkeypatch, moment):
    """Where the keeper seals and unlinks in the middle of a reading, no record is missed and none comes twice."""
    sample_homes.make(home, 10)
    for start in (10, 20, 30):
        sample_homes.log(home, range(start, start + 10))
    sealed: list[bool] = []

    def seal_once() -> None:
        if not sealed:
            sealed.append(True)
            sample_homes.seal(home)

    real_listing, real_pieces, real_logs = segments.listing, spooled_module.spans, logs_module.logs_of
    seen: list[int] = []

    def listing(spool: Path) -> Any:
        if moment == "after the head was read" and seen:
            seal_once()
        return real_listing(spool)

    def logs_of(subsystem_dir: Any) -> Any:
        found = real_logs(subsystem_dir)
        seen.append(1)
        return found

    def spans(path: Path, offset: int) -> Any:
        if moment == "after the spool was listed":
            seal_once()
        yield from real_pieces(path, offset)
        if moment == "between two segments":
            seal_once()

    monkeypatch.setattr(segments, "listing", listing)
    monkeypatch.setattr(dataset_module, "spans", spans)
    monkeypatch.setattr(dataset_module, "logs_of", logs_of)
    found, gaps = read(home)

    assert sealed
    assert gaps == []
    assert sorted(found) == list(range(40))


def test_new_log_in_between(home, monkeypatch):
    """Where a log ends while it is read, its files move, and no record is missed and none comes twice."""
    sample_homes.make(home, 30)
    real = Reading.batch
    ended: list[bool] = []

    def batch(self: Reading, log: Any, index: int) -> Any:
        if index == 1 and not ended:
            ended.append(True)
            sample_homes.end(home)
            sample_homes.make(home, 0)
        yield from real(self, log, index)

    monkeypatch.setattr(Reading, "batch", batch)
    assert read(home) == (list(range(30)), [])
    assert ended


def test_reading_beside_writers_and_a_keeper(home):
    """A reading beside writers and the keeper has every record that was durable when it began, each once, in order."""
    handler = IPFSHandler("audit", home=home, batch={"records": 50, "seconds": 0.05})
    stop = threading.Event()
    done = [0, 0]

    def write(which: int) -> None:
        while not stop.is_set():
            handler.handle(sample_homes.record(done[which] * 2 + which))
            done[which] += 1
            if done[which] % 100 == 0:
                stop.wait(0.002)

    threads = [threading.Thread(target=write, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            due = list(done)
            with Dataset(HomeDir(home), no_gap) as dataset:
                found = (
                    []
                    if not sample_homes.subsystem_dir(home).path.exists()
                    else sample_homes.numbers(dataset.records("audit"))
                )
            for which in (0, 1):
                own = [number // 2 for number in found if number % 2 == which]
                assert own == list(range(len(own)))
                assert len(own) >= due[which]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        handler.close()
    assert sorted(read(home)[0]) == sorted([n * 2 for n in range(done[0])] + [n * 2 + 1 for n in range(done[1])])
