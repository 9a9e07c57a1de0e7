"""What a writer had to drop is counted once: in a segment, or in a file of the reserve."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_log_handlers.home import drop_reports
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.spool.writer import Writer
from tests.support import oracle
from tests.support.logging_home import (
    refuse,
    seal_home,
)
from tests.support.sample_homes import status
from tests.support.spool_appends import front, saved, told


def test_dropped_records_are_reported_at_the_end(
    make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Home rule 5: what was dropped is told when the writer is closed, though no record comes after it."""
    made = make()
    made.append(front(0))
    made.close()
    refuse(monkeypatch, "open", OSError(errno.EROFS, "read-only"))
    made.append(front(1))
    monkeypatch.undo()
    made.close()
    assert {} == made.unreported
    assert 1 == seal_home(home)
    assert {"EROFS": 1} == oracle.read_home(home)["logs"][0].batches[0].manifest["dropped"]


def test_the_count_of_dropped_records_is_on_the_disk_while_it_refuses(
    make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in room that was reserved, so a SIGKILL does not take it; the spool has it when lines go again."""
    made = make()
    made.append(front(0))
    refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
    made.append(front(1))
    assert {"ENOSPC": 1} == saved(home)
    for number in range(2, 5):
        made.append(front(number))
    monkeypatch.setattr(made._drop_reporter, "_save_at", 0.0)
    made.check_segment()
    assert {"ENOSPC": 4} == saved(home) == made.dropped
    assert {"ENOSPC": 4} == status(home)[0]["dropped"]
    assert ({}, {}) == (made.unreported, told(home))
    monkeypatch.undo()
    monkeypatch.setattr(made.segments, "_retry_at", 0.0)
    made.append(front(5))
    assert ({}, {"ENOSPC": 4}) == (saved(home), told(home))


def test_what_a_killed_writer_counted_is_in_the_next_batch(
    make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper moves the count into the spool as soon as its writer is gone, and not before."""
    made = make()
    made.append(front(0))
    refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
    made.append(front(1))
    monkeypatch.undo()
    drop_reports.adopt(HomeDir(home))
    assert ({"ENOSPC": 1}, {}) == (saved(home), told(home))
    assert made._drop_reporter._file is not None
    made._drop_reporter._file.close()  # as the end of its process does
    drop_reports.adopt(HomeDir(home))
    assert ({}, {"ENOSPC": 1}) == (saved(home), told(home))
    seal_home(home)
    [log] = oracle.read_home(home)["logs"]
    assert {"ENOSPC": 1} == log.batches[-1].manifest["dropped"]


def test_a_count_whose_file_vanished_is_told_in_the_segment(
    make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each dropped record is counted once."""
    made = make()
    made.append(front(0))
    refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
    made.append(front(1))
    monkeypatch.undo()
    for path in (home / "reserve-files").iterdir():
        path.unlink()
    monkeypatch.setattr(made.segments, "_retry_at", 0.0)
    made.append(front(2))
    assert {"ENOSPC": 1} == told(home) == made.dropped


def test_settings_that_are_too_long_for_the_reserved_room_are_left_out(
    make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count fits in any case."""
    made = make(kubo=tuple(f"http://store-{number}.example:5001" for number in range(200)))
    made.append(front(0))
    refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
    made.append(front(1))
    assert {"ENOSPC": 1} == saved(home)
    assert [4096] == [path.stat().st_size for path in (home / "reserve-files").glob("logs.*")]
