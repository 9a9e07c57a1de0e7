"""A disk that refuses or is full: nothing is lost unless it is counted."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_log_handlers.spool.writer import Writer
from tests.support import oracle
from tests.support.logging_home import (
    durable,
    refuse,
    seal_home,
)
from tests.support.machine import assert_in_time
from tests.support.spool_appends import front, numbers, saved, told


class TestDiskRefuses:
    @pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "EBADF"])
    @pytest.mark.parametrize("call", ["write", "open", "rename"])
    def test_records_that_the_disk_refuses_are_counted(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: str
    ) -> None:
        """Pitfall 38: the disk refuses: no exception, the reason is counted; it recovers, and a control line tells."""
        made = make()
        made.append(front(0))
        if call != "write":
            made.close()
        refuse(monkeypatch, call, OSError(getattr(errno, error), "refused"))
        for number in range(1, 4):
            made.append(front(number))
        monkeypatch.undo()
        assert {error: 3} == made.dropped
        assert sum(made.unreported.values()) + sum(saved(home).values()) == 3
        monkeypatch.setattr(made.segments, "_retry_at", 0.0)
        made.append(front(4))
        assert [0, 4] == numbers(home)
        assert {error: 3} == told(home)
        assert [1, 5] == [each["seq"] for each in durable(home)]
        assert (2, 5) == (made.durable, made.activity)

    def test_a_disk_that_refuses_once_costs_no_record(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 3: a record whose first write failed goes to a new segment at once, and nothing is lost."""
        made = make()
        made.append(front(0))
        refuse(monkeypatch, "write", OSError(errno.EIO, "io"), times=1)
        made.append(front(1))
        assert [0, 1] == numbers(home)
        assert {} == made.dropped

    @pytest.mark.parametrize("kept", [1, 50, -1])
    def test_a_short_write_is_followed_by_a_new_segment(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch, kept: int
    ) -> None:
        """Home rule 3: after a short write nothing follows in that segment; what was torn is damage, never a record."""
        made, real, once = make(), os.write, iter([1])
        made.append(front(0))
        monkeypatch.setattr(
            os, "write", lambda descriptor, data: real(descriptor, data[:kept] if next(once, None) else data)
        )
        made.append(front(1))
        made.append(front(2))
        made.close()
        monkeypatch.undo()
        seal_home(home)
        (log,) = oracle.read_home(home)["logs"]
        assert [0, 1, 2] == [each["n"] for each in log.records]
        assert 1 == len(list((home / "logs" / "quarantine").iterdir()))

    def test_a_line_that_was_written_despite_an_error_is_kept_once(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A `write` that fails after it has written counts for what the file says."""
        made, real = make(), os.write
        made.append(front(0))

        def failing(descriptor: int, data: bytes) -> int:
            real(descriptor, data)
            raise OSError(errno.EIO, "late")

        monkeypatch.setattr(os, "write", failing)
        made.append(front(1))
        monkeypatch.undo()
        made.append(front(2))
        assert [0, 1, 2] == numbers(home)
        assert {} == made.dropped

    def test_block_waits_for_room(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 22: under `block` a record waits for a full disk, and is there when somebody makes room."""
        made = make(when_full="block", flush_timeout=20)
        made.append(front(0))
        calls = refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"), times=4)
        made.append(front(1))
        assert 4 == len(calls)
        assert [0, 1] == numbers(home)
        assert {} == made.dropped

    def test_block_waits_no_longer_than_the_flush_timeout(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 22: `block` waits at most `flush_timeout`, then drops and counts."""
        made = make(when_full="block", flush_timeout=0.1)
        made.append(front(0))
        refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
        begun = time.monotonic()
        made.append(front(1))
        waited = time.monotonic() - begun
        assert waited >= 0.1
        assert_in_time(waited, 5)
        assert {"ENOSPC": 1} == made.dropped

    def test_block_does_not_wait_for_other_errors(
        self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 22: what making room does not cure is not waited for."""
        made = make(when_full="block", flush_timeout=100)
        made.append(front(0))
        refuse(monkeypatch, "open", OSError(errno.EROFS, "read-only"))
        made.close()
        made.append(front(1))
        assert {"EROFS": 1} == made.dropped

    def test_a_home_of_another_user_is_a_reason_to_drop(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 29: nothing is written to another user's home; it is counted as that."""
        home.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        made = make()
        made.append(front(1))
        assert {"the home is refused": 1} == made.dropped
        assert [] == list(home.iterdir())

    def test_a_limit_on_file_sizes_is_a_reason_to_drop(self, make: Callable[..., Writer], home: Path) -> None:
        """Pitfall 38: a limit on the size of files is a disk that refuses, not a dead program."""
        made = make()
        made.append(front(0))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            for number in range(1, 40):
                made.append(front(number, "x" * 1500))
            large = made.durable
            made.append(front(99, "x" * 9000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert large == 40 - sum(made.dropped.values()) + 1 or large == made.durable
        assert 41 == made.durable + sum(made.dropped.values())
        assert set(made.dropped) <= {"EFBIG", "ENOSPC"}
