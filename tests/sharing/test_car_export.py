"""CAR files with whole logs: what is in them, in which order, and what is noticed when they are changed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.api import Gap
from ipfs_log_handlers.format import car, dag, dagcbor
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import archives, mutations, sample_homes
from tests.support.cli import run
from tests.support.programs import environment

STORE = "memory:car-export"


@pytest.fixture(autouse=True)
def store() -> Iterator[MemoryStore]:
    """Return the store at `STORE`."""
    yield MemoryStore.named("car-export")
    MemoryStore.forget()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name the file that is exported to."""
    return tmp_path / "log.car"


def read(file: Path, home: Path, gaps: list[Gap] | None = None) -> list[dict]:
    """Read and verify all records of a file with the key of a home."""
    with open_dataset(
        file, keys=[sample_homes.key_of(home)], verify="chain", on_gap=None if gaps is None else gaps.append
    ) as dataset:
        return list(dataset)


def test_a_whole_log_is_read_and_verified_from_the_file(home, file):
    """The only root is the snapshot, and every block below it is there once, in the order of `ipfs dag export`."""
    sample_homes.make(home, 60)
    made = open_home(home).export_car(file)
    (snapshot,) = open_home(home).snapshot()
    roots, blocks = car.decode(file.read_bytes())
    assert [root.text for root in roots] == [snapshot.cid] == [log.cid for log in made.logs]
    assert (made.size, made.blocks) == (file.stat().st_size, len(blocks))
    assert blocks == list(dag.walk(roots, dict(blocks).__getitem__))
    assert read(file, home) == list(open_dataset(home))
    with open_dataset(file) as dataset:
        (report,) = dataset.verify()
    assert (report.ok, report.batches, report.records) == (True, 6, 60)


def test_two_logs_and_an_archive_go_into_one_file(home, file):
    """There is a root for each log; the archive's blocks are in the file too."""
    sample_homes.make(home, 20)
    sample_homes.make(home, 20, "wal")
    (home.parent / "note").write_bytes(b"x" * 3_000_000)
    archives.archiver(home, "wal").put(home.parent / "note", archives.facts)
    sample_homes.seal(home)
    made = open_home(home).export_car(file)
    assert [(log.subsystem, log.first, log.batches) for log in made.logs] == [("audit", 0, 2), ("wal", 0, 3)]
    assert made.size > 1_000_000
    assert len(read(file, home)) == 40
    one = open_home(home).export_car(file, ["audit"])
    assert [log.subsystem for log in one.logs] == ["audit"]
    assert len(read(file, home)) == 20


def times(home: Path) -> list[str]:
    """Return the time of the first record of each batch."""
    return [record["time"] for record in list(open_dataset(home))[::10]]


def test_a_range_has_the_batches_with_a_record_of_this_time(home, file):
    """With `--until` the root is the snapshot of a shorter log; with `--since` the roots are head and manifests."""
    for first in range(0, 60, 10):
        sample_homes.log(home, range(first, first + 10))
        sample_homes.seal(home)
    begins = times(home)
    expected = list(open_dataset(home))
    made = open_home(home).export_car(file, until=begins[4])
    assert [(log.first, log.batches) for log in made.logs] == [(0, 4)]
    assert read(file, home) == expected[:40]
    made = open_home(home).export_car(file, since=begins[2], until=begins[5])
    assert [(log.first, log.batches) for log in made.logs] == [(2, 3)]
    assert read(file, home) == expected[20:50]
    roots, blocks = car.decode(file.read_bytes())
    assert len(roots) == 3
    assert blocks == list(dag.walk(roots, dict(blocks).__getitem__))
    assert open_home(home).export_car(file.with_name("none.car"), since="2999-01-01").logs == ()
    assert not file.with_name("none.car").exists()


def test_payloads_that_have_left_the_home_come_from_a_store(home, file):
    """Without a store that has them there is no file, and the exit code is 4."""
    sample_homes.log(home, range(30))
    sample_homes.ship(home, STORE)
    expected = list(open_dataset(home))
    sample_homes.strip(home, 1)
    ended = run("export", file, home=home)
    assert (ended.code, file.exists()) == (4, False)
    assert "batch 1" in ended.err
    assert list(file.parent.glob("*.tmp")) == list(file.parent.glob(".*.tmp")) == []
    open_home(home).export_car(file, stores=[STORE])
    assert read(file, home) == expected


def test_a_damaged_batch_makes_no_file(home, file):
    """Nothing is exported that would not be accepted; an older file stays."""
    sample_homes.make(home, 30)
    open_home(home).export_car(file)
    before = file.read_bytes()
    path = sample_homes.batches_of(home).file(1)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert run("export", file, home=home).code == 3
    assert file.read_bytes() == before


class TestChanged:
    """No change of a file goes unnoticed."""

    @pytest.fixture
    def blocks(self, home, file) -> list[tuple[Cid, bytes]]:
        """Export a small log, and return its blocks."""
        sample_homes.make(home, 30)
        open_home(home).export_car(file)
        return car.decode(file.read_bytes())[1]

    def noticed(self, file: Path, home: Path, expected: list[dict], data: bytes) -> bool:
        """Return whether a reader reports a gap, reads nothing else than the log, and never a record that is not."""
        file.write_bytes(data)
        gaps: list[Gap] = []
        try:
            records = read(file, home, gaps)
        except Exception:  # noqa: BLE001 - an error is noticed, too
            return True
        assert all(record in expected for record in records)
        return bool(gaps) or records != expected

    @pytest.mark.slow
    def test_each_flipped_bit(self, home, file, blocks):
        """Each bit of each block and of its CID: the pair does not fit any more."""
        flips = 0
        for cid, block in blocks:
            for mutant in mutations.flips(cid + block):
                flips += 1
                head, changed = mutant[:36], mutant[36:]
                assert head != cid or not cid.matches(changed)
        assert flips > 20_000
        whole, expected = file.read_bytes(), list(open_dataset(home))
        assert all(self.noticed(file, home, expected, mutant) for mutant in list(mutations.flips(whole))[::997])

    def test_cuts_and_dropped_blocks(self, home, file, blocks):
        """A file without its last bytes, or without one of its blocks."""
        whole, expected = file.read_bytes(), list(open_dataset(home))
        roots = car.decode(whole)[0]
        assert all(self.noticed(file, home, expected, whole[:end]) for end in range(0, len(whole), 211))
        for left_out in range(len(blocks)):
            rest = blocks[:left_out] + blocks[left_out + 1 :]
            assert self.noticed(file, home, expected, car.encode(roots, rest))

    def test_a_manifest_of_a_sister_log(self, home, file, blocks, tmp_path):
        """In the place of one of ours, the root has not its CID; a new root has not the signed manifests."""
        whole, expected = file.read_bytes(), list(open_dataset(home))
        (root,) = car.decode(whole)[0]
        sister = tmp_path / "sister"
        sample_homes.make(sister, 30)
        (sister / "writer.key").write_bytes((home / "writer.key").read_bytes())
        other = sample_homes.batches_of(sister).facts(1)
        held = dict(blocks)
        value = dagcbor.decode(held[root])
        assert isinstance(value, dict)
        value["links"][1] = other.cid
        changed = dagcbor.encode(value)
        spliced = Cid.of(root.codec, changed)
        others = list(sample_homes.batches_of(sister).blocks(1))
        new = [(spliced, changed), *blocks[1:], *others]
        assert self.noticed(file, home, expected, car.encode([spliced], new))


def test_the_command_line_says_what_it_wrote(home, file):
    """Options that choose records are refused; an empty home has nothing to export."""
    assert run("export", file, home=home).code == 2
    sample_homes.make(home, 20)
    (made,) = run("export", file, home=home).objects
    assert made["logs"][0]["batches"] == 2
    for options in (["-l", "error"], ["--fields", "time"], ["--source", home], ["-w", "a=1"]):
        ended = run("export", file, *options, **({} if "--source" in options else {"home": home}))
        assert (ended.code, "whole batches" in ended.err) == (2, True)
    assert run("export", file.parent, home=home).code == 2


KILLED = """
import os, signal, sys
from ipfs_log_handlers import open_home
from ipfs_log_handlers.format import car
left = int(sys.argv[3])
real = car.section
def killing(*given):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)
car.section = killing
open_home(sys.argv[1]).export_car(sys.argv[2])
"""


def test_a_kill_leaves_no_half_file(home, file):
    """The file gets its name when it is complete."""
    sample_homes.make(home, 20)
    for step in (1, 5):
        program = [sys.executable, "-c", KILLED, str(home), str(file), str(step)]
        assert subprocess.run(program, check=False, env=environment()).returncode == -signal.SIGKILL
        assert not file.exists()


def test_a_real_daemon_imports_it_and_exports_the_same_bytes(home, file, kubo_daemon):
    """`ipfs dag import` takes the file; then head and key are enough, and `ipfs dag export` writes the same file."""
    for first in range(0, 60, 20):
        sample_homes.log(home, range(first, first + 20))
        sample_homes.seal(home)
    (home.parent / "note").write_bytes(b"x" * 3_000_000)
    archives.archiver(home, "audit").put(home.parent / "note", archives.facts)
    sample_homes.seal(home)
    made = open_home(home).export_car(file)
    daemon = kubo_daemon()
    daemon.cli("dag", "import", str(file))
    assert made.logs[0].cid in daemon.pins()
    assert daemon.cli_bytes("dag", "export", made.logs[0].cid) == file.read_bytes()
    head = open_home(home).status()[0].head
    with open_dataset(head, kubo=daemon.url, keys=[sample_homes.key_of(home)], verify="chain") as dataset:
        assert list(dataset) == list(open_dataset(home))
