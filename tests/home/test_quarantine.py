from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfs_log_handlers.home import quarantine
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.segments import SegmentName
from tests.support.logging_home import WRITER, put_segment, spy

NAME = SegmentName(WRITER, 2)


class TestQuarantine:
    def test_copy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 4: damage is copied to `<segment>.<offset>`, synced with its directory, 0600."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), b"x" * 3_000_000)
        descriptor = os.open(path, os.O_RDONLY)
        synced = list[int]()
        spy(monkeypatch, os, "fsync", synced.append)
        kept = quarantine.put(tmp_path / "q", NAME, descriptor, 5_000, 2_500_000)
        os.close(descriptor)
        assert tmp_path / "q" / f"{WRITER}-2.5000" == kept
        assert b"x" * 2_495_000 == kept.read_bytes()
        assert 0o600 == kept.stat().st_mode & 0o777
        assert 2 == len(synced)
        assert 1 == quarantine.count(tmp_path / "q")

    def test_again(self, tmp_path: Path) -> None:
        """Home rule 4: a keeper that died before the head passed the damage leaves a copy that is made again."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), b"x" * 100)
        descriptor = os.open(path, os.O_RDONLY)
        for _ in range(2):
            quarantine.put(tmp_path / "q", NAME, descriptor, 10, 20)
        os.close(descriptor)
        assert 1 == quarantine.count(tmp_path / "q")

    def test_a_hole_of_a_sparse_segment_takes_no_room(self, tmp_path: Path) -> None:
        """Damage that is a hole is kept as a hole: a home from somebody else cannot fill the disk of its keeper."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), b"before")
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(200 << 20)
            file.write(b"after")
        descriptor = os.open(path, os.O_RDONLY)
        kept = quarantine.put(tmp_path / "q", NAME, descriptor, size - 6, (200 << 20) + 5)
        os.close(descriptor)
        assert (200 << 20) + 11 - size == kept.stat().st_size
        assert kept.stat().st_blocks * 512 < 4 << 20
        with kept.open("rb") as file:
            assert b"before\0\0" == file.read(8)
            file.seek(-7, os.SEEK_END)
            assert b"\0\0after" == file.read()

    def test_nothing_there(self, tmp_path: Path) -> None:
        """Where nothing was damaged, nothing is counted."""
        assert 0 == quarantine.count(tmp_path / "q")
