"""Make small disks: a mounted tmpfs where mounting is permitted, else a directory with a limit by `syscall_faults`.

`mounted_disk` is real in any case: a tmpfs or an ext4 image, also with few inodes.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.support import syscall_faults

__all__ = ["mounted_disk", "simulated_disk", "small_disk"]


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[dict[str, str]]:
    """Make a disk of `size` bytes at `path`.

    Yields:
        The variables with which a program must be started so that the disk is that small for it too.
    """
    path.mkdir()
    if not _succeeds("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)):
        yield syscall_faults.environment(path, quota=size)
        return
    try:
        yield {}
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


@contextlib.contextmanager
def simulated_disk(path: Path, size: int) -> Iterator[dict[str, str]]:
    """Make the same without a mount."""
    path.mkdir()
    yield syscall_faults.environment(path, quota=size)


@contextlib.contextmanager
def mounted_disk(
    path: Path, kind: Literal["tmpfs", "ext4"], size: int, inodes: int | None = None
) -> Iterator[dict[str, str]]:
    """Mount a real disk of `size` bytes and, if given, so many inodes; skip the test where mounting is not permitted.

    Yields:
        The variables with which a program must be started: none.
    """
    path.mkdir()
    if kind == "tmpfs":
        options = f"size={size}" if inodes is None else f"size={size},nr_inodes={inodes}"
        mounted = _succeeds("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path))
    else:
        image = path.with_name(f"{path.name}.ext4")
        with image.open("wb") as file:
            file.truncate(size)
        number = [] if inodes is None else ["-N", str(inodes)]
        mounted = _succeeds("mkfs.ext4", "-q", "-F", *number, str(image)) and _succeeds(
            "mount", "-o", "loop", str(image), str(path)
        )
    if not mounted:
        pytest.skip(f"this machine lets nobody mount a {kind} here")
    try:
        yield {}
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
