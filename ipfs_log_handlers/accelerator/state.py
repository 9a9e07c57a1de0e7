"""Define the members of a writer that Python and the accelerator share, and load the accelerator.

The accelerator is an extension module in C (`_accelerator.c`). The package works without it: where it was installed
without a compiler, outside Linux, in a sub-interpreter, or with `IPFS_LOGS_PURE=1` in the environment.

The classes below have the members of the state of a writer. With the accelerator they are classes of C with the same
members, which its code reads and changes directly. So `seq`, sizes and limits stand in one place only.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.concurrency.threads import IN_MAIN_INTERPRETER

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ACCELERATOR", "PURE", "SegmentBase", "WriterBase", "WriterSegmentsBase"]

PURE: Final = "IPFS_LOGS_PURE"
"""The variable of the environment that turns the accelerator off: `1`, before the package is imported."""


def _load() -> Any:
    """Return the extension module; `None` if this process does without it."""
    if os.environ.get(PURE, "") not in {"", "0"} or not IN_MAIN_INTERPRETER:
        return None
    try:
        return importlib.import_module("ipfs_log_handlers.accelerator._accelerator")
    except ImportError:
        return None


ACCELERATOR: Final[Any] = _load()
"""The extension module `_accelerator`; `None`: this process does without it."""


class SegmentBase:
    """The members of `home.segments.Segment` that the accelerator uses."""

    __slots__ = ("descriptor", "device", "inode", "size")
    descriptor: int
    size: int
    device: int
    inode: int


class WriterSegmentsBase:
    """The members of `spool.writer_segments.WriterSegments` that the accelerator uses."""

    __slots__ = (
        "check_at",
        "check_home_at",
        "checked_seq",
        "checked_size",
        "current",
        "full_size",
        "limit",
        "pid",
        "seq",
    )
    current: Any
    seq: int
    pid: int
    limit: int
    full_size: int
    check_at: float
    check_home_at: float
    checked_seq: int
    checked_size: int


class WriterBase:
    """The members of `spool.writer.Writer` that the accelerator uses."""

    __slots__ = ("after_append", "is_inside", "lock", "segments")
    lock: Any
    is_inside: Callable[[], bool]
    segments: Any
    after_append: Callable[[], None] | None


if ACCELERATOR is not None:
    SegmentBase = ACCELERATOR.SegmentBase  # type: ignore[misc]
    WriterSegmentsBase = ACCELERATOR.WriterSegmentsBase  # type: ignore[misc]
    WriterBase = ACCELERATOR.WriterBase  # type: ignore[misc]
