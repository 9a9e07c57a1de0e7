"""A record becomes one durable line: identity, order, nesting, position."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.spool import writer, writer_segments
from ipfs_log_handlers.spool.writer import Writer
from tests.support import forked
from tests.support.logging_home import (
    durable,
    interrupted,
    keeping,
    refuse,
    seal_all,
    settings,
    spy,
)
from tests.support.spool_appends import append, append_plain, front, numbers, told


class TestIdentity:
    def test_a_writer_has_a_random_identity_and_counts_from_one(self, make: Callable[..., Writer], home: Path) -> None:
        """Home, names: a writer is 64 random bits, drawn at its first record; `seq` starts at 1."""
        for _ in range(2):
            made = make()
            assert made.position() is None
            made.append(front(1))
            made.append(front(2))
        names = segments.listing(home / "logs" / "spool")
        assert 2 == len({name.writer for name in names})
        assert all(16 == len(name.writer) for name in names)
        assert [1, 1, 2, 2] == sorted(each["seq"] for each in durable(home))

    def test_nothing_is_made_before_the_first_record(self, make: Callable[..., Writer], home: Path) -> None:
        """Nothing is made on the disk before the first record."""
        make().close()
        assert not home.exists()

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_forked_child_has_an_identity_of_its_own(self, make: Callable[..., Writer], home: Path) -> None:
        """Home, names: a child draws an identity of its own, and begins at 1."""
        made = make()
        made.append(front(1))

        def work() -> None:
            made.after_fork_in_child()
            made.append(front(2))
            assert (1, 1) == (made.durable, made.activity)

        assert forked.run_in_child(work)
        made.append(front(3))
        assert [(1, 1), (2, 1), (3, 2)] == sorted((each["n"], each["seq"]) for each in durable(home))

    def test_the_first_record_is_reported_once_outside_all_locks(self, make: Callable[..., Writer]) -> None:
        """The first record is told once, outside all locks."""
        seen = list[bool]()

        def look() -> None:
            seen.append(made.lock.acquire(timeout=5))
            made.lock.release()

        def first() -> None:
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()

        made = make(first=first)
        for number in range(3):
            made.append(front(number))
        assert [True] == seen

    def test_a_failing_callback_after_the_first_record_harms_nothing(
        self, make: Callable[..., Writer], home: Path
    ) -> None:
        """What goes wrong as the keeper is started is not the program's; the record is there, once."""
        made = make(first=lambda: 1 / 0)
        made.append(front(1))
        made.append(front(2))
        assert [1, 2] == numbers(home)


class TestAppend:
    def test_each_record_is_one_write(self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 3: a record is one `write(2)` of one whole line."""
        made, written = make(), list[bytes]()
        made.append(front(0))
        spy(monkeypatch, os, "write", lambda _, data: written.append(data))
        for number in range(5):
            made.append(front(number))
        assert list(range(5)) == [json.loads(line.decode(each[:-1]).json)["n"] for each in written]

    def test_the_order_in_the_file_is_the_order_of_seq_for_all_threads(
        self, make: Callable[..., Writer], home: Path
    ) -> None:
        """Home rule 3: file order is seq order, without a gap, whatever the threads do."""
        made = make()

        def work(base: int) -> None:
            for number in range(300):
                made.append(front(base + number))

        threads = [threading.Thread(target=work, args=(1000 * each,)) for each in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        found = durable(home)
        assert list(range(1, 1801)) == [each["seq"] for each in found]
        assert 1800 == len({each["n"] for each in found}) == made.durable
        for base in range(6):
            own = [each["n"] for each in found if each["n"] // 1000 == base]
            assert sorted(own) == own

    def test_a_full_segment_is_followed_by_the_next(
        self, make: Callable[..., Writer], subsystem_dir: SubsystemDir
    ) -> None:
        """Home rule 2: a segment that is full is closed, and the next number begun; the order goes on."""
        made = make(max_spool_bytes=1 << 20)
        for number in range(60):
            made.append(front(number, "x" * 9000))
        names = segments.listing(subsystem_dir.spool)
        assert [0, 1, 2, 3] == [name.number for name in names]
        assert list(range(60)) == numbers(subsystem_dir.path.parent)
        free = [disk.open_locked(subsystem_dir.spool / name.file_name, os.O_RDONLY) for name in names]
        assert [True, True, True, False] == [each is not None for each in free]
        for descriptor in free:
            disk.close_locked(descriptor) if descriptor is not None else None

    def test_a_record_after_close_is_durable(self, make: Callable[..., Writer], home: Path) -> None:
        """A record after `close` begins another segment."""
        made = make()
        for number in range(3):
            made.append(front(number))
            made.close()
            made.close()
        assert [0, 1, 2] == numbers(home)
        assert 3 == len(list((home / "logs" / "spool").iterdir()))

    def test_new_settings_stand_in_the_header_of_a_new_segment(
        self, make: Callable[..., Writer], home: Path, subsystem_dir: SubsystemDir
    ) -> None:
        """Home rule 28: new settings stand in the header of a new segment, begun with the next record."""
        made = make()
        made.append(front(1))
        made.configure(settings(home, keep_days=3))
        made.configure(settings(home, keep_days=3))
        made.append(front(2))
        headers = [
            segments.read_header(subsystem_dir.spool / each.file_name) for each in segments.listing(subsystem_dir.spool)
        ]
        assert [7.0, 3] == [each.settings["keep_days"] for each in headers]


class TestReentrant:
    def test_signal_handlers_that_log_lose_nothing(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 3, pitfall 19: what a signal handler logs inside `append` is written by it before it returns."""
        made, ticks = make(), list[int]()

        def handler(*_: object) -> None:
            if len(ticks) < 100:
                ticks.append(1)
                made.append(front(1_000_000 + len(ticks)))

        before = signal.signal(signal.SIGALRM, handler)
        timeout = signal.setitimer(signal.ITIMER_REAL, 0.001, 0.004)
        until = time.monotonic() + 30
        number = 0
        try:
            while len(ticks) < 100 and time.monotonic() < until:
                made.append(front(number))
                number += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, *timeout)
        made.append(front(number))
        found = numbers(home)
        assert list(range(number + 1)) == [each for each in found if each < 1_000_000]
        assert 100 == len([each for each in found if each > 1_000_000]) == len(ticks)
        assert list(range(1, number + 102)) == [each["seq"] for each in durable(home)]

    @pytest.mark.parametrize("durability", ["process", "power"])
    def test_a_record_logged_inside_each_step_of_another_is_kept(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch, durability: str
    ) -> None:
        """Pitfall 19: wherever in the disk's calls a nested record comes, it does not deadlock, and is written."""
        made = make(durability=durability)
        made.append(front(0))
        numbers_left = iter(range(1000, 2000))
        for name in ("write", "fstat", "fsync", "fdatasync", "rename"):
            real = getattr(os, name)

            def nesting(*args: Any, real: Callable[..., Any] = real) -> Any:
                number = next(numbers_left, None)
                if number is not None and number < 1010:
                    made.append(front(number))
                return real(*args)

            monkeypatch.setattr(os, name, nesting)
        for number in range(1, 6):
            made.append(front(number))
        made.close()
        monkeypatch.undo()
        found = numbers(home)
        assert list(range(6)) == [each for each in found if each < 1000]
        assert list(range(1000, 1010)) == sorted(each for each in found if each >= 1000)

    def test_records_beyond_the_queue_are_counted(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 5: nested records beyond every bound are counted, and the count is told."""
        monkeypatch.setattr(writer, "_MAX_REENTRANT", 3)
        made, real, once = make(), os.write, iter([1])
        made.append(front(0))

        def nesting(descriptor: int, data: bytes) -> int:
            if next(once, None):
                for number in range(10, 20):
                    made.append(front(number))
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", nesting)
        made.append(front(1))
        monkeypatch.undo()
        assert [0, 1, 10, 11, 12] == numbers(home)
        assert {"nested too often": 7} == made.dropped == made.unreported
        made.close()
        made.append(front(2))
        assert {"nested too often": 7} == told(home) == made.dropped
        assert {} == made.unreported

    def test_close_inside_a_record_harms_nothing(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A `close` or a `check_segment` from a signal handler takes no segment away from under a record."""
        made, real = make(), os.write
        made.append(front(0))

        def closing(descriptor: int, data: bytes) -> int:
            made.close()
            made.check_segment()
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", closing)
        made.append(front(1))
        monkeypatch.undo()
        assert [0, 1] == numbers(home)
        assert {} == made.dropped

    @pytest.mark.slow
    @pytest.mark.usefixtures("_python_takes_records")
    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
    @pytest.mark.parametrize(("put", "first"), [(append, True), (append, False), (append_plain, False)])
    def test_an_interrupt_at_every_line_leaves_a_record_whole_or_counted(
        self,
        make: Callable[..., Writer],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: type[BaseException],
        put: Callable[[Writer, int], None],
        first: bool,
    ) -> None:
        """Pitfall 24: an interrupt at any line leaves no half line and no held lock; a record is there once or not."""
        monkeypatch.setattr(writer_segments, "spool_bytes", lambda *_: 0)  # its lines grow with the number of segments
        made, line_number = make(), 0
        if not first:
            made.append(front(-1))
        while True:
            line_number += 1
            if first:
                made.close()
                made.after_append = made._after_first_record
            if not interrupted(partial(put, made, line_number), line_number, error):
                break
            thread = threading.Thread(target=put, args=(made, 1_000_000 + line_number))
            thread.start()
            thread.join(5)
            assert not thread.is_alive(), f"the lock is held after line {line_number}"
            assert line_number < 2000
        found = numbers(home)
        assert line_number > 10
        assert sorted(set(found)) == sorted(found)
        assert {1_000_000 + each for each in range(1, line_number)} <= set(found)
        seqs = [each["seq"] for each in durable(home)]
        assert sorted(set(seqs)) == seqs
        assert len(found) == made.durable
        gaps = seqs[-1] - len(seqs)
        assert gaps == sum(made.dropped.values())


class TestPosition:
    def test_position_is_after_the_last_record(
        self, make: Callable[..., Writer], home: Path, subsystem_dir: SubsystemDir
    ) -> None:
        """Home rule 18: a flush waits for the segment and offset behind the last record, also of a closed segment."""
        made = make()
        made.append(front(0))
        name, offset = made.position() or pytest.fail("no position")
        assert (subsystem_dir.spool / name.file_name).stat().st_size == offset
        made.close()
        assert (name, -1) == made.position()
        with keeping(HomeDir(home)) as held:
            seal_all(Sealer.open(held, subsystem_dir))
        assert not (subsystem_dir.spool / name.file_name).exists()

    def test_position_after_a_segment_that_could_not_be_made(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 18: a segment that could not be begun is not waited for; the one with records is."""
        made = make()
        made.append(front(0))
        name = (made.position() or pytest.fail("no position"))[0]
        made.close()
        refuse(monkeypatch, "rename", OSError(errno.ENOSPC, "full"))
        made.append(front(1))
        assert (name, -1) == made.position()


def test_settings_are_kept(home: Path) -> None:
    """A writer knows the settings in force and where its segments lie."""
    given = Settings(home=home, keeper="none")
    made = Writer(HomeDir(home), subsystems.get("logs"), given, lambda: None)
    assert (given, home / "logs" / "spool") == (made.settings, made.spool)
