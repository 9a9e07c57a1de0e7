"""With `durability="power"` each record is synced before the call returns."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk
from ipfs_log_handlers.spool.writer import Writer
from tests.support.logging_home import (
    refuse,
    wait_until,
)
from tests.support.spool_appends import front, numbers


def test_each_record_is_synced_with_power(make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
    """With `durability="power"` a record is synced before the call returns; otherwise none is."""
    synced = list[int]()
    monkeypatch.setattr(disk, "sync_data", lambda _: synced.append(1))
    made = make()
    made.append(front(0))
    assert [] == synced
    made = make(durability="power")
    made.append(front(1))
    before = len(synced)
    made.append(front(2))
    assert before + 1 == len(synced)
    made.close()
    assert before + 2 == len(synced)


def test_threads_that_wait_together_share_one_sync(
    make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait together share one sync."""
    made, entered, go, synced = make(durability="power"), threading.Event(), threading.Event(), list[int]()
    made.append(front(0))

    def sync(_: int) -> None:
        synced.append(1)
        entered.set()
        go.wait(10)

    monkeypatch.setattr(disk, "sync_data", sync)
    threads = [threading.Thread(target=made.append, args=(front(n),)) for n in range(1, 7)]
    for each in threads:
        each.start()
    assert entered.wait(10)
    wait_until(lambda: made.activity == 7)
    go.set()
    for each in threads:
        each.join(10)
    assert len(synced) <= 3
    monkeypatch.undo()


def test_a_sync_that_fails_is_counted_and_not_repeated(
    make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Home rule 7: a sync that failed is counted and never tried again on that segment; the next is another."""
    made = make(durability="power")
    made.append(front(0))
    monkeypatch.setattr(disk, "sync_data", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
    made.append(front(1))
    monkeypatch.undo()
    made.append(front(2))
    assert {"not synced": 1} == made.dropped == made.unreported
    assert [0, 1, 2] == numbers(home)
    assert 2 == len(list((home / "logs" / "spool").iterdir()))


def test_lines_before_a_torn_one_are_synced(
    make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another thread appended, and has not synced yet, is synced when a torn line ends its segment."""
    made, synced = make(durability="power"), list[int]()
    made.append(front(0))
    monkeypatch.setattr(made, "after_append", None)  # the other thread stands between its write and its sync
    made.append(front(1))
    [segment] = (home / "logs" / "spool").iterdir()
    monkeypatch.setattr(disk, "sync_data", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    refuse(monkeypatch, "write", OSError(errno.EIO, "io"), times=1)
    made.append(front(2))
    assert segment.stat().st_ino in synced
    assert [0, 1, 2] == numbers(home)


def test_a_failed_sync_of_a_full_segment_is_counted(
    make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that fails as a segment is closed is counted too."""
    made = make(durability="power")
    made.append(front(0))
    monkeypatch.setattr(disk, "sync_data", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
    made.close()
    assert {"not synced": 1} == made.dropped
