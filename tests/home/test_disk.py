from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk
from tests.workshop import refuse, spy


class TestLocks:
    def test_one_holder(self, tmp_path: Path) -> None:
        """Home rule 15: a locked file has one holder, also within one process; closing gives the lock back."""
        first = disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
        assert first is not None
        assert disk.open_locked(tmp_path / "l", os.O_RDWR) is None
        disk.close_locked(first)
        second = disk.open_locked(tmp_path / "l", os.O_RDWR)
        assert second is not None
        disk.close_locked(second)

    def test_close_on_exec(self, tmp_path: Path) -> None:
        """Home rule 15: a locked descriptor is not inherited by programs that are executed."""
        held = disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
        assert held is not None
        assert not os.get_inheritable(held)
        disk.close_locked(held)

    def test_foreign_descriptor(self, tmp_path: Path) -> None:
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
    def test_fork(self, tmp_path: Path) -> None:
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

    def test_replaced_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 9: a lock on a file that is no longer the one at the path counts for nothing."""
        locked = dict(disk._locked)
        real = disk.same_file

        def replaced_meanwhile(descriptor: int, path: Path) -> bool:
            path.unlink()
            path.touch()
            return real(descriptor, path)

        monkeypatch.setattr(disk, "same_file", replaced_meanwhile)
        assert disk.take_lock(tmp_path / "l") is None
        assert locked == disk._locked

    def test_no_link_is_followed(self, tmp_path: Path) -> None:
        """Home rule 29: where a file should be, a symbolic link is refused, and nothing is opened behind it."""
        (tmp_path / "l").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="symbolic"):
            disk.open_locked(tmp_path / "l", os.O_RDWR, create=True)
        with pytest.raises(OSError, match="symbolic"):
            disk.read(tmp_path / "l")
        assert not (tmp_path / "elsewhere").exists()


class TestDirectories:
    def test_private(self, tmp_path: Path) -> None:
        """Directories are 0700, and one that was open to others is closed to them."""
        disk.ensure_directory(tmp_path / "new")
        assert 0o700 == (tmp_path / "new").stat().st_mode & 0o777
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o755)
        disk.ensure_directory(tmp_path / "open")
        assert 0o700 == (tmp_path / "open").stat().st_mode & 0o777

    def test_foreign(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 29: another user's directory is refused, and the error says what to do."""
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        with pytest.raises(HomeError, match=r"another user.*home="):
            disk.ensure_directory(tmp_path)

    @pytest.mark.parametrize("kind", ["link", "file"])
    def test_no_directory(self, tmp_path: Path, kind: str) -> None:
        """Home rule 29: a link or a file in the place of a directory is refused."""
        path = tmp_path / "d"
        (tmp_path / "real").mkdir()
        path.symlink_to(tmp_path / "real") if kind == "link" else path.touch()
        with pytest.raises(HomeError, match="not a directory of its own"):
            disk.ensure_directory(path)


class TestWriting:
    def test_new_file(self, tmp_path: Path) -> None:
        """A new file is 0600, whole and synced, and takes the place of an older one."""
        (tmp_path / "f").write_bytes(b"older and longer")
        assert 3 == disk.write_new(tmp_path / "f", [b"a", b"bc"])
        assert b"abc" == (tmp_path / "f").read_bytes()
        assert 0o600 == (tmp_path / "f").stat().st_mode & 0o777

    @pytest.mark.parametrize("step", ["write", "fsync"])
    def test_failed_sync(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        """Home rule 7: after a failed write or sync the file is gone; a sync is never tried again on the same one."""
        calls = refuse(monkeypatch, step, OSError(errno.EIO, "io"))
        with pytest.raises(OSError, match="io"):
            disk.write_new(tmp_path / "f", [b"abc"])
        assert [1] == calls
        assert [] == list(tmp_path.iterdir())

    def test_short_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file is whole though the system takes three bytes at a time."""
        real = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:3])))
        disk.write_new(tmp_path / "f", [b"abcdefgh"])
        assert b"abcdefgh" == (tmp_path / "f").read_bytes()

    @pytest.mark.parametrize("sync", [True, False])
    @pytest.mark.parametrize("step", ["write", "rename"])
    def test_replace_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, sync: bool) -> None:
        """A replacement that fails leaves the old content and no temporary file."""
        (tmp_path / "f").write_bytes(b"old")
        refuse(monkeypatch, step, OSError(errno.ENOSPC, "full"))
        with pytest.raises(OSError, match="full"):
            disk.replace(tmp_path / "f", b"new", sync=sync)
        assert [tmp_path / "f"] == list(tmp_path.iterdir())
        assert b"old" == (tmp_path / "f").read_bytes()

    def test_replace_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 7: the new content is synced before it gets the name, the directory after it."""
        steps = list[str]()
        for name in ("fsync", "rename"):
            spy(monkeypatch, os, name, lambda *_, name=name: steps.append(name))
        disk.replace(tmp_path / "f", b"new")
        assert ["fsync", "rename", "fsync"] == steps

    def test_read_bound(self, tmp_path: Path) -> None:
        """A file is read up to a bound, whatever stands in it."""
        (tmp_path / "f").write_bytes(b"x" * 100)
        assert 10 == len(disk.read(tmp_path / "f", 10))


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
        monkeypatch.setattr(disk, "read", lambda *_: self.MOUNTS.encode())
        monkeypatch.setattr(os.path, "realpath", str)
        monkeypatch.setattr("sys.platform", "linux")
        assert kind == disk.network_mount(Path(where))


class TestSizes:
    def test_allocated(self, tmp_path: Path) -> None:
        """Home rule 22: what counts are the bytes that the disk gave, in all files below a directory."""
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "f").write_bytes(b"x" * 5000)
        with (tmp_path / "sparse").open("wb") as stream:
            stream.truncate(1 << 30)
        assert 5000 <= disk.allocated(tmp_path) < 1 << 20
        assert 0 == disk.allocated(tmp_path / "missing")
