"""Identify an open file by two values that its copies do not have: its inode number and its birth time.

A copy has the bytes, the names, the modes and the times of a file, and may even get its inode number, on another file
system or after the first file was deleted. But no program can set the birth time, at which the file system made the
file, in nanoseconds. If a file system does not record it (old Linux kernels for tmpfs, ext4 with small inodes), only
the inode number is used.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["birth_ns", "identity_of", "is_same_file", "preload"]

_NO_PATH: Final = 0x1000
"""AT_EMPTY_PATH: use the descriptor itself."""
_BIRTH: Final = 0x800
"""STATX_BTIME, in the requested and in the returned mask."""
_STATX_BYTES: Final = 256
"""Bytes of `struct statx`."""
_BIRTH_OFFSET: Final = 80
"""Bytes before `stx_btime`: seconds (64 bits), nanoseconds (32 bits)."""

_statx: Callable[[int], bytes | None] | None = None
"""Function that calls `statx` of the C library; `None`: not searched yet, or there is none."""
_was_looked_for = False


def identity_of(descriptor: int) -> str:
    """Return the identity of an open file or directory, as text: `<inode>-<ns since 1970>`, or only the inode."""
    status = os.fstat(descriptor)
    birth = _birth(descriptor, status)
    return f"{status.st_ino}" if birth is None else f"{status.st_ino}-{birth}"


def is_same_file(descriptor: int, identity: str) -> bool:
    """Check whether an open file or directory is the one with this identity."""
    own = identity_of(descriptor)
    if "-" not in own or "-" not in identity:  # one of the two identities has no birth time
        own, identity = own.partition("-")[0], identity.partition("-")[0]
    return own == identity


def birth_ns(descriptor: int) -> int | None:
    """Return the birth time of an open file, ns since 1970; `None` if the file system stores none."""
    return _birth(descriptor, os.fstat(descriptor))


def preload() -> None:
    """Import the needed modules; no fork may happen during this call."""
    global _statx, _was_looked_for  # noqa: PLW0603 - searched once in the life of a process
    if _was_looked_for:
        return
    _was_looked_for = True
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes

        statx = ctypes.CDLL(None).statx
        statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

        def birth(descriptor: int) -> bytes | None:
            buffer = ctypes.create_string_buffer(_STATX_BYTES)
            return buffer.raw if statx(descriptor, b"", _NO_PATH, _BIRTH, buffer) == 0 else None

        _statx = birth
    except (ImportError, OSError, AttributeError):
        return


def _birth(descriptor: int, status: os.stat_result) -> int | None:
    """Return the birth time of a file, ns since 1970; `None` if it is not known."""
    preload()
    if _statx is None:
        seconds = getattr(status, "st_birthtime", None)
        return None if seconds is None else int(seconds * 1_000_000_000)
    answer = _statx(descriptor)
    if answer is None or not struct.unpack_from("=I", answer)[0] & _BIRTH:
        return None
    seconds, nanoseconds = struct.unpack_from("=qI", answer, _BIRTH_OFFSET)
    return int(seconds * 1_000_000_000 + nanoseconds)
