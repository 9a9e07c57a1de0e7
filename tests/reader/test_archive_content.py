"""The content of an archive: its entries, and what `restore` leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.archive_content import open_archive
from ipfs_log_handlers.reader.archives import Version, versions
from tests.support import file_trees
from tests.support.archives import archiver, facts


@pytest.fixture
def version(home: Path, tmp_path: Path) -> Version:
    """Archive a small directory."""
    archiver(home).put(file_trees.on_disk(tmp_path / "tree", {"a": b"one", "b": {"c": b"two"}}), facts)
    return versions(HomeDir(home))[0]


def test_an_entry_is_found_by_its_path_and_read(version: Version) -> None:
    """`entry` takes a path with slashes; a path that is not in the archive gives `None`."""
    with open_archive(version) as archive:
        entry = archive.entry("b/c")
        assert entry is not None
        assert b"two" == b"".join(archive.read(entry))
        assert archive.entry("b/d") is None
        assert [(), ("a",), ("b",), ("b", "c")] == [entry.path for entry in archive.entries()]


def test_restore_overwrites_nothing_and_leaves_nothing_behind(version: Version, tmp_path: Path) -> None:
    """A path that exists is refused, and stays as it was; no temporary file is left."""
    target = tmp_path / "out" / "tree"
    target.parent.mkdir()
    target.write_text("mine")
    with open_archive(version) as archive, pytest.raises(FileExistsError):
        archive.restore(target)
    assert "mine" == target.read_text()
    assert [target] == list(target.parent.iterdir())


def test_restore_needs_the_directory_above(version: Version, tmp_path: Path) -> None:
    """A target in a directory that does not exist is refused; the directory is not made."""
    with open_archive(version) as archive, pytest.raises(FileNotFoundError, match="does not exist"):
        archive.restore(tmp_path / "nowhere" / "tree")
    assert not (tmp_path / "nowhere").exists()
