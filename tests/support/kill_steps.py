"""Kill a program at one of the calls that change the disk; imported by the programs of the crash tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["child", "die", "kill_at"]

_CALLS = ("fsync", "fdatasync", "rename", "write", "unlink", "link", "mkdir", "ftruncate", "pwrite")
"""The functions of `os` that change the disk."""


def die() -> None:
    """Kill this process, as nothing can be caught or cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(number: int) -> None:
    """Let this process die before or after one of the calls that change the disk.

    Args:
        number: of the moment, counted from 1: two for each call. 0: no call kills.
    """
    passed = 0

    def pass_moment() -> None:
        nonlocal passed
        passed += 1
        if passed == number:
            die()

    def stepping(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            pass_moment()
            result = real(*args, **options)
            pass_moment()
            return result

        return step

    for name in _CALLS:
        setattr(os, name, stepping(getattr(os, name)))


def child(work: Callable[..., object], *args: object) -> bool:
    """Do some work in a forked child; return whether it came to its end, and was not killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work(*args)
        except BaseException:  # noqa: BLE001 - shown, and the exit code says it
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), (work, args, status)
    return status == 0
