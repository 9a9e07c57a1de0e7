"""Following a home gives each record once, whatever keepers, writers, logs and resumptions do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import ConfigurationError, FormatError, IPFSHandler, VerificationError, open_dataset
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.query import follow as follow_module
from ipfs_log_handlers.query.follow import Following
from ipfs_log_handlers.reader import dataset as dataset_module
from ipfs_log_handlers.reader import spool_parts, watching
from ipfs_log_handlers.reader.lines import NO_SEQ, seq_of
from ipfs_log_handlers.spool import writer_segments
from tests.support import query_homes, sample_homes

steps = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.sampled_from(["audit", "wal"]), st.integers(1, 12)),
        st.sampled_from(
            [("seal",), ("end", "audit"), ("poll",), ("resume",), ("stop in the middle",), ("new writer",)]
        ),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(steps)
def test_every_record_comes_once_whatever_happens(sequence):
    """Sealing, ended logs, new subsystems and writers, and resumptions at a cursor neither lose nor repeat a record."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        sample_homes.log(home, range(3), "logs")
        writers: dict[str, IPFSHandler] = {}
        following = open_dataset(home).follow()
        logged: list[tuple[str, int]] = []
        found: list[tuple[str, int]] = []
        try:
            for step, *how in [*sequence, ("poll",)]:
                if step == "log":
                    name, count = str(how[0]), int(how[1])
                    if name not in writers:
                        writers[name] = IPFSHandler(name, home=home, keeper="none", batch={"records": 4})
                    for _ in range(count):
                        writers[name].handle(sample_homes.record(len(logged)))
                        logged.append((name, len(logged)))
                elif step == "seal":
                    sample_homes.seal(home)
                elif step == "end" and (home / "audit" / "head").exists():
                    sample_homes.end(home)
                elif step == "new writer":
                    while writers:
                        writers.popitem()[1].close()
                elif step == "poll":
                    found += drained(following)
                elif step == "resume":
                    following = open_dataset(home).follow(following.cursor)
                elif step == "stop in the middle" and len(logged) > len(found):
                    found.append(place(next(following)))
                    following = open_dataset(home).follow(following.cursor)
        finally:
            for writer in writers.values():
                writer.close()

    for name in ("audit", "wal"):
        assert [each for each in found if each[0] == name] == [each for each in logged if each[0] == name]


def place(record: dict[str, Any]) -> tuple[str, int]:
    """Return what identifies a record."""
    return record["subsystem"], record["number"]


def drained(following: Following) -> list[tuple[str, int]]:
    """Return all records that have come since."""
    found = []
    while matches := following.poll():
        found += [place(match.record) for match in matches]
    return found


def test_the_newest_records_come_first_and_then_those_that_are_logged(home):
    """`last` gives the newest matches, oldest first, with nothing lost or doubled before the next one."""
    sample_homes.make(home, 25)
    sample_homes.log(home, range(25, 30))
    following = open_dataset(home).filter(level="warning").select("number").follow(last=3)
    assert [next(following) for _ in range(3)] == [{"number": number} for number in (25, 27, 29)]
    sample_homes.log(home, range(30, 34))

    assert [next(following)["number"] for _ in range(2)] == [31, 33]
    assert following.poll() == []


def test_a_program_may_wait_in_its_event_loop(home):
    """`async for` yields the same records, and the loop goes on meanwhile."""
    sample_homes.make(home, 5)

    async def main() -> list[int]:
        following = open_dataset(home).follow(poll_seconds=0.001)
        asyncio.get_running_loop().call_later(0.02, sample_homes.log, home, range(5, 8))
        found = []
        async for record in following:
            found.append(record["number"])
            if len(found) == 3:
                following.close()
        return found

    assert asyncio.run(main()) == [5, 6, 7]


def test_it_can_be_closed_from_another_thread(home):
    """`close` ends a wait at once."""
    sample_homes.make(home, 1)
    following = open_dataset(home).follow(poll_seconds=3600)
    threading.Timer(0.05, following.close).start()

    assert list(following) == []
    assert not following.wait()


def test_a_home_that_is_replaced_is_reported_and_read_from_its_beginning(home):
    """Where the followed log is gone, a gap says so, and the records of the new home come once."""
    sample_homes.make(home, 5)
    gaps: list[Any] = []
    following = open_dataset(home, on_gap=gaps.append).follow()
    assert drained(following) == []
    shutil.rmtree(home)
    assert drained(following) == []
    sample_homes.make(home, 3)

    assert drained(following) == []
    assert drained(following) == [("audit", 0), ("audit", 1), ("audit", 2)]
    assert [gap.kind for gap in gaps] == ["damaged"]
    assert "no longer in the home" in gaps[0].reason


def test_it_goes_on_after_an_error(home):
    """An error is raised again as long as its cause stays; then the records come, those before the error once."""
    sample_homes.make(home, 10)
    following = open_dataset(home).follow(last=1)
    sample_homes.log(home, range(10, 20))
    assert [next(following)["number"] for _ in range(4)] == [9, 10, 11, 12]
    sample_homes.seal(home)
    following = open_dataset(home).follow(following.cursor)
    file = Batches(sample_homes.subsystem_dir(home).current.batches).file(1)
    whole = file.read_bytes()
    sample_homes.damage(home, 1)
    cursor = following.cursor
    for _ in range(2):
        with pytest.raises(VerificationError):
            following.poll()
        with pytest.raises(VerificationError):
            next(following)
        assert following.cursor == cursor
    file.write_bytes(whole)

    assert drained(following) == [("audit", number) for number in range(13, 20)]


def test_records_before_an_error_are_returned_first(home):
    """`poll` returns the records that it has, the next call raises the error, and then the later records come."""
    sample_homes.make(home, 5)
    following = open_dataset(home).follow()
    sample_homes.log(home, range(5, 10))
    sample_homes.log(home, range(10, 12))
    segment = max(sample_homes.subsystem_dir(home).spool.iterdir(), key=lambda path: b"did 10" in path.read_bytes())
    segment.write_bytes(segment.read_bytes().replace(b"did 10", b"did XX"))

    assert [place(match.record) for match in following.poll()] == [("audit", number) for number in range(5, 10)]
    with pytest.raises(VerificationError):
        following.poll()
    assert drained(following) == [("audit", 11)]


def test_a_line_without_a_number_hides_no_later_line(home, monkeypatch):
    """Only a foreign writer writes such a line; it is yielded, and so are the lines of this writer after it."""
    sample_homes.make(home, 5)
    following = open_dataset(home).follow()
    for module in (dataset_module, spool_parts):
        monkeypatch.setattr(module, "seq_of", lambda line: NO_SEQ if b"did 6" in line else seq_of(line))
    with sample_homes.Writing(home) as writing:
        writing.log(range(5, 7))
        assert drained(following) == [("audit", 5), ("audit", 6)]
        newest = open_dataset(home).follow()
        writing.log(range(7, 9))
        assert drained(following) == [("audit", 7), ("audit", 8)]
        assert drained(newest)[-2:] == [("audit", 7), ("audit", 8)]


def test_what_is_unchanged_is_not_read(home, monkeypatch):
    """A look at a home in which nothing has changed opens no segment and no batch."""
    sample_homes.make(home, 5)
    following = open_dataset(home).follow()
    drained(following)
    (followed,) = following._followed
    assert isinstance(followed, follow_module._Home)
    monkeypatch.setattr(type(followed._tails["audit"]._reading), "__iter__", pytest.fail)

    assert following.poll() == []


@pytest.mark.parametrize("wrong", ["", "{}", "[]", "[5]", '[{"audit": "x"}]', "[{}, {}]"])
def test_a_malformed_cursor_is_refused(home, wrong):
    """A cursor is the text that `Following.cursor` gave, for as many homes."""
    sample_homes.make(home, 1)
    with pytest.raises(FormatError):
        open_dataset(home).follow(wrong)


PROGRAM = """
import logging, os, sys
from ipfs_log_handlers import IPFSHandler
handler = IPFSHandler("audit", home=sys.argv[1], batch={"records": 5, "seconds": 0.05})
log = logging.getLogger("killed"); log.addHandler(handler); log.setLevel(20)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    log.info("n", extra={"number": number})
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_killed_writers_and_keepers_cost_no_record(home):
    """Programs that log, seal in the background and die of signal 9 at some moment neither lose nor repeat a record."""
    following = None
    found: list[tuple[str, int]] = []
    for start in range(0, 300, 60):
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(home), str(start), str(start + 60)])
        assert done.returncode == -9
        if following is None:
            following = open_dataset(home).follow(last=1000)
        found += drained(following)
        sample_homes.seal(home)
    assert following is not None
    found += drained(following)

    assert sorted(found) == [("audit", number) for number in range(300)]


def test_context_shows_the_records_beside_a_match(home):
    """`context` gives neighbours in time, marked as such; a limit counts matches alone."""
    query_homes.log_some(home, "audit", range(20), spread=0)
    sample_homes.seal(home)
    dataset = open_dataset(home).filter(where={"number": [3, 5, 12]}).context(2)

    def shown(chosen: Any) -> list[tuple[int, bool]]:
        return [(match.record["number"], match.is_context) for match in chosen.matches()]

    assert shown(dataset) == [
        (1, True), (2, True), (3, False), (4, True), (5, False), (6, True), (7, True),
        (10, True), (11, True), (12, False), (13, True), (14, True),
    ]  # fmt: skip
    assert shown(dataset.last(1)) == [(10, True), (11, True), (12, False), (13, True), (14, True)]
    assert shown(dataset.limit(1)) == [(1, True), (2, True), (3, False), (4, True), (5, True)]
    assert shown(dataset.limit(0)) == []
    assert shown(dataset.filter(level=99)) == []
    with pytest.raises(ConfigurationError):
        dataset.context(-1)


def test_a_line_wakes_a_follower_that_rests(home, monkeypatch):
    """It does not wait for its next look: the longest rest is over only after a minute here."""
    monkeypatch.setattr(follow_module, "_MAX_REST_S", 60.0)
    sample_homes.make(home, 3)
    following = open_dataset(home).follow()
    assert following.poll() == []
    with sample_homes.Writing(home) as writing:
        for number in range(3, 6):
            threading.Timer(0.05, writing.log, [range(number, number + 1)]).start()
            assert next(following)["number"] == number


def test_an_event_loop_wakes_up_for_a_line(home, monkeypatch):
    """`async for` does not wait for the next look, either."""
    monkeypatch.setattr(follow_module, "_MAX_REST_S", 60.0)
    sample_homes.make(home, 3)
    following = open_dataset(home).follow()

    async def first() -> int:
        async for record in following:
            return int(record["number"])
        return -1

    with sample_homes.Writing(home) as writing:
        threading.Timer(0.2, writing.log, [range(7, 8)]).start()
        assert asyncio.run(first()) == 7


def test_an_event_loop_that_waits_for_sockets_alone_looks_at_the_files(home):
    """It takes no descriptor, as the loop of asyncio on Windows: the next look finds the line."""

    class Sockets(asyncio.SelectorEventLoop):
        def add_reader(self, *_: object) -> None:
            raise NotImplementedError

        def remove_reader(self, *_: object) -> bool:
            raise NotImplementedError

    sample_homes.make(home, 3)
    following = open_dataset(home).follow()

    async def first() -> int:
        async for record in following:
            return int(record["number"])
        return -1

    loop = Sockets()
    with sample_homes.Writing(home) as writing, contextlib.closing(loop):
        threading.Timer(0.2, writing.log, [range(7, 8)]).start()
        assert loop.run_until_complete(asyncio.wait_for(first(), 30)) == 7
        loop.run_until_complete(loop.shutdown_asyncgens())


def test_no_directory_is_watched_while_lines_come(home, monkeypatch):
    """Each event would cost the program that logs; a follower that finds lines sleeps for a moment instead."""
    sample_homes.make(home, 3)
    monkeypatch.setattr(follow_module, "_BUSY_S", 30.0)
    following = open_dataset(home).follow(poll_seconds=30.0)
    watched: list[Any] = []
    monkeypatch.setattr(following._watch, "set", lambda *paths: watched.append(paths))
    rests: list[float] = []
    monkeypatch.setattr(following._watch, "wait", rests.append)
    with sample_homes.Writing(home) as writing:
        for number in range(5):
            writing.log(range(number, number + 1))
            assert len(following.poll()) == 1
            assert following.poll() == []
            following.wait()
    assert (watched, set(rests)) == ([], {follow_module._BUSY_S})
    monkeypatch.setattr(follow_module, "_BUSY_S", 0.0)
    following.wait()
    assert len(watched) == 1


def test_without_inotify_lines_are_seen_all_the_same(home, monkeypatch):
    """The files are looked at every tenth of a second."""
    monkeypatch.setattr(watching, "_inotify", lambda: None)
    sample_homes.make(home, 3)
    following = open_dataset(home).follow()
    with sample_homes.Writing(home) as writing:
        threading.Timer(0.05, writing.log, [range(5, 6)]).start()
        assert next(following)["number"] == 5


def test_segments_that_follow_one_another_give_each_record_once(home, monkeypatch):
    """A writer begins segment after segment, and a keeper seals and deletes them, between two looks and after each."""
    monkeypatch.setattr(writer_segments, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(writer_segments, "_MIN_SEGMENT_BYTES", 2000)
    sample_homes.make(home, 1)
    following = open_dataset(home).follow()
    spool = sample_homes.subsystem_dir(home).spool
    found: list[tuple[str, int]] = []
    segments: set[str] = set()
    with sample_homes.Writing(home) as writing:
        for number in range(1, 120):
            writing.log(range(number, number + 1))
            segments |= {path.name for path in spool.iterdir()}
            if number % 7 == 0:
                found += drained(following)
            if number % 30 == 0:
                sample_homes.seal(home)
    found += drained(following)
    assert found == [("audit", number) for number in range(1, 120)]
    assert len(segments) > 8


def test_a_new_configuration_and_a_clock_that_steps_back_change_nothing(home):
    """Configure again and again, with records whose times go back: each comes once."""
    logged: list[tuple[str, int]] = []
    sample_homes.make(home, 1)
    gaps: list[Any] = []
    following = open_dataset(home, on_gap=gaps.append).follow()
    found: list[tuple[str, int]] = []
    start = 1_772_000_000.0
    for turn in range(4):
        handler = {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "audit", "home": str(home), "keeper": "none"}
        logging.config.dictConfig(
            {"version": 1, "disable_existing_loggers": False, "handlers": {"audit": handler},
             "loggers": {"turns": {"handlers": ["audit"], "level": "INFO", "propagate": False}}}
        )  # fmt: skip
        for number in range(turn * 10, turn * 10 + 10):
            made = sample_homes.record(number)
            made.created = start - 3600 * turn + number
            logging.getLogger("turns").handle(made)
            logged.append(("audit", number))
            if number % 3 == 0:
                found += drained(following)
        if turn % 2:
            sample_homes.seal(home)
    logging.getLogger("turns").handlers.clear()
    found += drained(following)
    assert (sorted(found), gaps) == (logged, [])
