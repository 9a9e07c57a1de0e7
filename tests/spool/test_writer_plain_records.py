"""Plain records take the short way to the disk: nothing is lost, doubled or left without a count there."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from ipfs_log_handlers.home import segments
from ipfs_log_handlers.ingest import call_site
from ipfs_log_handlers.spool import writer_segments
from ipfs_log_handlers.spool.writer import Writer
from tests.support.logging_home import (
    durable,
)
from tests.support.spool_appends import PlainRecords, append, append_plain, numbers


class TestPlain:
    """The fast path: the same record, or nothing."""

    @pytest.mark.parametrize("value", [float("nan"), "\ud800", {1: 2}, object(), b"\xff" * 3, [[{"a": {1}}]]])
    def test_what_is_no_plain_record_is_left_alone(
        self, make: Callable[..., Writer], home: Path, value: object
    ) -> None:
        """What would be altered, and what cannot be encoded, uses up no number."""
        made = make()
        append(made, 0)
        records = PlainRecords(made)
        took = records.take(value)
        append_plain(made, 1)
        assert took is (type(value) is bytes)
        assert list(range(1, 3 + took)) == [each["seq"] for each in durable(home)]

    def test_a_record_that_is_too_long_is_left_alone(self, make: Callable[..., Writer], home: Path) -> None:
        """A line above the bound is not written."""
        made = make()
        append(made, 0)
        assert not PlainRecords(made, max_bytes=200).take("x" * 200)
        assert PlainRecords(made, max_bytes=300).take("x" * 100)
        assert [1, 2] == [each["seq"] for each in durable(home)]

    def test_the_first_and_the_last_record_of_a_segment(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a segment that has room it is for `append`, which begins the next one."""
        monkeypatch.setattr(writer_segments, "SEGMENT_BYTES", 28 << 10)
        made = make()
        assert not PlainRecords(made).take(0)
        for number in range(1000):
            append_plain(made, number)
        assert 1 < len(segments.listing(home / "logs" / "spool"))
        assert list(range(1000)) == numbers(home)

    @pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EBADF])
    def test_a_disk_that_fails_costs_no_plain_record_without_a_count(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch, fault: int
    ) -> None:
        """A write that fails is tried again in the next segment, under the same number."""
        made, real, once = make(), os.write, iter([1])
        append(made, 0)

        def failing(descriptor: int, data: bytes) -> int:
            if next(once, None) is None:
                return real(descriptor, data)
            raise OSError(fault, os.strerror(fault))

        monkeypatch.setattr(os, "write", failing)
        append_plain(made, 1)
        monkeypatch.undo()
        append_plain(made, 2)
        assert ([0, 1, 2], {}) == (numbers(home), made.dropped)
        assert [1, 2, 3] == [each["seq"] for each in durable(home)]

    def test_a_value_that_changes_while_its_record_waits(self, make: Callable[..., Writer], home: Path) -> None:
        """What another thread does to a value before the lock is had is seen whole: no NaN as `null`, no key twice."""
        made, value = make(), dict[Any, Any]({"x": 1.0, "5": 2})
        append(made, 0)
        records, taken = PlainRecords(made), list[bool]()
        made.lock.acquire()
        waits = threading.Thread(target=lambda: taken.append(records.take(value)))
        waits.start()
        value.update({"x": float("nan"), 5: 1})
        made.lock.release()
        waits.join()
        assert [False] == taken

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_fork_inside_a_record_leaves_it_to_both_processes(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal handler that forks inside a record: the child writes it as its first, into no file of its own."""
        made, real, child = make(), crc32, list[int]()
        append(made, 0)
        own = home.parent / "own"

        def forking(data: bytes) -> int:
            if not child:
                child.append(os.fork())
                if not child[0]:
                    made.after_fork_in_child()
                    for _ in range(20):  # one of them has the number that the segment had
                        os.open(own, os.O_CREAT | os.O_RDWR | os.O_APPEND)
            return real(data)

        monkeypatch.setitem(call_site.NAMES, "crc32", forking)
        try:
            append_plain(made, 1)
            append_plain(made, 2)
        finally:
            if not child[0]:
                os._exit(0)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1])
        made.close()
        assert b"" == own.read_bytes()
        assert [0, 1, 1, 2, 2] == sorted(numbers(home))
        assert [1, 1, 2, 2, 3] == sorted(each["seq"] for each in durable(home))

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_child_that_logs_before_the_record_goes_on_uses_no_seq_twice(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal handler that forks inside a record and logs in the child: the record comes after it."""
        made, real, child = make(), crc32, list[int]()
        append(made, 0)

        def forking(data: bytes) -> int:
            if not child:
                child.append(os.fork())
                if not child[0]:
                    made.after_fork_in_child()
                    append(made, 7)
            return real(data)

        monkeypatch.setitem(call_site.NAMES, "crc32", forking)
        try:
            append_plain(made, 1)
        finally:
            if not child[0]:
                os._exit(0)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1])
        assert [(0, 1), (1, 2), (1, 2), (7, 1)] == sorted((record["n"], record["seq"]) for record in durable(home))
