"""Small disks: a real one where mounting is permitted, else a directory that the shim lets grow only so far."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults import shim

__all__ = ["feigned_disk", "small_disk"]


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[dict[str, str]]:
    """A disk of `size` bytes at `path`.

    Yields:
        What a program must find in its environment so that the disk is that small for it too.
    """
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    if made.returncode:
        yield shim.environment(path, quota=size)
        return
    try:
        yield {}
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


@contextlib.contextmanager
def feigned_disk(path: Path, size: int) -> Iterator[dict[str, str]]:
    """The same without a mount."""
    path.mkdir()
    yield shim.environment(path, quota=size)
