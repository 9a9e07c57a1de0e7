"""The identity of a file: it stays with the file, and no copy has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ipfs_log_handlers.home import file_identity


def identity(path: Path) -> str:
    """Return the identity of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return file_identity.identity_of(descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a file."""
    made = tmp_path / "file"
    made.write_bytes(b"content")
    return made


def test_it_stays_whatever_happens_to_the_file(path):
    """Another name, mode, owner's time, link or content changes nothing."""
    before = identity(path)
    path.chmod(0o600)
    os.utime(path, (1, 1))
    os.link(path, path.with_name("link"))
    path.write_bytes(b"other content")
    moved = path.with_name("moved")
    path.rename(moved)
    assert before == identity(moved)


def test_no_copy_has_it(path):
    """Neither a copy with all attributes, nor one that is written over a file that has the place and the inode."""
    before = identity(path)
    copy = path.with_name("copy")
    subprocess.run(["cp", "-a", str(path), str(copy)], check=True)
    assert before != identity(copy)
    inode = path.stat().st_ino
    path.unlink()
    for number in range(50):
        again = path.with_name(f"again{number}")
        shutil.copy2(copy, again)
        assert before != identity(again)
        if again.stat().st_ino == inode:
            break


def test_without_a_birth_the_inode_alone_counts(path, monkeypatch):
    """Also where only one of the two moments knew the birth."""
    with_birth = identity(path)
    monkeypatch.setattr(file_identity, "_birth", lambda *_: None)
    assert str(path.stat().st_ino) == identity(path)
    descriptor = os.open(path, os.O_RDONLY)
    assert file_identity.is_same_file(descriptor, with_birth)
    assert not file_identity.is_same_file(descriptor, f"{path.stat().st_ino + 1}-5")
    os.close(descriptor)
