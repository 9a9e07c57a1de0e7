"""Make homes with many small batches fast, and count which files a piece of code looks at."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

from ipfs_log_handlers.home import paths as home_paths
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.index import BatchIndex
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper.batch_builder import BatchLimits
from ipfs_log_handlers.keeper.due import DueBatch
from ipfs_log_handlers.keeper.seal import Sealer
from tests.support.logging_home import keeping, lines, path_meant, put_segment

__all__ = ["calls_counted", "files_looked_at", "pretend_more_batches", "seal_batches"]

_READING_CALLS: Final = ("open", "stat", "lstat", "fstat", "listdir", "scandir", "read", "pread", "lseek", "statvfs")
_WRITING_CALLS: Final = (
    "write", "pwrite", "mkdir", "rename", "link", "unlink", "fsync", "fdatasync", "ftruncate", "posix_fallocate",
)  # fmt: skip
"""The functions of `os` with which the package looks at files and changes them, where the system has them."""


def seal_batches(home: Path, count: int, *, subsystem: str = "logs", first: int = 1, **fields: Any) -> SubsystemDir:
    """Seal `count` batches of one record each with `seq` from `first` on; nothing is synced.

    Args:
        home: the home.
        count: number of batches.
        subsystem: whose log they go into.
        first: sequence number of the first record.
        fields: more fields of each record.
    """
    subsystem_dir = HomeDir(home).subsystem_dir(subsystem)
    put_segment(subsystem_dir, lines(first, first + count - 1, **fields), number=first)
    with mock.patch("os.fsync", return_value=None), keeping(HomeDir(home)) as held:
        sealer = Sealer.open(held, subsystem_dir)
        sealer.backlog(time.monotonic())
        for _ in range(count):
            for _ in sealer.seal(DueBatch(BatchLimits(1, 1 << 20, 1)), urgent=True):
                pass
        sealer.delete_consumed()
    return subsystem_dir


@contextlib.contextmanager
def files_looked_at(calls: Sequence[str] = ("listdir", "scandir", "stat", "lstat", "open")) -> Iterator[list[str]]:
    """Within the block, note each path that is listed, opened or asked for its status, but no directory on the way.

    Args:
        calls: functions of `os` that count.
    """
    paths: list[str] = []

    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            if not (args and isinstance(args[0], int) and args[0] & os.O_PATH):
                paths.append(str(path_meant(path, options)))
            return real(path, *args, **options)

        return call

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(home_paths, "ACCELERATOR", None))  # it opens files without `os`
        for name in calls:
            stack.enter_context(mock.patch(f"os.{name}", noting(getattr(os, name))))
        yield paths


def pretend_more_batches(subsystem_dir: SubsystemDir, count: int) -> None:
    """Let a log look as if it had `count` batches: files by their names, and rows of the index. None of them is real.

    It must have some real batches, all of which stay; the last one is copied.
    """
    batches = Batches(subsystem_dir.current.batches)
    index = BatchIndex(batches.path)
    header, rows = index.header(), list(index.rows(0, count))
    assert header is not None
    last = rows[-1]
    for number in range(len(rows), count):
        rows.append(replace(last, index=number).after(rows[-1], records=1))
        batches.file(number).parent.mkdir(exist_ok=True)
        os.link(batches.file(last.index), batches.file(number))
    index.replace(rows, replace(header, held=sum(row.allocated for row in rows)))


@contextlib.contextmanager
def calls_counted() -> Iterator[Counter[str]]:
    """Within the block, count the calls of the functions of `os` that reach the disk, and what they return.

    `read bytes` counts the bytes that were read, `listed names` the entries of directories.
    """
    counts: Counter[str] = Counter()

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            found = real(*args, **options)
            if name in ("read", "pread"):
                counts["read bytes"] += len(found)
            elif name == "listdir":
                counts["listed names"] += len(found)
            return found

        return call

    with contextlib.ExitStack() as stack:
        for name in filter(functools.partial(hasattr, os), (*_READING_CALLS, *_WRITING_CALLS)):
            stack.enter_context(mock.patch(f"os.{name}", counting(name, getattr(os, name))))
        yield counts
