"""Bit rot: any byte of any file is damaged. Logging goes on, what is whole is read, the rest is named and rebuilt."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.policy import Policy, load_policy
from ipfs_log_handlers.reader.dataset import Dataset, Gap
from ipfs_log_handlers.testing import FakeKubo
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import oracle, sample_homes, syscall_faults
from tests.support.archives import managing
from tests.support.cli import command, run
from tests.support.logging_home import as_original, durable, lines, logging_to, put_segment, seal_home
from tests.support.programs import environment

RECORDS = 3
CHANGES = "write,fsync,rename,link,unlink,mkdir"
STORE = "memory:rot"
DEFAULT = Policy.default(Path("/h"), "logs")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about power cuts: no sync."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


def flipped(data: bytes, at: int, chance: random.Random) -> bytes:
    """Return the bytes with one bit, or all bits, of one byte flipped."""
    return data[:at] + bytes([data[at] ^ chance.choice([0xFF, 1 << chance.randrange(8)])]) + data[at + 1 :]


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.soak)])
def test_every_byte_of_a_segment(tmp_path, stride):
    """Each byte of a segment in turn: all records but the one it belongs to are sealed; the loss is counted, named.

    `make test` damages every third byte, `make soak` each.
    """
    chance = random.Random(9)
    records = lines(1, RECORDS)
    whole = put_segment(HomeDir(tmp_path / "whole").subsystem_dir("logs"), records).read_bytes()
    begins = [
        len(whole) - len(records) + sum(map(len, lines(1, n).splitlines(keepends=True))) for n in range(RECORDS + 1)
    ]
    for at in range(0, len(whole), stride):
        home = tmp_path / str(at)
        path = put_segment(HomeDir(home).subsystem_dir("logs"), lines(1, RECORDS))
        assert whole == path.read_bytes()
        path.write_bytes(flipped(whole, at, chance))
        if at % 50 == 0:
            [told] = [each for each in run("doctor", home=home).objects if each["check"] == "logs segment"]
            assert "are not a line" in told["found"]
        assert 1 == seal_home(home), at
        own = next(n for n, end in enumerate(begins) if at < end)  # 0: the header
        [log] = oracle.read_home(home)["logs"]
        assert [seq for seq in range(1, RECORDS + 1) if seq != own] == [record["seq"] for record in log.records], at
        [kept] = os.listdir(home / "logs" / "quarantine")
        if at % 50 == 0:
            named = [each for each in run("doctor", home=home).objects if each["check"] == "logs quarantine"]
            assert kept in named[0]["found"]
            (status,) = run("status", home=home).objects
            assert 1 == status["quarantined"]


class Rotting:
    """A home with three shipped batches and a line in its spool, which is damaged and put right again and again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        MemoryStore.forget()
        with logging_to(home, kubo=STORE, batch={"records": 4}) as log:
            for number in range(12):
                log.info("r%d", number)
        sample_homes.ship(home, STORE)
        assert {12} == {each["shipped"] for each in run("status", home=home).objects}
        self.policy = load_policy(home / "logs" / "settings.json", DEFAULT)
        self._files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}

    def paths(self) -> list[Path]:
        """Return every file whose bytes say something."""
        files = (path for path in self._files if path.name not in ("keeper.lock", "reserve"))
        return sorted(path for path in files if path.parent.name != "reserve-files")

    def damage(self, path: Path, chance: random.Random) -> int:
        """Damage one byte of one file; which."""
        data = self._files[path]
        at = chance.randrange(len(data))
        path.write_bytes(flipped(data, at, chance))
        return at

    def restore(self) -> None:
        """Restore every file; the head counts as the one that was there, for a copied head ends its log."""
        for path in self.home.rglob("*"):
            if path.is_file():
                path.unlink()
        for path, data in self._files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o600)
        as_original(self.home / "logs")
        for path in sorted(self.home.rglob("former/*"), reverse=True):
            if path.is_dir():
                for each in sorted(path.rglob("*"), reverse=True):
                    each.rmdir()
                path.rmdir()

    def original(self, path: Path) -> bytes:
        """Return the original content of a file."""
        return self._files[path]

    def events(self) -> tuple[list[str], list[Gap]]:
        """Return the records that `cat` shows, and its gaps."""
        gaps: list[Gap] = []
        with Dataset(HomeDir(self.home), gaps.append) as dataset:
            return [record["event"] for record in dataset.records("logs")], gaps


def named(home: Path) -> list[str]:
    """Return the problems that `verify` and `doctor` find."""
    wrong = [each["check"] for each in run("doctor", home=home).objects if each["state"] != "ok"]
    if run("verify", "--no-memory", home=home).code:  # `restore` sets the home back
        wrong.append("verify")
    return [each for each in wrong if each != "store"]  # memory does not sync, and says so


@pytest.fixture
def rotting(home: Path) -> Iterator[Rotting]:
    """One for the test."""
    yield Rotting(home)
    MemoryStore.forget()


def look(rotting: Rotting, path: Path, chance: random.Random) -> None:
    """Damage one byte, then: it is named, logging goes on, what is whole is read, a repair makes it whole again."""
    what = f"{path.name} byte {rotting.damage(path, chance)}"
    found = named(rotting.home)
    settings_as_before = path.name == "settings.json" and load_policy(path, DEFAULT) == rotting.policy
    # The index is a cache, a damaged row of it counts as no row; of `order` only the length says something.
    if path.name not in {"index", "order"} and not settings_as_before:
        assert found, what
    shown, gaps = rotting.events()
    expected = [f"r{n}" for n in range(12)]
    if path.suffix == ".car" and gaps:
        index = int(path.stem)
        assert [index] == [gap.index for gap in gaps], what
        expected = [event for n, event in enumerate(expected) if n // 4 != index]
    assert expected == shown, what

    evidence = path.read_bytes()
    ended = run("doctor", "--repair", home=rotting.home)
    assert 0 == ended.code, (what, ended.out, ended.err)
    if found and "writer.key" not in found and any(each["check"].startswith("repair") for each in ended.objects):
        kept = [each.read_bytes() for each in rotting.home.rglob("*") if each.is_file() and ".0" in each.name]
        assert evidence in kept, what
    assert not [each for each in named(rotting.home) if "quarantine" not in each], what
    with logging_to(rotting.home, kubo=STORE, batch={"records": 4}) as log:
        log.info("after")
    assert "after" in [record["event"] for record in durable(rotting.home)]
    sample_homes.ship(rotting.home, STORE)
    shown, gaps = rotting.events()
    assert ([f"r{n}" for n in range(12)] + ["after"], []) == (shown, gaps), what
    assert 0 == run("verify", "--no-memory", home=rotting.home).code, (
        what,
        run("verify", "--no-memory", home=rotting.home).out,
    )
    (status,) = run("status", home=rotting.home).objects
    assert (13, 13, 13) == (status["durable"], status["sealed"], status["shipped"]), (what, status)


def test_any_file_of_a_home(rotting):
    """Some bytes of each file: batches, head, mark, settings, key."""
    chance = random.Random(4)
    assert {"000000.car", "000002.car", "head", "settings.json", "writer.key"} <= {p.name for p in rotting.paths()}
    for path in rotting.paths():
        for _ in range(4):
            look(rotting, path, chance)
            rotting.restore()


@pytest.mark.soak
def test_many_bytes_of_any_file(rotting):
    """The same for four hundred bytes of each file."""
    chance = random.Random(5)
    for path in rotting.paths():
        for _ in range(400):
            look(rotting, path, chance)
            rotting.restore()


@pytest.mark.parametrize("what", ["batch", "head", "mark", "settings", "key"])
def test_nothing_stops_logging(rotting, what):
    """Without a repair, too: a record is durable at once, and nothing that is whole is lost by the next keeper."""
    paths = {
        "batch": rotting.home / "logs/batches/000/000002.car",
        "head": rotting.home / "logs/head",
        "mark": next((rotting.home / "logs/shipped").iterdir()),
        "settings": rotting.home / "logs/settings.json",
        "key": rotting.home / "writer.key",
    }
    chance = random.Random(1)
    for _ in range(5):
        rotting.damage(paths[what], chance)
        with logging_to(rotting.home, kubo=STORE) as log:
            log.info("after")
        sample_homes.ship(rotting.home, STORE)
        shown, gaps = rotting.events()
        lost = {
            event for gap in gaps for event in (f"r{n}" for n in range(4 * (gap.index or 0), 4 * (gap.index or 0) + 4))
        }
        assert [event for event in [f"r{n}" for n in range(12)] + ["after"] if event not in lost] == shown
        assert what == "batch" or not lost
        rotting.restore()


def test_what_no_store_has(home):
    """A payload that is damaged and nowhere else is told as lost; what is left of the file stays as it is."""
    sample_homes.make(home, 20)
    path = sample_homes.subsystem_dir(home).current.batches / "000" / "000000.car"
    data = path.read_bytes()
    path.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
    damaged = path.read_bytes()
    ended = run("doctor", "--repair", home=home)
    assert 2 == ended.code
    (told,) = [each for each in ended.objects if each["check"] == "repair audit batch 0"]
    assert ("fail", True) == (told["state"], "is neither in the home nor at a store" in told["found"])
    assert damaged == path.read_bytes()
    gaps: list[Gap] = []
    with Dataset(HomeDir(home), gaps.append) as dataset:
        assert list(range(10, 20)) == sample_homes.numbers(dataset.records("audit"))
    assert [0] == [gap.index for gap in gaps]


def test_an_archive(home, tmp_path):
    """Damage in the blocks of an archived directory is found in a store; each block comes back as it was."""
    MemoryStore.forget()
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    for name, size in (("a", 3 << 20), ("b", 0), ("below/c", 100)):
        (tree / name).write_bytes(random.Random(size).randbytes(size))
    with managing(home, kubo=STORE) as manager:
        manager.store(tree)
    sample_homes.ship(home, STORE)
    [path] = home.rglob("*.payload.car")
    whole = path.read_bytes()
    chance = random.Random(2)
    for at in [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(6))]:
        path.write_bytes(flipped(whole, at, chance))
        assert 2 == run("doctor", home=home).code
        ended = run("doctor", "--repair", home=home)
        assert 0 == ended.code, (at, ended.out)
        assert oracle._car(whole) == oracle._car(path.read_bytes())
    path.unlink()
    assert 0 == run("doctor", home=home).code  # a store has confirmed it: it may have left the home
    assert 0 == run("verify", home=home).code


def test_leftovers(home):
    """Temporary files that a killed keeper left go to quarantine, and nowhere else."""
    sample_homes.make(home, 10)
    subsystem_dir = sample_homes.subsystem_dir(home)
    left = [subsystem_dir.path / "head.77.tmp", subsystem_dir.current.batches / "000" / "000000.car.77.tmp"]
    for path in left:
        path.write_bytes(b"half")
    assert 2 == sum("leftover" in each["check"] for each in run("doctor", home=home).objects)
    ended = run("doctor", "--repair", home=home)
    assert 0 == ended.code
    assert not any(path.exists() for path in left)
    assert [b"half", b"half"] == [path.read_bytes() for path in subsystem_dir.quarantine.iterdir()]


def test_all_batches_from_a_store(rotting):
    """Every batch of a log is gone, and the stores have them: the head names the newest, each names the one before."""
    path = rotting.home / "logs" / "batches"
    shutil.rmtree(path)
    ended = run("doctor", "--repair", home=rotting.home)
    assert (0, 3) == (ended.code, sum("each block as it was" in each["found"] for each in ended.objects))
    for each in path.rglob("*.car"):
        assert rotting.original(each) == each.read_bytes()
    assert ([f"r{n}" for n in range(12)], []) == rotting.events()


def repair_killed(home: Path, daemon: FakeKubo, at: int) -> bool:
    """Damage a bit of everything, kill a repair at one of its calls, repair once more; whether it was killed."""
    sample_homes.make(home, 30, kubo=daemon.url)
    sample_homes.ship(home, daemon.url)
    subsystem_dir = sample_homes.subsystem_dir(home)
    for path in (
        subsystem_dir.current.batches / "000" / "000001.car",
        subsystem_dir.current.head,
        *subsystem_dir.current.shipped.iterdir(),
    ):
        data = path.read_bytes()
        path.write_bytes(flipped(data, len(data) // 2, random.Random(at)))
    (subsystem_dir.path / "head.77.tmp").write_bytes(b"half")
    told = syscall_faults.environment(home, "kill-after" if at % 2 else "kill-before", calls=CHANGES, at=at)
    first = subprocess.run(
        command("--home", home, "doctor", "--repair"), env={**environment(), **told}, capture_output=True
    )
    assert first.returncode in (0, -signal.SIGKILL)
    again = run("doctor", "--repair", home=home)
    assert 0 == again.code, (at, again.out, again.err)
    [log] = oracle.read_home(home)["audit"]
    assert list(range(30)) == [record["number"] for record in log.records]
    assert 0 == run("verify", home=home).code, at
    return first.returncode != 0


def test_a_repair_that_is_killed(tmp_path):
    """A repair that dies between two steps is done by the next one."""
    with FakeKubo() as daemon:
        assert all(repair_killed(tmp_path / str(at), daemon, at) for at in (3, 10, 16, 25))


@pytest.mark.soak
def test_a_repair_that_is_killed_anywhere(tmp_path):
    """The same at every call that it makes."""
    with FakeKubo() as daemon:
        at = 1
        while repair_killed(tmp_path / str(at), daemon, at):
            at += 1
    assert at > 25


def test_repair_needs_the_lock(home):
    """Under a keeper that works nothing is repaired."""
    sample_homes.make(home, 10)
    process = sample_homes.Writing(home)
    with process:
        from ipfs_log_handlers.home import lock

        held = lock.take(HomeDir(home))
        assert held is not None
        ended = run("doctor", "--repair", home=home)
        held.release()
    assert 2 == ended.code
    assert "is the keeper of this home" in ended.err


def test_settings_come_back_from_marks(rotting):
    """Settings that are no JSON any more get their stores back from the marks, when no segment tells them."""
    path = rotting.home / "logs" / "settings.json"
    assert [] == os.listdir(rotting.home / "logs" / "spool")
    path.write_bytes(b"\xff" + path.read_bytes())
    assert 0 == run("doctor", "--repair", home=rotting.home).code
    assert [STORE] == json.loads(path.read_bytes())["stores"]
