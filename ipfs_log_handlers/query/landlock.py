"""Refuse this process all files, TCP ports and signals to others, by Landlock of the Linux kernel.

Descriptors that are open already can be used as before. The limit holds for the thread that sets it and for threads
that it starts, and cannot be removed again.

Source: Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h of Linux.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import Any, Final

from ipfs_log_handlers.home import disk

__all__ = ["newest_version", "refuse_files_and_ports"]

_CREATE_RULESET: Final = 444
_RESTRICT_SELF: Final = 446
"""Numbers of the system calls, the same on all processors."""
_ASK_VERSION: Final = 1
"""LANDLOCK_CREATE_RULESET_VERSION: the call answers with the newest version that the kernel knows."""
_RIGHTS: Final = {
    1: ((1 << 13) - 1,),
    2: ((1 << 14) - 1,),
    3: ((1 << 15) - 1,),
    4: ((1 << 15) - 1, 0b11),
    5: ((1 << 16) - 1, 0b11),
    6: ((1 << 16) - 1, 0b11, 0b11),
}
"""All rights that a version of Landlock can refuse: `struct landlock_ruleset_attr`, which has become longer. The first
number is about files: 1 opens, runs, makes and removes; 2 links and renames into another directory; 3 truncates; 5
controls devices. The second one: bind and connect TCP. The third one: abstract Unix sockets of other processes, and
signals to these."""


def newest_version() -> int:
    """Return the newest version of Landlock that this kernel knows; 0: none."""
    return max(0, _call(_CREATE_RULESET, None, 0, _ASK_VERSION)) if sys.platform == "linux" else 0


def refuse_files_and_ports() -> bool:
    """Limit this process; return whether the kernel limits all of it. PR_SET_NO_NEW_PRIVS must be set.

    The answer is `False` on a kernel without Landlock, and if the process had other threads, which are not limited.
    """
    version = min(newest_version(), max(_RIGHTS))
    if not version:
        return False
    is_alone = _has_one_thread()
    rights = struct.pack(f"={len(_RIGHTS[version])}Q", *_RIGHTS[version])
    ruleset = _call(_CREATE_RULESET, rights, len(rights), 0)
    if ruleset < 0:
        return False
    is_limited = _call(_RESTRICT_SELF, ruleset, 0) == 0  # the rule set has no rule, which would allow something
    disk.close(ruleset)
    return is_limited and is_alone


def _has_one_thread() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # /proc is not mounted
        return False


def _call(number: int, first: bytes | int | None, *more: int) -> int:
    arguments: list[Any] = [first if first is None or isinstance(first, bytes) else ctypes.c_long(first)]
    arguments += map(ctypes.c_long, more)
    function = ctypes.CDLL(None).syscall
    function.restype = ctypes.c_long
    return int(function(ctypes.c_long(number), *arguments))
