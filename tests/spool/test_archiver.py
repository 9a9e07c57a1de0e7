"""The archiver: what is read becomes an archive that is whole or not there, with the CID that Kubo gives."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.home import disk, pending_archives, volume
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.spool.archiver import ArchiveMetadata, plain_json
from tests.support import file_trees, programs
from tests.support.archives import archiver, facts, waiting
from tests.support.logging_home import refuse


def leftovers(home: Path) -> list[str]:
    """Return the names of the files of waiting archives."""
    directory = home / "logs" / "archived"
    return sorted(os.listdir(directory)) if directory.exists() else []


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_same_cid_as_kubo(kubo, home, tmp_path, size):
    """A file has the CID that `ipfs add` prints, whatever its size."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))

    assert kubo.cli("add", "-Q", "-n", str(path)) == archiver(home).put(path, facts).root.text


def test_directory_has_the_cid_of_kubo(kubo, home, tmp_path):
    """A directory with everything in it has the CID that `ipfs add -r -H` prints."""
    path = file_trees.on_disk(tmp_path / "tree", file_trees.NESTED)
    made = archiver(home).put(path, facts)

    assert kubo.cli("add", "-r", "-Q", "-n", "-H", str(path)) == made.root.text
    assert ("directory", file_trees.blocks(file_trees.NESTED)[0]) == (made.kind, made.root)
    assert made.meta["files"] == 9


def test_bytes_are_a_file(home, tmp_path):
    """Bytes have the CID of a file with these bytes."""
    (tmp_path / "f").write_bytes(b"abc")

    assert archiver(home).put_bytes(b"abc", facts).root == archiver(home).put(tmp_path / "f", facts).root


def test_link_to_a_file_is_followed(home, tmp_path):
    """A path that is a symbolic link means what it points to."""
    (tmp_path / "f").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("f")

    assert archiver(home).put(tmp_path / "link", facts).root == archiver(home).put_bytes(b"abc", facts).root


def test_a_name_sorts_after_all_that_wait_whatever_the_clock_says(home, monkeypatch):
    """An archive of another process that waits stays the older one when the clock is set back."""
    older = archiver(home).put_bytes(b"old", facts)
    clock = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() - 86_400 * 10**9)
    newer = archiver(home).put_bytes(b"new", facts)

    assert [older, newer] == waiting(home)


@pytest.mark.parametrize("kind", ["pipe", "socket", "missing", "inside"])
def test_what_is_no_file_is_refused(home, tmp_path, kind):
    """Pipes, sockets and what is not there are refused at once, and nothing is left behind."""
    path = tmp_path / "directory" / "odd"
    path.parent.mkdir()
    if kind in {"pipe", "inside"}:
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))

    with pytest.raises((ConfigurationError, FileNotFoundError), match="odd"):
        archiver(home).put(path.parent if kind == "inside" else path, facts)
    assert [] == leftovers(home)


def test_name_that_is_no_text_is_refused(home, tmp_path):
    """A name that is no UTF-8 is refused with what to do."""
    path = tmp_path / "directory"
    path.mkdir()
    (path / os.fsdecode(b"\xff")).write_bytes(b"")

    with pytest.raises(FormatError, match="Rename"):
        archiver(home).put(path, facts)
    assert [] == leftovers(home)


def test_file_whose_name_is_no_text_is_kept_under_its_escapes(home, tmp_path):
    """A file itself needs no name in IPFS: bytes that are no UTF-8 stand as escapes in what its manifest says."""
    path = tmp_path / os.fsdecode(b"n\xff")
    path.write_bytes(b"kept")

    found = archiver(home).put(path, ArchiveMetadata(name=path.name, version=path.name, component=path.name))

    assert [found.meta[key] for key in ("name", "version", "component")] == ["n\\udcff"] * 3


def test_directory_in_which_the_home_lies_is_refused(home):
    """Who archives what is above the home would publish its signing key."""
    archiver(home).put_bytes(b"", facts)
    before = leftovers(home)

    for path in (home, home.parent):
        with pytest.raises(ConfigurationError, match="its signing key"):
            archiver(home).put(path, facts)
    assert leftovers(home) == before


def test_repeated_blocks_are_written_once(home, tmp_path):
    """Files that are the same take their space once."""
    path = tmp_path / "directory"
    path.mkdir()
    for number in range(10):
        (path / str(number)).write_bytes(b"x" * 100_000)
    made = archiver(home).put(path, facts)

    assert 100_000 < made.car_bytes < 110_000
    assert made.size == 1_000_000


@pytest.mark.parametrize("name", ["write", "pwrite", "fdatasync", "rename", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_disk_that_refuses(home, monkeypatch, name, number):
    """Whatever the disk refuses, the caller is told, and nothing is left that a keeper could take for an archive."""
    archiver(home).put_bytes(b"before", facts)
    with monkeypatch.context() as patch:
        refuse(patch, name, OSError(number, "refused"))
        with pytest.raises(OSError, match="refused"):
            archiver(home).put_bytes(b"abc", facts)

    assert ["before"] == [bytes_of(home, each) for each in waiting(home)]
    assert len(leftovers(home)) == 2


def bytes_of(home: Path, archive: pending_archives.Archive) -> str:
    """Return the bytes of an archive of one block."""
    return pending_archives.car_file(home / "logs" / "archived", archive.name).read_bytes()[-archive.size :].decode()


def test_room_is_left_for_records(home, monkeypatch):
    """An archive that would take the last of the disk is refused before a byte of it is written."""
    monkeypatch.setattr(volume, "free_bytes", lambda _: (16 << 20) + 2)

    with pytest.raises(OSError, match="free for records"):
        archiver(home).put_bytes(b"abc", facts)
    assert [] == leftovers(home)


def test_names_sort_as_they_were_made(home):
    """Archives of one process keep their order, also when the clock stands still."""
    one = archiver(home)
    made = [one.put_bytes(b"%d" % number, facts).name for number in range(50)]

    assert sorted(made) == made
    assert made == [each.name for each in waiting(home)]


def test_threads_at_once(home):
    """Threads that archive at once lose nothing."""
    one = archiver(home)
    threads = [
        threading.Thread(target=lambda: [one.put_bytes(os.urandom(9), facts) for _ in range(20)]) for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len({each.root for each in waiting(home)}) == 160


def test_leftovers_of_the_dead_are_swept(home):
    """What a killed process left half written goes; what another one is writing at this moment stays."""
    body = """
        from tests.support.archives import archiver, facts
        from pathlib import Path
        real = getattr(os, NAME)
        def die(*args, **options):
            if AFTER: real(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(os, NAME, die)
        archiver(Path(HOME)).put_bytes(b"abc", facts)
    """
    for name in ("pwrite", "fdatasync", "rename"):
        for after in (False, True):
            programs.run(home, body, NAME=name, AFTER=after)
    directory = HomeDir(home).subsystem_dir("logs").archived
    assert len(leftovers(home)) == 6
    alive = pending_archives.ArchiveName.new()
    held = disk.open_locked(directory / f"{alive}.tmp", os.O_RDWR, create=True)
    assert held is not None
    pending_archives.sweep(directory)

    assert [f"{alive}.tmp"] == leftovers(home)
    disk.close_locked(held)
    pending_archives.sweep(directory)
    assert [] == leftovers(home)


class TestFacts:
    """What is said of an archive can stand in a manifest, whatever it was."""

    def test_what_json_cannot_hold_becomes_text(self):
        """Odd values become their text, and the rest stays as it is."""
        odd = {
            "nan": float("nan"),
            "huge": 2**70,
            "path": Path("/x"),
            "set": {1},
            "surrogate": "\ud800",
            3: [1.5, None, True],
            "large": 1e300,
        }
        found = plain_json(odd)

        assert {"nan": "nan", "huge": str(2**70), "path": "/x", "set": "{1}", "surrogate": "\\ud800"}.items() <= (
            found.items()
        )
        assert found["3"] == [1.5, None, True]
        json.dumps(found, allow_nan=False)
        dagcbor.encode(found)

    def test_too_much_of_it_is_refused(self, home):
        """Metadata that no manifest can hold is refused, with what to do, and nothing is left behind."""
        with pytest.raises(FormatError, match="Write the metadata into a file"):
            archiver(home).put_bytes(b"abc", ArchiveMetadata(metadata={"much": "x" * 9000}))
        assert [] == leftovers(home)

    def test_too_deep_is_refused(self, home):
        """Metadata nested deeper than a manifest can hold is refused before it could stop the keeper."""
        deep: list[object] = []
        for _ in range(40):
            deep = [deep]
        with pytest.raises(FormatError):
            archiver(home).put_bytes(b"abc", ArchiveMetadata(metadata={"deep": deep}))
        assert [] == leftovers(home)
