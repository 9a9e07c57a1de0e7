"""A home is its owner's alone: modes whatever the umask, no link followed, nothing of another user's used."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import keys, lock, quarantine, requests, reserve
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.segments import SegmentName
from tests.support import programs, sample_homes
from tests.support.cli import run
from tests.support.sample_homes import status

NOBODY = 65534


def journey(home: Path) -> None:
    """Every kind of file and directory that a home can have: log, seal, ship, end a log, ask, quarantine."""
    sample_homes.log(home, range(30), kubo="memory:access")
    sample_homes.ship(home, "memory:access")
    sample_homes.end(home)
    sample_homes.log(home, range(30), kubo="memory:access")
    sample_homes.ship(home, "memory:access")
    sample_homes.log(home, range(5), kubo="memory:access")
    requests.ask(HomeDir(home).requests)
    reserve.make(HomeDir(home).reserve)
    source = os.open(HomeDir(home).key, os.O_RDONLY)
    quarantine.put(sample_homes.subsystem_dir(home).quarantine, SegmentName("0" * 16, 1), source, 0, 5)
    os.close(source)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_modes_whatever_the_umask(home, umask):
    """Each directory is 0700 and each file 0600, with a umask that gives all or that takes all."""
    before = os.umask(umask)
    try:
        journey(home)
    finally:
        os.umask(before)
    found = {path.relative_to(home): path.stat() for path in [home, *home.rglob("*")]}
    assert {"writer.key", "keeper.lock", "reserve", "requests", "audit"} <= {
        path.parts[0] for path in found if path.parts
    }
    assert {"spool", "batches", "head", "shipped", "settings.json", "quarantine", "former"} <= {
        path.parts[1] for path in found if len(path.parts) > 1
    }
    modes = {(stat.S_ISDIR(about.st_mode), oct(stat.S_IMODE(about.st_mode))) for about in found.values()}
    assert {(True, "0o700"), (False, "0o600")} == modes


def test_an_open_home_is_closed(home):
    """Directories that somebody opened to others are closed when they are used, and an open key is refused."""
    journey(home)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    sample_homes.log(home, range(1))
    assert 0o700 == stat.S_IMODE(sample_homes.subsystem_dir(home).spool.stat().st_mode)
    assert 0o777 == stat.S_IMODE(home.stat().st_mode)  # nobody but its owner says who may enter the home itself
    with pytest.raises(HomeError, match="other users can read the key"):
        keys.load(HomeDir(home))


# -- links

FILES = [
    "writer.key",
    "keeper.lock",
    "audit/head",
    "audit/settings.json",
    "audit/batches/000/000001.car",
    "audit/shipped/*",
]
DIRECTORIES = ["audit", "audit/spool", "audit/batches", "audit/batches/000", "audit/shipped", "audit/quarantine"]
DIRECTORIES += ["audit/former", "requests"]


def replaced(home: Path, name: str, elsewhere: Path) -> Path:
    """Move a part of a home away and leave a link to it; where the link stands."""
    [path] = home.glob(name)
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    return path


def content(path: Path) -> dict[str, bytes]:
    """Every file below a path, its modes and its bytes."""
    every = [path, *path.rglob("*")]
    return {f"{each} {each.stat().st_mode:o}": each.read_bytes() if each.is_file() else b"" for each in every}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FILES, *DIRECTORIES])
def test_no_link_is_written_through(home, tmp_path, name):
    """A link in the place of any part of a home: what it leads to keeps every byte, name and mode of it."""
    journey(home)
    elsewhere = tmp_path / "elsewhere"
    link = replaced(home, name, elsewhere)
    old = elsewhere / "old.tmp"
    if elsewhere.is_dir():
        old.touch()
        os.utime(old, (0, 0))  # what a sweep, or the end of an old request, would remove
    before = content(elsewhere)

    with sample_homes.Writing(home) as writing:
        writing.log(range(100, 130))
    run("ship", "--kubo", "memory:access", "--timeout", "0.2", home=home)
    requests.pending(HomeDir(home).requests)

    assert content(elsewhere) == before
    assert not link.is_symlink() or link.readlink() == elsewhere


@pytest.mark.parametrize("name", ["audit/batches/000/000001.car", "audit/head", "writer.key"])
def test_no_link_is_read_through(home, tmp_path, name):
    """Where a file is a link, what it leads to is not taken for a part of the log."""
    journey(home)
    replaced(home, name, tmp_path / "elsewhere")
    assert run("verify", home=home).code != 0


def test_a_segment_that_is_a_link_is_none(home, tmp_path):
    """A segment that is a link is read by nobody, and stays where it is."""
    sample_homes.log(home, range(5))
    [path] = sample_homes.subsystem_dir(home).spool.iterdir()
    replaced(home, f"audit/spool/{path.name}", tmp_path / "elsewhere")
    before = content(tmp_path / "elsewhere")
    sample_homes.seal(home)
    assert [0] == [each["durable"] for each in status(home)]
    assert content(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("name", ["reserve", "requests"])
def test_a_link_to_nothing_makes_nothing(home, tmp_path, name):
    """A dangling link in the place of a file or directory that is still to be made leads to no new file elsewhere."""
    home.mkdir(mode=0o700)
    (home / name).symlink_to(tmp_path / "made")
    reserve.make(HomeDir(home).reserve)
    with contextlib.suppress(OSError):
        requests.ask(HomeDir(home).requests)
    assert not (tmp_path / "made").exists()


def test_a_home_that_is_a_link_is_refused(home, tmp_path):
    """A link to a home is refused when the handler is made, with the advice to name the directory."""
    (tmp_path / "real").mkdir(mode=0o700)
    home.symlink_to(tmp_path / "real")
    with pytest.raises(HomeError, match="name the directory"):
        IPFSHandler("audit", home=home)
    assert [] == list((tmp_path / "real").iterdir())


# -- directories of something else

OTHER_THINGS = [
    "somebody-elses.log",
    ".bashrc",
    "project/work.txt",
    "spool/mail/root",
    "head",
    "audit/notes.txt",
    "src/",
]


@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o700])
@pytest.mark.parametrize("name", OTHER_THINGS)
def test_a_directory_that_holds_other_things_is_refused(tmp_path, name, mode):
    """`home="/tmp"` is refused when the handler is made; not a mode is changed, and no file is made."""
    place = tmp_path / "place"
    path = place / name
    path.parent.mkdir(parents=True)
    path.write_text("x")
    (place / "notes.txt").write_text("x")
    place.chmod(mode)
    before = content(place)

    for step in (lambda: IPFSHandler("audit", home=place), lambda: lock.take(HomeDir(place))):
        with pytest.raises(HomeError, match="the directory contains files of other programs"):
            step()
    assert before == content(place)


@pytest.mark.parametrize("name", [".gitkeep", "lost+found", "reserve", "audit/spool", "requests/1-abc", "wal"])
def test_a_directory_in_which_a_home_was_begun_is_taken(home, name):
    """What another process makes at this moment, and what tools leave in an empty directory, are no other things."""
    (home / name).mkdir(parents=True)
    home.chmod(0o755)
    sample_homes.log(home, range(3))

    assert [3] == [found["durable"] for found in status(home) if found["subsystem"] == "audit"]
    assert 0o755 == stat.S_IMODE(home.stat().st_mode)


def test_other_things_in_a_home_are_left_alone(home):
    """Where a keeper has worked, a file that somebody put there stops nothing."""
    sample_homes.make(home, 10)
    (home / "notes.txt").write_text("mine")
    sample_homes.make(home, 10)

    assert [20] == [found["sealed"] for found in status(home)]
    assert "mine" == (home / "notes.txt").read_text()


# -- other users


@pytest.fixture
def public() -> Iterator[Path]:
    """Make a directory that every user can reach, unlike that of pytest."""
    path = Path(tempfile.mkdtemp(prefix="ipfs-logs-access-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_another_user(monkeypatch: pytest.MonkeyPatch, directory: Path, work: Callable[[], object]) -> object:
    """Do something as another user: for real where this one may become nobody, else by an owner that is feigned."""
    if os.geteuid() != 0:
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: NOBODY)
            return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told: object = "nothing"
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            told = work()
        except BaseException as error:  # noqa: BLE001 - the parent judges
            told = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, json.dumps(told).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        found: object = json.loads(stream.read())
    os.waitpid(child, 0)
    return found


def attempt(home: Path) -> str:
    """Make a handler, log, be the keeper: the first thing that is refused."""
    for step in (
        lambda: IPFSHandler("audit", home=home, keeper="none").close(),
        lambda: lock.take(HomeDir(home)),
        lambda: keys.load(HomeDir(home)),
    ):
        try:
            step()
        except OSError as error:
            return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def test_a_home_of_another_user_is_refused(public, monkeypatch):
    """Another user is refused as the handler is made, by name of the owner, and reads no byte."""
    home = public / "home"
    journey(home)
    before = content(home)
    told = as_another_user(monkeypatch, public, lambda: attempt(home))
    assert str(told).startswith("HomeError: ")
    assert "the directory belongs to another user" in str(told)
    assert "to a directory of your own" in str(told)
    assert content(home) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_root_uses_nobody_elses_home(public):
    """Root may do anything, and is refused all the same: its records would belong to whoever owns the directory."""
    home = public / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    assert "HomeError" in attempt(home)
    assert [] == list(home.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("name", ["audit", "audit/spool", "audit/batches", "writer.key"])
def test_a_part_of_another_user_is_refused(home, name):
    """A directory or key in the home that belongs to somebody else is not used: nothing is sealed, the trouble told."""
    sample_homes.make(home, 10)
    sample_homes.log(home, range(5))
    os.chown(home / name, NOBODY, NOBODY)
    ended = run("ship", "--kubo", "memory:another", "--timeout", "0.2", home=home)
    assert ended.code == 4
    assert "another user" in ended.err
    assert [10] == [each["sealed"] for each in status(home)]


def test_a_program_of_another_user_records_nothing(public, monkeypatch):
    """A home that changes hands while a program runs gets no further segment; what is lost is counted and said."""
    home = public / "home"
    if os.geteuid() == 0:
        body = """
            configure(keeper="none", max_spool_bytes=1 << 20)
            log.info("mine")
            os.chown(HOME, 65534, 65534)
            for i in range(6000): log.info("x" * 200)
            [h] = logging.getLogger().handlers
            print(json.dumps(h.status()[0]["dropped"]))
            os.chown(HOME, 0, 0)
        """
        ended = programs.run(home, body)
        assert "the home is refused" in ended.out
        assert len(json.loads(ended.out)) == ended.err.count("\n")  # one line for each reason
        assert "the directory belongs to another user" in ended.err
        return
    handler = IPFSHandler("audit", home=home, keeper="none")
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    handler.handle(sample_homes.record(1))
    assert {"the home is refused": 1} == handler.status()[0]["dropped"]
