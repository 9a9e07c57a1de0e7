"""Make the system calls of a program fail: compile the library `syscall_faults.c`, give the variables it reads."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.kubo.build import CannotBuildKubo, from_wheel
from tests.support import programs

__all__ = ["CHANGES", "FAULTS", "environment", "library", "run_cases", "variables"]

CHANGES = "write,fsync,rename,link,unlink,mkdir,ftruncate"
"""The calls that change the disk."""
FAULTS = (("kill-before", 1), ("kill-after", 1), ("EIO", 1), ("EIO", 0), ("ENOSPC", 0), ("EROFS", 0), ("short", 1))
"""What happens at a call, and how often from then on; 0: always."""
COMPILER_WHEEL = "ziglang==0.17.1"
SOURCE = Path(__file__).with_name("syscall_faults.c")


@functools.cache
def library() -> Path:
    """Return the compiled library, made once for the run; fail the test where there is no C compiler."""
    made = Path(tempfile.mkdtemp(prefix="ipfs-logs-faults-")) / "syscall_faults.so"
    atexit.register(shutil.rmtree, made.parent, ignore_errors=True)
    command = [*_compiler(), "-O1", "-Wall", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        pytest.fail(
            f"tests/support/syscall_faults.c cannot be compiled on this machine:\n{ended.stderr}", pytrace=False
        )
    return made


def _compiler() -> list[str]:
    """Return the command of the machine's C compiler; without one, that of the PyPI wheel `ziglang`."""
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
    """Return the variables with which a program is started so that its calls fail; see `syscall_faults.c`.

    Args:
        under: the directory; calls on files below it can fail, no others.
        fault: an errno's name, `short`, `kill-before` or `kill-after`.
        calls: names of the calls that are counted, separated by commas; empty: all.
        at: the number of the first call that fails, counted from 1; 0: no call fails.
        times: how many calls fail from that one on; 0: all.
        quota: bytes that the files together may take before the disk counts as full; 0: no limit.
        trace: path of a file to which every change of the disk is written.
    """
    return {
        "LD_PRELOAD": str(library()),
        **variables(under, fault, calls=calls, at=at, times=times, quota=quota, trace=trace),
    }


def variables(
    under: Path, fault: str = "", *, calls: str = "", at: int = 0, times: int = 1, quota: int = 0, trace: str = ""
) -> dict[str, str]:
    """Return the same for a program that has loaded the library already and reads its environment again."""
    return {
        "FAULTS_UNDER": os.path.realpath(under),
        "FAULTS_DO": fault,
        "FAULTS_CALLS": calls,
        "FAULTS_AT": str(at),
        "FAULTS_TIMES": str(times),
        "FAULTS_QUOTA": str(quota),
        "FAULTS_TRACE": trace,
    }


def run_cases(tmp_path: Path, body: str, cases: Iterable[tuple[Any, ...]], **values: Any) -> int:
    """Run a program that tries each case; return what it printed last: the largest number of calls that one made.

    Args:
        tmp_path: directory of the homes, which the program has as NEXT_TO.
        body: the program.
        cases: name and variables of each case, and what else it needs; the program has them as CASES.
        values: further names that the program has.
    """
    ended = programs.run(
        tmp_path / "home",
        body,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), **environment(tmp_path)},
        NEXT_TO=str(tmp_path),
        CASES=list(cases),
        **values,
        deadline_s=3600,
    )
    assert 0 == ended.code, f"{ended.out}\n{ended.err}"
    return int(ended.out.split()[-1])
