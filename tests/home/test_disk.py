from __future__ import annotations

import ast
import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ipfs_log_handlers
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, volume
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.logging_home import refuse, spy


class TestDirectories:
    def test_private(self, tmp_path: Path) -> None:
        """Directories are 0700, and one that was open to others is closed to them."""
        disk.ensure_directory(tmp_path / "new")
        assert 0o700 == (tmp_path / "new").stat().st_mode & 0o777
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o755)
        disk.ensure_directory(tmp_path / "open")
        assert 0o700 == (tmp_path / "open").stat().st_mode & 0o777

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
    def test_directories_above_a_home_are_open_to_readers_at_most(self, tmp_path: Path, umask: int) -> None:
        """Home rule 29: missing directories above are made as `mkdir -p` makes them, but never writable for others."""
        before = os.umask(umask)
        try:
            disk.ensure_directory(HomeDir(tmp_path / "a" / "b" / "home").path)
        finally:
            os.umask(before)
        expected = (0o755 & ~umask) | 0o700
        assert [expected, expected, 0o700] == [
            stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/home")
        ]

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
        with pytest.raises(HomeError, match="this is not a directory"):
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

    def test_a_file_larger_than_its_kind_can_be_is_not_read(self, tmp_path: Path) -> None:
        """Its beginning can be had, where a part of it is of use."""
        (tmp_path / "f").write_bytes(b"x" * 100)
        with pytest.raises(OSError, match="100 bytes, where a file has at most 99"):
            disk.read(tmp_path / "f", 99)
        assert 100 == len(disk.read(tmp_path / "f", 100))
        assert 10 == len(disk.read_beginning(tmp_path / "f", 10))

    def test_a_sparse_file_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        """A terabyte of nothing takes no block on the disk, and would take all memory."""
        (tmp_path / "f").touch()
        os.truncate(tmp_path / "f", 1 << 40)
        with pytest.raises(OSError, match="at most"):
            disk.read(tmp_path / "f")


@pytest.fixture
def given(tmp_path: Path) -> HomeDir:
    """Make a home, and beside it a directory `mine` that is not part of it."""
    home = HomeDir(tmp_path / "home")
    (home.path / "audit" / "batches" / "000").mkdir(parents=True)
    (home.path / "audit" / "batches" / "000" / "000000.car").write_bytes(b"a batch")
    (tmp_path / "mine" / "000").mkdir(parents=True)
    (tmp_path / "mine" / "000" / "000000.car").write_bytes(b"mine")
    (tmp_path / "mine" / "000" / "work.tmp").write_bytes(b"mine")
    return home


class TestForeignHomes:
    """Home rule 29: below a home no link is followed, and only regular files are opened."""

    CALLS = (
        ("read", disk.read),
        ("read_part", lambda path: disk.read_part(path, 0, 10)),
        ("stream", disk.stream),
        ("status", disk.status),
        ("write_new", lambda path: disk.write_new(path, [b"theirs"])),
        ("replace", lambda path: disk.replace(path, b"theirs")),
        ("remove", disk.remove),
        ("cut", lambda path: disk.cut(path, 0)),
        ("rename", lambda path: disk.rename(path, path.with_name("other"))),
        ("link", lambda path: disk.link(path, path.with_name("other"))),
        ("lock", disk.take_lock),
        ("ensure_directory", lambda path: disk.ensure_directory(path.with_name("made"))),
        ("sync_directory", lambda path: disk.sync_directory(path.parent)),
    )

    @pytest.mark.parametrize("depth", [1, 2], ids=["the directory", "the one above"])
    @pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])
    def test_no_call_goes_through_a_link(
        self, given: HomeDir, tmp_path: Path, depth: int, call: Callable[[Path], object]
    ) -> None:
        """A link in the place of a directory, one above the file or two, leads nowhere."""
        path = given.path / "audit" / "batches" / "000" / "000000.car"
        link = path.parents[depth - 1]
        shutil.rmtree(link)
        link.symlink_to(tmp_path / "mine" / "000" if depth == 1 else tmp_path / "mine")
        before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*.*")}

        with pytest.raises(NotADirectoryError, match="a link or a file in the place of a directory"):
            call(path)
        assert before == {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*.*")}

    def test_listings_and_sweeps_stop_at_a_link(self, given: HomeDir, tmp_path: Path) -> None:
        """What is behind a link is not a part of the home: nothing is there."""
        directory = given.path / "audit" / "batches"
        shutil.rmtree(directory)
        directory.symlink_to(tmp_path / "mine")
        disk.sweep(directory / "000")

        assert [] == disk.names(directory) == disk.names(directory / "000") == disk.file_names(directory / "000")
        assert 0 == volume.allocated(directory) == volume.allocated(directory / "000")
        assert not disk.exists(directory / "000" / "000000.car")
        assert not disk.is_directory(directory)
        assert (tmp_path / "mine" / "000" / "work.tmp").exists()

    def test_the_home_itself_may_be_reached_by_a_link(self, given: HomeDir, tmp_path: Path) -> None:
        """Where a home lies is its reader's own business."""
        (tmp_path / "link").symlink_to(tmp_path / "home")
        home = HomeDir(tmp_path / "link")

        assert b"a batch" == disk.read(home.path / "audit" / "batches" / "000" / "000000.car")

    @pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "link"])
    @pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
    def test_only_regular_files_are_opened(
        self, given: HomeDir, kind: str, flags: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A pipe in the place of a file neither blocks nor is read; nothing is made of it either."""
        path = given.path / "odd"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as server:
                monkeypatch.chdir(given.path)  # the path of a socket has a limit of some 100 bytes
                server.bind("odd")
        elif kind == "directory":
            path.mkdir()
        else:
            path.symlink_to("audit/batches/000/000000.car")

        for opened in (disk.open_file, disk.new_file):
            with pytest.raises(OSError, match="in the place of a file"):
                opened(path, flags)
        assert disk.exists(path)

    def test_a_file_that_is_exchanged_as_it_is_opened_is_refused(
        self, given: HomeDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was opened counts, not what was looked at before."""
        path = given.path / "audit" / "batches" / "000" / "000000.car"
        real = os.stat

        def exchanging(*args: Any, **options: Any) -> os.stat_result:
            found = real(*args, **options)
            path.unlink()
            os.mkfifo(path)
            return found

        monkeypatch.setattr(os, "stat", exchanging)
        with pytest.raises(OSError, match="a pipe in the place of a file"):
            disk.open_file(path)

    def test_errors_name_the_whole_path(self, given: HomeDir) -> None:
        """A name that is relative to an open directory would tell nobody where."""
        missing = given.path / "audit" / "batches" / "000" / "000001.car"
        with pytest.raises(FileNotFoundError) as caught:
            disk.read(missing)
        assert str(missing) == caught.value.filename
        with pytest.raises(FileNotFoundError) as caught:
            disk.rename(missing, missing.with_name("other"))
        assert [str(missing), str(missing.with_name("other"))] == [caught.value.filename, caught.value.filename2]
        with pytest.raises(FileNotFoundError) as caught:
            disk.read(given.path / "wal" / "head")
        assert str(given.path / "wal") == caught.value.filename
        with pytest.raises(FileExistsError) as existing:
            disk.link(missing.with_name("000000.car"), missing.with_name("000000.car"))
        assert str(missing.with_name("000000.car")) == existing.value.filename

    def test_no_descriptor_stays_open(self, given: HomeDir) -> None:
        """Each walk closes what it opened, whether it came to an end or not."""
        before = len(os.listdir("/proc/self/fd"))
        path = given.path / "audit" / "batches" / "000" / "000000.car"
        for _ in range(20):
            disk.read(path)
            disk.replace(path, b"again")
            disk.names(path.parent)
            volume.allocated(given.path)
            with contextlib.suppress(OSError):
                disk.read(path / "deeper")
            with contextlib.suppress(OSError):
                disk.read(path.parent)

        assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("is_accelerated", [True, False], ids=["accelerated", "pure"])
class TestParts:
    """`read_part` reads in one step with the accelerator, and does the same without it."""

    @pytest.fixture(autouse=True)
    def _accelerated(self, is_accelerated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if not is_accelerated:
            monkeypatch.setattr("ipfs_log_handlers.home.paths.ACCELERATOR", None)

    @pytest.mark.parametrize(("offset", "size"), [(0, 100), (0, 0), (2, 3), (7, 5), (1 << 40, 5)])
    def test_a_part_ends_with_its_file(self, given: HomeDir, offset: int, size: int) -> None:
        """At most `size` bytes from an offset on; none after the end."""
        path = given.path / "audit" / "batches" / "000" / "000000.car"
        assert b"a batch"[offset : offset + size] == disk.read_part(path, offset, size)

    @pytest.mark.parametrize("name", ["audit/batches/000/000001.car", "audit/batches/001/000000.car", "wal/head"])
    def test_a_missing_file_is_named(self, given: HomeDir, name: str) -> None:
        """The error is that of a file that does not exist, below the home."""
        with pytest.raises(FileNotFoundError) as caught:
            disk.read_part(given.path / name, 0, 10)
        assert str(given.path / name).startswith(caught.value.filename)

    @pytest.mark.parametrize("kind", ["pipe", "directory", "link"])
    def test_only_a_regular_file_is_read(self, given: HomeDir, kind: str) -> None:
        """The error says what is in the place of a file."""
        path = given.path / "odd"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        else:
            path.symlink_to("audit/batches/000/000000.car")
        with pytest.raises(OSError, match="in the place of a file"):
            disk.read_part(path, 0, 10)

    def test_a_home_may_be_reached_by_a_link(self, given: HomeDir, tmp_path: Path) -> None:
        """Only links below a home are refused."""
        (tmp_path / "link").symlink_to(given.path)
        path = HomeDir(tmp_path / "link").path / "audit" / "batches" / "000" / "000000.car"
        assert b"a batch" == disk.read_part(path, 0, 10)


OS_CALLS = [
    "open",
    "stat",
    "lstat",
    "listdir",
    "scandir",
    "mkdir",
    "chmod",
    "unlink",
    "remove",
    "rename",
    "replace",
    "link",
    "symlink",
    "fsync",
    "fdatasync",
    "ftruncate",
]
PATH_METHODS = [
    "exists",
    "is_dir",
    "is_file",
    "is_symlink",
    "stat",
    "lstat",
    "unlink",
    "iterdir",
    "glob",
    "rglob",
    "mkdir",
    "read_bytes",
    "read_text",
    "write_bytes",
    "write_text",
    "open",
    "chmod",
    "rename",
    "touch",
    "rmdir",
]
PACKAGES = ("home", "keeper", "spool", "maintenance", "verify", "reader", "runtime")
OTHER_FILES = {
    ("home/lookup.py", "*"): "asks whether a directory is, or can become, a home",
    ("home/writable.py", "*"): "asks whether a directory is writable before it becomes a home, or is used as one",
    ("home/os_errors.py", "stat"): "says why a call failed, from the status of the path that it named",
    ("home/volume.py", "*"): "measures the files below a directory that `disk` has opened",
    ("spool/archiver.py", "*"): "reads the files that a program archives",
    ("spool/file_tree.py", "*"): "reads the files that a program archives",
    ("reader/identities.py", "*"): "reads the identities that a user names, in no home",
    ("reader/archive_content.py", "*"): "writes what it restores",
    ("reader/car_parts.py", "*"): "looks for CAR files that a user names, in no home",
    ("verify/stores.py", "open"): "opens a view on stores",
    ("reader/keyring.py", "open"): "opens an encrypted manifest",
    ("keeper/thread.py", "open"): "opens the null device in place of a descriptor that was closed",
    ("keeper/event_loop.py", "open"): "opens the null device in place of a descriptor that was closed",
}
"""Calls that are about no file of a home."""


DOOR = {f"home/{name}.py" for name in ("disk", "paths", "directories", "new_files", "locked_files")}


class TestOneDoor:
    """`disk`, with the four modules below it, is the only one that touches the files of a home."""

    def test_no_other_module_touches_the_files_of_a_home(self) -> None:
        """A call of `os` or of a path anywhere else would follow links."""
        package = Path(ipfs_log_handlers.__file__).parent
        found = []
        for name in PACKAGES:
            for path in sorted((package / name).glob("*.py")):
                module = f"{name}/{path.name}"
                if module in DOOR:
                    continue
                for node in ast.walk(ast.parse(path.read_text())):
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                        owner, call = ast.unparse(node.func.value), node.func.attr
                        touches = call in (OS_CALLS if owner == "os" else PATH_METHODS)
                        ours = (
                            owner in ("disk", "archives", "segments", "zstd")
                            or "head" in owner
                            or owner.endswith("keyring")
                            or owner[0].isupper()
                        )
                        if touches and not ours and not {(module, call), (module, "*")} & OTHER_FILES.keys():
                            found.append(f"{module}:{node.lineno} {ast.unparse(node.func)}")
                    if isinstance(node, (ast.Import, ast.ImportFrom)) and "fcntl" in ast.unparse(node):
                        found.append(f"{module}:{node.lineno} {ast.unparse(node)}")
        assert [] == found

    def test_no_module_calls_the_close_that_gevent_replaces(self) -> None:
        """Pitfall 23: `os.close` of gevent closes a directory when the event loop of the calling thread runs."""
        package = Path(ipfs_log_handlers.__file__).parent
        found = [
            f"{path.relative_to(package)}:{node.lineno}"
            for path in sorted(package.rglob("*.py"))
            for node in ast.walk(ast.parse(path.read_text()))
            if (isinstance(node, ast.Attribute) and "os.close" == ast.unparse(node))
            or (isinstance(node, ast.ImportFrom) and "os" == node.module and "close" in ast.unparse(node))
        ]
        assert [] == found
