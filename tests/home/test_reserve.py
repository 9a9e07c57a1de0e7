from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk, reserve
from tests.workshop import refuse


class TestReserve:
    def test_allocated(self, tmp_path: Path) -> None:
        """Home rule 22: the reserve is space that the disk has really given; it is freed once, and made again."""
        assert reserve.make(tmp_path / "reserve")
        assert reserve.SIZE <= disk.allocated(tmp_path)
        assert reserve.make(tmp_path / "reserve")
        assert reserve.give_up(tmp_path / "reserve")
        assert not reserve.give_up(tmp_path / "reserve")
        assert 0 == disk.allocated(tmp_path)
        assert reserve.make(tmp_path / "reserve")

    def test_no_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: on a disk that is nearly full there is no reserve, and nothing is left of the try."""
        monkeypatch.setattr(disk, "free_bytes", lambda _: reserve.SIZE)
        assert not reserve.make(tmp_path / "reserve")
        monkeypatch.undo()
        refuse(monkeypatch, "posix_fallocate", OSError(errno.ENOSPC, "full"))
        assert not reserve.make(tmp_path / "reserve")
        assert [] == list(tmp_path.iterdir())

    def test_broken_off(self, tmp_path: Path) -> None:
        """A reserve that is too small, as a crash may leave it, is made anew."""
        (tmp_path / "reserve").write_bytes(b"x")
        assert reserve.make(tmp_path / "reserve")
        assert reserve.SIZE == (tmp_path / "reserve").stat().st_size

    def test_unwritable(self, tmp_path: Path) -> None:
        """Where nothing can be written there is no reserve and no exception."""
        assert not reserve.make(tmp_path / "missing" / "reserve")
        (tmp_path / "reserve").mkdir()
        assert not reserve.make(tmp_path / "reserve")

    def test_missing_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: a disk is nearly full when less is left than a reserve; than two while there is none."""
        free = 2 * reserve.SIZE
        monkeypatch.setattr(disk, "free_bytes", lambda _: free)
        assert 0 == reserve.missing_bytes(tmp_path / "reserve")
        free -= 1
        assert 2 * reserve.SIZE + 1 == reserve.missing_bytes(tmp_path / "reserve")
        (tmp_path / "reserve").touch()
        assert 0 == reserve.missing_bytes(tmp_path / "reserve")
        free = reserve.SIZE - 1
        assert 3 * reserve.SIZE + 1 == reserve.missing_bytes(tmp_path / "reserve")
