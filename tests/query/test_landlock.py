"""Landlock refuses a process files, ports, and what reaches other processes."""

from __future__ import annotations

import ctypes
import errno
import sys

import pytest

from ipfs_log_handlers.query import landlock
from tests.support.taken_over import outcomes, prepare


def has_landlock() -> bool:
    """Say whether this kernel knows Landlock; any other answer than that it does not is a fault of ours."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(*map(ctypes.c_long, (444, 0, 0, 1)))
    return version > 0 or ctypes.get_errno() not in (errno.ENOSYS, errno.EOPNOTSUPP)


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock: it says so itself")
def test_the_kernel_refuses_files_ports_and_signals(tmp_path):
    """By Landlock alone, what its version knows fails, and succeeds without it."""
    refused = dict.fromkeys(
        ("read a file", "make a file", "list a directory", "remove a file", "run a program"), "EACCES"
    )
    if landlock.newest_version() >= 4:
        refused["connect by TCP"] = "EACCES"
    if landlock.newest_version() >= 6:
        refused |= {"connect to an abstract socket": "EPERM", "signal a process": "EPERM"}
    with prepare(tmp_path) as around:
        limited = outcomes("landlock", around)
        free = outcomes("none", around)
    assert {name: limited[name] for name in refused} == refused
    assert {name: free[name] for name in refused} == dict.fromkeys(refused, "done")


def test_a_kernel_without_landlock_limits_nothing_and_says_so(monkeypatch):
    """The call fails, as an unknown call does."""
    monkeypatch.setattr(landlock, "_call", lambda *_: -1)
    assert landlock.newest_version() == 0
    assert landlock.refuse_files_and_ports() is False


@pytest.mark.parametrize("version", range(1, 9))
def test_a_newer_kernel_gets_the_newest_known_rights(monkeypatch, version):
    """The structure is as long as that version knows it, and refuses all that it knows."""
    asked = []

    def call(number, first, *more):
        asked.append((number, first, *more))
        return version if first is None else -1

    monkeypatch.setattr(landlock, "_call", call)
    monkeypatch.setattr(sys, "platform", "linux")
    assert landlock.refuse_files_and_ports() is False
    number, rights, size, flags = asked[-1]
    assert (number, size, flags) == (444, len(rights), 0)
    assert size == {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(version, 24)
    bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    assert int.from_bytes(rights[:8], sys.byteorder) == (1 << bits) - 1
