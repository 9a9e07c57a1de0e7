"""Locks of files in a home: one holder, in forks and beside a program that closes descriptors."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk, locked_files


def test_a_locked_file_has_one_holder(tmp_path: Path) -> None:
    """Home rule 15: a locked file has one holder, also within one process; closing gives the lock back."""
    first = disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
    assert first is not None
    assert disk.open_locked(tmp_path / "l", os.O_RDWR) is None
    disk.close_locked(first)
    second = disk.open_locked(tmp_path / "l", os.O_RDWR)
    assert second is not None
    disk.close_locked(second)


def test_a_locked_descriptor_is_not_inherited_by_programs(tmp_path: Path) -> None:
    """Home rule 15: a locked descriptor is not inherited by programs that are executed."""
    held = disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
    assert held is not None
    assert not os.get_inheritable(held)
    disk.close_locked(held)


def test_a_descriptor_that_is_another_file_now_is_left_alone(tmp_path: Path) -> None:
    """Home rule 6: a descriptor that was closed under us, and is somebody else's file now, is left alone."""
    held = disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
    assert held is not None
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o600)
    os.dup2(other, held)
    os.close(other)
    disk.close_locked(held)
    os.write(held, b"still open")
    os.close(held)
    assert (tmp_path / "other").read_bytes() == b"still open"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_neither_frees_nor_keeps_the_lock_of_its_parent(tmp_path: Path) -> None:
    """Home rule 15: a child neither frees its parent's lock nor holds it on after the parent gave it back."""
    held = disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
    assert held is not None
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"!")
        signal.pause()
    try:
        os.read(reader, 1)
        assert disk.open_locked(tmp_path / "l", os.O_RDWR) is None
        disk.close_locked(held)
        again = disk.open_locked(tmp_path / "l", os.O_RDWR)
        assert again is not None
        disk.close_locked(again)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


def test_a_lock_on_a_file_that_was_replaced_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home rule 9: a lock on a file that is no longer the one at the path counts for nothing."""
    locked = dict(locked_files._locked)
    real = locked_files.same_file

    def replaced_meanwhile(descriptor: int, path: Path) -> bool:
        path.unlink()
        path.touch()
        return real(descriptor, path)

    monkeypatch.setattr(locked_files, "same_file", replaced_meanwhile)
    assert disk.take_lock(tmp_path / "l") is None
    assert locked == locked_files._locked


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Home rule 29: where a file should be, a symbolic link is refused, and nothing is opened behind it."""
    (tmp_path / "l").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
    with pytest.raises(OSError, match="symbolic"):
        disk.read(tmp_path / "l")
    assert not (tmp_path / "elsewhere").exists()
