"""Compiles `shim.c`, and tells programs through their environment what shall go wrong on their disk."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.kubo.build import CannotBuildKubo, from_wheel

__all__ = ["environment", "library"]

COMPILER_WHEEL = "ziglang==0.17.1"
SOURCE = Path(__file__).with_name("shim.c")


@functools.cache
def library() -> Path:
    """The shim as a library, compiled once for the run; where no C compiler is to be had the test fails."""
    made = Path(tempfile.mkdtemp(prefix="ipfs-logs-shim-")) / "shim.so"
    atexit.register(shutil.rmtree, made.parent, ignore_errors=True)
    command = [*_compiler(), "-O1", "-Wall", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        pytest.fail(f"tests/faults/shim.c cannot be compiled on this machine:\n{ended.stderr}", pytrace=False)
    return made


def _compiler() -> list[str]:
    """The C compiler of the machine; without one, that of the PyPI wheel `ziglang`."""
    found = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found:
        return found.split()
    try:
        return [str(from_wheel(COMPILER_WHEEL, "there is no C compiler on PATH") / "ziglang" / "zig"), "cc"]
    except CannotBuildKubo as error:
        pytest.fail(str(error), pytrace=False)


def environment(
    under: Path, fault: str = "", *, calls: str = "", at: int = 0, times: int = 1, quota: int = 0, trace: str = ""
) -> dict[str, str]:
    """What a program must find in its environment; `shim.c` tells what each of these means.

    Args:
        under: the directory whose files are meant.
        fault: an errno's name, `short`, `kill-before` or `kill-after`.
        calls: which calls count, with commas between them; empty: all.
        at: the number of the call that fails, from 1 on; 0: none.
        times: how many calls fail from there on; 0: all.
        quota: bytes that the files may take.
        trace: file to which every change is written.
    """
    return {
        "LD_PRELOAD": str(library()),
        **told(under, fault, calls=calls, at=at, times=times, quota=quota, trace=trace),
    }


def told(
    under: Path, fault: str = "", *, calls: str = "", at: int = 0, times: int = 1, quota: int = 0, trace: str = ""
) -> dict[str, str]:
    """The same for a program that has the shim already, and reads its environment again."""
    return {
        "FAULTS_UNDER": os.path.realpath(under),
        "FAULTS_DO": fault,
        "FAULTS_CALLS": calls,
        "FAULTS_AT": str(at),
        "FAULTS_TIMES": str(times),
        "FAULTS_QUOTA": str(quota),
        "FAULTS_TRACE": trace,
    }
