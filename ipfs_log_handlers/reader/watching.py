"""Wait until a directory changes: with inotify where the system has it, otherwise only for a limited time.

A watch costs time in the program that writes: each write makes an event and wakes the process that waits. So a watch of
this module ends with its first event (IN_ONESHOT). A follower sets a new watch only when it has nothing to read. While
lines arrive, the follower sleeps without a watch and costs the writer nothing. Each wait also has a time limit, because
a network file system does not report the writes of other hosts.
Spec: inotify(7).
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.home import disk

__all__ = ["Watch"]

_IN_MODIFY: Final = 0x2
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_ONLYDIR: Final = 0x0100_0000
_IN_ONESHOT: Final = 0x8000_0000
_NAMES: Final = _IN_MOVED_TO | _IN_CREATE
"""The events for a file that is made in the directory or renamed into it."""
_FLAGS: Final = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_LINK: Final = "anon_inode:inotify"
"""The name by which the system shows a descriptor of inotify."""


class Watch:
    """Wait for a change of directories. Without inotify, or without a watch, only the time limit ends the wait.

    Only one thread at a time may use an object of this class; but every thread may call `wake`.
    """

    def __init__(self) -> None:
        self._system = _inotify()
        self._descriptor = -1
        self._wake_reader, self._wake_writer = os.pipe()
        self._pipe = os.fstat(self._wake_reader).st_ino
        os.set_blocking(self._wake_writer, False)

    def set(self, written: Iterable[Path], named: Iterable[Path]) -> bool:
        """Watch directories, each until its first event.

        Args:
            written: directories in which files may also be written.
            named: directories in which files or directories may be made or renamed.

        Returns:
            Whether at least one directory is watched. Changes before this call are not reported.
        """
        if self._system is None or (not self._is_ours() and not self._open()):
            return False
        set_any = False
        for paths, mask in ((written, _NAMES | _IN_MODIFY), (named, _NAMES)):
            for path in paths:
                number = self._system.inotify_add_watch(
                    self._descriptor, os.fsencode(path), mask | _IN_ONLYDIR | _IN_ONESHOT
                )
                set_any = set_any or number >= 0
        return set_any

    def _open(self) -> bool:
        self._descriptor = -1 if self._system is None else self._system.inotify_init1(_FLAGS)
        return self._descriptor >= 0

    def _is_ours(self) -> bool:
        """Return whether the descriptor is still that of this object: a program may close the descriptors of others."""
        if self._descriptor < 0:
            return False
        try:
            return os.readlink(f"/proc/self/fd/{self._descriptor}") == _LINK
        except OSError:
            return False

    def wait(self, seconds: float) -> None:
        """Wait until a directory changes, `wake` is called, or the time is over."""
        waiting = select.poll()
        waiting.register(self._wake_reader, select.POLLIN)
        if self._is_ours():
            waiting.register(self._descriptor, select.POLLIN)
        for descriptor, _ in waiting.poll(seconds * 1000):
            if descriptor == self._descriptor and self._is_ours():
                self.forget()

    @property
    def descriptor(self) -> int:
        """The descriptor that is readable when a directory has changed; -1 where there is none."""
        return self._descriptor if self._is_ours() else -1

    def forget(self) -> None:
        """Drop the waiting events: the caller reads the files next, and so finds all changes."""
        with suppress(BlockingIOError, OSError):
            while os.read(self._descriptor, 1 << 16):
                pass

    def wake(self) -> None:
        """End a wait, and each later one at once."""
        if self._is_pipe(self._wake_writer):
            with suppress(OSError):
                os.write(self._wake_writer, b"!")

    def _is_pipe(self, descriptor: int) -> bool:
        """Say whether a descriptor is still that of the pipe."""
        with suppress(OSError):
            status = os.fstat(descriptor)
            return stat.S_ISFIFO(status.st_mode) and status.st_ino == self._pipe
        return False

    def __del__(self) -> None:
        """Close the descriptors."""
        for descriptor in (self._wake_reader, self._wake_writer):
            if self._is_pipe(descriptor):
                disk.close(descriptor)
        if self._is_ours():
            disk.close(self._descriptor)


def _inotify() -> Any:
    """Return the C library where it has inotify; `None` elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes  # only to follow

        library = ctypes.CDLL(None)
        library.inotify_init1.argtypes = [ctypes.c_int]
        library.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
    except (OSError, AttributeError):
        return None
    return library
