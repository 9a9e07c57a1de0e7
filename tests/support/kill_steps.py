"""Kill a program at one of the calls that change the disk; imported by the programs of the crash tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

__all__ = ["die", "kill_at"]

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
