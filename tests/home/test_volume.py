"""What a home takes on its disk, and which mounts are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk, volume


class TestMounts:
    MOUNTS = (
        "21 1 0:1 / / rw - ext4 /dev/a rw\n"
        "22 21 0:2 / /net rw - nfs4 server:/x rw\n"
        "23 22 0:3 / /net/local rw - tmpfs t rw\n"
        "24 21 0:4 / /with\\040space rw - fuse.sshfs s rw\n"
        "25 21 0:5 / /ü rw - fuse f rw\n"
        "26 21 0:6 / /block rw - fuseblk /dev/b rw\n"
        "27 21 0:7 / /net/again rw - ext4 /dev/c rw\n"
        "28 27 0:8 / /net/again rw - cifs //s/t rw\n"
    )

    @pytest.mark.parametrize(
        ("where", "kind"),
        [
            ("/home/x", None),
            ("/net", "nfs4"),
            ("/net/a/b", "nfs4"),
            ("/network", None),
            ("/net/local/x", None),
            ("/with space/x", "fuse.sshfs"),
            ("/ü/x", "fuse"),
            ("/block/x", None),
            ("/net/again", "cifs"),
        ],
    )
    def test_kinds(self, monkeypatch: pytest.MonkeyPatch, where: str, kind: str | None) -> None:
        """Home rule 9: network and FUSE mounts are told from local disks, by the mount that is nearest and newest."""
        monkeypatch.setattr(disk, "read_beginning", lambda *_: self.MOUNTS.encode())
        monkeypatch.setattr(os.path, "realpath", str)
        monkeypatch.setattr("sys.platform", "linux")
        assert kind == volume.network_mount(Path(where))


class TestSizes:
    def test_allocated(self, tmp_path: Path) -> None:
        """Home rule 22: what counts are the bytes that the disk gave, in all files below a directory."""
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "f").write_bytes(b"x" * 5000)
        with (tmp_path / "sparse").open("wb") as stream:
            stream.truncate(1 << 30)
        assert 5000 <= volume.allocated(tmp_path) < 1 << 20
        assert 0 == volume.allocated(tmp_path / "missing")
