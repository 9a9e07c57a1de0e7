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
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.status import status
from tests import programs
from tests.cli.running import run
from tests.reading import homes

NOBODY = 65534


def journey(home: Path) -> None:
    """Every kind of file and directory that a home can have: log, seal, ship, end a log, ask, quarantine."""
    homes.log(home, range(30), kubo="memory:access")
    homes.ship(home, "memory:access")
    homes.end(home)
    homes.log(home, range(30), kubo="memory:access")
    homes.ship(home, "memory:access")
    homes.log(home, range(5), kubo="memory:access")
    requests.ask(Home(home).requests)
    reserve.make(Home(home).reserve)
    source = os.open(Home(home).key, os.O_RDONLY)
    quarantine.put(homes.room(home).quarantine, SegmentName("0" * 16, 1), source, 0, 5)
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
    homes.log(home, range(1))
    assert 0o700 == stat.S_IMODE(home.stat().st_mode) == stat.S_IMODE(homes.room(home).spool.stat().st_mode)
    with pytest.raises(HomeError, match="can be read by others"):
        keys.load(Home(home))


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

    with homes.Writing(home) as writing:
        writing.log(range(100, 130))
    run("ship", "--kubo", "memory:access", "--timeout", "0.2", home=home)
    requests.pending(Home(home).requests)

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
    homes.log(home, range(5))
    [path] = homes.room(home).spool.iterdir()
    replaced(home, f"audit/spool/{path.name}", tmp_path / "elsewhere")
    before = content(tmp_path / "elsewhere")
    homes.seal(home)
    assert [0] == [each["durable"] for each in status(home)]
    assert content(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("name", ["reserve", "requests"])
def test_a_link_to_nothing_makes_nothing(home, tmp_path, name):
    """A dangling link in the place of a file or directory that is still to be made leads to no new file elsewhere."""
    home.mkdir(mode=0o700)
    (home / name).symlink_to(tmp_path / "made")
    reserve.make(Home(home).reserve)
    with contextlib.suppress(OSError):
        requests.ask(Home(home).requests)
    assert not (tmp_path / "made").exists()


def test_a_home_that_is_a_link_is_refused(home, tmp_path):
    """A link to a home is refused when the handler is made, with the advice to name the directory."""
    (tmp_path / "real").mkdir(mode=0o700)
    home.symlink_to(tmp_path / "real")
    with pytest.raises(HomeError, match="name the directory"):
        IPFSHandler("audit", home=home)
    assert [] == list((tmp_path / "real").iterdir())


# -- other users


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user can reach, unlike pytest's own."""
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
        lambda: lock.take(Home(home)),
        lambda: keys.load(Home(home)),
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
    assert "a directory of another user" in str(told)
    assert "Name a home of your own" in str(told)
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
    homes.make(home, 10)
    homes.log(home, range(5))
    os.chown(home / name, NOBODY, NOBODY)
    ended = run("ship", "--kubo", "memory:another", "--timeout", "0.2", home=home)
    assert ended.code == 4
    assert "another user" in ended.err
    assert [10] == [each["sealed"] for each in status(home)]


def test_a_program_of_another_user_records_nothing(public, monkeypatch):
    """A home that changes hands while a program runs takes no further record; they are counted with the reason."""
    home = public / "home"
    if os.geteuid() == 0:
        body = """
            configure(keeper="none", max_spool_bytes=1 << 20)
            log.info("mine")
            os.chown(HOME, 65534, 65534)
            for i in range(1000): log.info("x" * 200)
            [h] = logging.getLogger().handlers
            print(json.dumps(h.status()[0]["dropped"]))
            os.chown(HOME, 0, 0)
        """
        ended = programs.run(home, body).clean()
        assert "the home is refused" in ended.out
        return
    handler = IPFSHandler("audit", home=home, keeper="none")
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    handler.handle(homes.record(1))
    assert {"the home is refused": 1} == handler.status()[0]["dropped"]
