"""Run functions in forked children, which end when their parent does."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ["end_children_with_this_process", "end_with_parent", "run_in_child"]

_PR_SET_PDEATHSIG = 1
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def run_in_child(work: Callable[..., object], *args: object) -> bool:
    """Run a function in a child; return `True` after its end, and `False` if the child was killed.

    Raises:
        AssertionError: the function raised an exception in the child, which is printed.
    """
    child = os.fork()
    if child == 0:
        try:
            work(*args)
        except BaseException:  # noqa: BLE001 - the exit code says it
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), (work, args, status)
    return status == 0


def end_with_parent() -> None:
    """Let this process be killed when the *thread* that has forked it ends; only on Linux."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_children_with_this_process() -> None:
    """Let each child that the main thread forks from now on end with this process.

    A child has the pipes of its parent. If the child hangs, and the parent is ended, whoever reads them waits for ever.
    """
    parent = 0

    def before() -> None:
        nonlocal parent
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0

    def in_child() -> None:
        if parent:
            end_with_parent()
            if os.getppid() != parent:  # it has ended already
                os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)
