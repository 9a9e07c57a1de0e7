"""CAR files of other homes: what is taken in, and that nothing changed is."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import ConfigurationError, LogStoreError, VerificationError, open_dataset, open_home
from ipfs_log_handlers.format import car, dag, merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.snapshot import Snapshot
from ipfs_log_handlers.home import keys
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import mutations, sample_homes
from tests.support.cli import run
from tests.support.programs import environment


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make the home of another machine, with a log of three batches."""
    sample_homes.make(tmp_path / "other", 30)
    return tmp_path / "other"


@pytest.fixture
def file(other: Path, tmp_path: Path) -> Path:
    """Export that log."""
    open_home(other).export_car(tmp_path / "log.car")
    return tmp_path / "log.car"


def kept(home: Path) -> list[str]:
    """List the files that were imported."""
    directory = home / "imported-logs"
    return (
        sorted(path.name for path in directory.iterdir() if path.name not in ("keys", "lock"))
        if directory.exists()
        else []
    )


def take(home: Path, file: Path, *trusted: str):
    """Import a file."""
    return open_home(home, must_exist=False).import_car(file, keys=trusted)


def refused(home: Path, file: Path, key: str, data: bytes) -> bool:
    """Return whether other bytes are refused, with nothing left behind."""
    file.write_bytes(data)
    try:
        take(home, file, key)
    except LogStoreError:
        return kept(home) == []
    return False


def test_a_log_is_read_from_the_home_that_took_it_in(home, other, file):
    """The copy is whole, signed, and the same as the exported file; the key is known from then on."""
    (log,) = take(home, file, sample_homes.key_of(other))
    assert (log.subsystem, log.first, log.batches, log.records) == ("audit", 0, 3, 30)
    assert Path(log.file).read_bytes() == file.read_bytes()
    assert Path(log.file).parent == home / "imported-logs"
    with open_dataset(home / "imported-logs", keys=[log.key], verify="chain") as dataset:
        assert list(dataset) == list(open_dataset(other))
    assert take(home, file) == (log,)
    assert len(kept(home)) == 1


def test_a_home_with_imported_logs_goes_on(home, other, file):
    """It is a home, a program logs into it, and its records are shown beside those that came in."""
    (log,) = take(home, file, sample_homes.key_of(other))
    assert open_home(home).subsystems == ()
    sample_homes.make(home, 20)
    assert all(report.ok for report in open_home(home).verify())
    records = list(open_dataset(home))
    assert len(records) == 50
    assert sum(record["origin"] == log.log for record in records) == 30
    assert run("doctor", home=home).code == run("status", home=home).code == 0
    assert len(kept(home)) == 1


def test_without_the_key_nothing_is_taken_in(home, other, file, tmp_path):
    """The error says where the key comes from; another key does not help."""
    sample_homes.make(tmp_path / "third", 1)
    for given in ((), (sample_homes.key_of(tmp_path / "third"),)):
        with pytest.raises(ConfigurationError, match="the key of this log is not known"):
            take(home, file, *given)
    assert run("import", file, home=home).code == 2
    assert kept(home) == []
    assert not (home / "imported-logs" / "keys").exists()


def test_a_longer_file_of_the_same_log_replaces_the_shorter_one(home, other, file):
    """A shorter one that comes later is kept beside it, and changes nothing for the reader."""
    key = sample_homes.key_of(other)
    take(home, file, key)
    short = file.read_bytes()
    sample_homes.make(other, 20)
    open_home(other).export_car(file)
    (log,) = take(home, file)
    assert (log.batches, kept(home)) == (5, [Path(log.file).name])
    file.write_bytes(short)
    take(home, file)
    with open_dataset(home / "imported-logs", keys=[key], verify="chain") as dataset:
        assert list(dataset) == list(open_dataset(other))


def test_a_run_of_batches_is_taken_in(home, other, file):
    """A file that does not begin with the first batch is verified up to its signed head."""
    begins = [record["time"] for record in list(open_dataset(other))[::10]]
    open_home(other).export_car(file, since=begins[1])
    (log,) = take(home, file, sample_homes.key_of(other))
    assert (log.first, log.batches, log.records) == (1, 2, 20)


def test_another_history_is_refused(home, other, file):
    """Of two batches with one number in one log, the second is not taken in; nor is a home's own log."""
    key = sample_homes.key_of(other)
    copy = other.parent / "copy"
    subprocess.run(["cp", "-a", str(other), str(copy)], check=True)
    take(home, file, key)
    fork = car.decode(file.read_bytes())[1]
    manifest = Manifest.decode(sample_homes.batches_of(copy).facts(2).manifest.encode())
    forged = replace(manifest, ext={"example.org/fork": 1})
    leaves = [merkle.leaf_hash(sample_homes.batches_of(copy).facts(index).cid) for index in range(2)]
    signer = keys.load(HomeDir(other))
    assert signer is not None
    root = merkle.root([*leaves, merkle.leaf_hash(forged.cid)])
    note = Checkpoint(origin=manifest.log, size=3, root=root).signed(signer)
    head = Head(log=manifest.log, index=2, manifest=forged.cid, checkpoint=note)
    held = {**dict(fork), forged.cid: forged.encode(), head.cid: head.encode()}
    links = tuple(sample_homes.batches_of(copy).facts(index).cid for index in range(2))
    snapshot = Snapshot(log=manifest.log, head=head.cid, size=3, links=(*links, forged.cid))
    held[snapshot.cid] = snapshot.encode()
    file.write_bytes(car.encode([snapshot.cid], dag.walk([snapshot.cid], held.__getitem__)))
    with pytest.raises(VerificationError, match="two histories"):
        take(home, file, key)
    assert len(kept(home)) == 1
    with pytest.raises(ConfigurationError, match="itself"):
        take(other, file)


class TestChanged:
    """Nothing that was changed is taken in."""

    @pytest.mark.slow
    def test_flipped_bits(self, home, other, file):
        """Each bit of the structure is compared, before any claim in it is looked at."""
        whole, key = file.read_bytes(), sample_homes.key_of(other)
        flips = list(mutations.flips(whole))
        assert len(flips) > 20_000
        assert all(refused(home, file, key, mutant) for mutant in flips[::41])

    def test_cuts_drops_duplicates_swaps_and_additions(self, home, other, file):
        """The blocks are exactly those that are due, in their order."""
        whole, key = file.read_bytes(), sample_homes.key_of(other)
        roots, blocks = car.decode(whole)
        lists = [blocks[:at] + blocks[at + 1 :] for at in range(len(blocks))]
        lists += [blocks[: at + 1] + blocks[at:] for at in range(len(blocks))]
        for one in range(len(blocks)):
            for two in range(one + 1, len(blocks)):
                swapped = list(blocks)
                swapped[one], swapped[two] = swapped[two], swapped[one]
                lists.append(swapped)
        lists.append([*blocks, (Cid.of(RAW, b"more"), b"more")])
        changed = [car.encode(roots, other_blocks) for other_blocks in lists]
        changed += [car.encode([*roots, blocks[1][0]], blocks[:-1]), car.encode([blocks[2][0]], blocks[2:])]
        changed += [whole[:end] for end in range(0, len(whole), 97)]
        assert all(refused(home, file, key, data) for data in changed)

    def test_a_sister_log_with_the_same_key(self, home, other, file, tmp_path):
        """A head that signed other manifests, and a manifest of the sister in the place of ours."""
        sister = tmp_path / "sister"
        sister.mkdir(0o700)
        (sister / "writer.key").write_bytes((other / "writer.key").read_bytes())
        (sister / "writer.key").chmod(0o600)
        sample_homes.make(sister, 30)
        key = sample_homes.key_of(other)
        (root,), ours = car.decode(file.read_bytes())
        held = dict(ours) | {
            cid: block for index in range(3) for cid, block in sample_homes.batches_of(sister).blocks(index)
        }
        theirs = [sample_homes.batches_of(sister).facts(index) for index in range(3)]
        true = Snapshot.decode(held[root])
        for links, head in (
            ((theirs[0].cid, *true.links[1:]), true.head),
            ((true.links[0], theirs[1].cid, true.links[2]), true.head),
            ((*true.links[:2], theirs[2].cid), true.head),
            (true.links, theirs[2].head_cid),
        ):
            forged = Snapshot(log=true.log, head=head, size=3, links=links)
            held[forged.cid] = forged.encode()
            blocks = list(dag.walk([forged.cid], held.__getitem__))
            assert refused(home, file, key, car.encode([forged.cid], blocks))
        assert refused(home, file, key, car.encode([Cid.of(RAW, b"raw")], [(Cid.of(RAW, b"raw"), b"raw")]))


KILLED = """
import os, signal, sys
from ipfs_log_handlers import open_home
from ipfs_log_handlers.home import disk
left = int(sys.argv[4])
def killing(real):
    def call(*given, **more):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **more)
    return call
disk.write_all, disk.rename, disk.replace = map(killing, (disk.write_all, disk.rename, disk.replace))
open_home(sys.argv[1], must_exist=False).import_car(sys.argv[2], keys=[sys.argv[3]])
"""


@pytest.mark.slow
def test_nothing_half_imported_counts_after_a_kill(home, other, file):
    """Whatever the step: there is no file of that name, no reader sees one, and the next import succeeds."""
    key = sample_homes.key_of(other)
    for step in (1, 4, 10, 11, 12):
        program = [sys.executable, "-c", KILLED, str(home), str(file), key, str(step)]
        ended = subprocess.run(program, check=False, env=environment()).returncode
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        assert [name for name in kept(home) if not name.endswith(".tmp")] == []
    (log,) = take(home, file, key)
    assert Path(log.file).read_bytes() == file.read_bytes()
    assert sorted(path.name for path in (home / "imported-logs").glob("*.tmp")) == []


def test_the_command_line_says_what_it_took_in(home, other, file):
    """There is one object for each log."""
    (log,) = run("import", file, "--key", sample_homes.key_of(other), home=home).objects
    assert (log["subsystem"], log["batches"], log["records"]) == ("audit", 3, 30)
    assert run("query", "--source", log["file"], "--key", log["key"]).code == 0
    assert run("import", file.parent / "none.car", home=home).code == 2


def test_what_a_real_daemon_exports_is_taken_in(home, other, file, kubo):
    """`ipfs dag export` of a snapshot is such a file."""
    kubo.cli("dag", "import", str(file))
    (snapshot,) = open_home(other).snapshot()
    file.write_bytes(kubo.cli_bytes("dag", "export", snapshot.cid))
    (log,) = take(home, file, sample_homes.key_of(other))
    assert log.batches == 3
