"""Archives in the chain: each exactly once, whoever is killed; verified, shipped, stripped and read like others."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path

import pytest

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.retention import Retention
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.reader import archive_content
from ipfs_log_handlers.reader import archives as reading
from ipfs_log_handlers.spool.archiver import ArchiveMetadata
from ipfs_log_handlers.testing import FakeKubo
from ipfs_log_handlers.testing.memory_store import MemoryStore
from ipfs_log_handlers.verify.log import verify
from tests.support import file_trees, oracle, programs, sample_homes
from tests.support.archives import archiver, facts, sealed, verified, waiting
from tests.support.sample_homes import status


@pytest.fixture
def store():
    """Make a store in memory."""
    MemoryStore.forget()
    yield MemoryStore.named("one")
    MemoryStore.forget()


def problems(home: Path) -> list[str]:
    """Which fields the verifier complains of."""
    return [problem.field for report in verify(HomeDir(home)) for problem in report.problems]


def test_archive_is_a_batch_of_its_own(home, tmp_path):
    """An archive takes its place between batches of records, its CID as payload; the manifest says what it is."""
    sample_homes.log(home, range(5), "logs")
    made = archiver(home).put(
        file_trees.on_disk(tmp_path / "tree", file_trees.NESTED), ArchiveMetadata(name="tree", metadata={"k": 1})
    )
    sample_homes.seal(home)
    sample_homes.log(home, range(5, 8), "logs")
    sample_homes.seal(home)

    [manifest] = sealed(home)
    assert made.root.text == str(manifest["payload"])
    assert (0, made.size, made.size) == (manifest["records"], manifest["size"], manifest["raw"])
    meta = manifest["meta"]
    assert ("tree", "directory", {"k": 1}, 0) == tuple(
        meta[key] for key in ("name", "kind", "metadata", "record_count")
    )
    assert ("logs", "1.0") == (meta["type"], meta["version"])
    assert list(range(8)) == [each["number"] for each in oracle.sealed_records(home)]
    assert 0 == verified(home)
    assert [] == os.listdir(home / "logs" / "archived")


def test_nothing_is_copied(home):
    """The file that waited is the file beside the batch: a large archive is written once."""
    made = archiver(home).put_bytes(os.urandom(3 << 20), facts)
    before = (home / "logs" / "archived" / f"{made.name}.car").stat().st_ino
    sample_homes.seal(home)

    assert before == Batches(home / "logs" / "batches").payload_file(0).stat().st_ino


def test_an_archive_that_cannot_be_sealed_holds_up_no_record(home, monkeypatch):
    """What keeps an archive from being sealed is tried again later; the records of its subsystem go on."""
    made = archiver(home).put_bytes(b"x", facts)
    sample_homes.log(home, range(5), "logs")

    def refused(*_):
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "seal_archive", refused)
        run_keeper_now(HomeDir(home), Standalone(), timeout=20.0, stores=())
    assert list(range(5)) == [each["number"] for each in oracle.sealed_records(home)]

    sample_homes.seal(home)
    assert [made.root.text] == [str(manifest["payload"]) for manifest in sealed(home)]


def test_records_are_read_past_archives(home):
    """Reading the records of a subsystem passes over its archives."""
    for number in range(3):
        sample_homes.log(home, range(number, number + 1), "logs")
        archiver(home).put_bytes(b"%d" % number, facts)
        sample_homes.seal(home)

    assert list(range(3)) == [each["number"] for each in oracle.sealed_records(home)]
    assert 3 == len(sealed(home))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "more"])
def test_verify_finds_damage(home, damage):
    """A flipped bit, a cut, a missing file and a block too many in an archive are all found."""
    archiver(home).put_bytes(os.urandom(2 << 20), facts)
    sample_homes.seal(home)
    assert [] == problems(home)
    path = Batches(home / "logs" / "batches").payload_file(0)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[1_500_000] ^= 1
    elif damage == "cut":
        del data[-100:]
    elif damage == "more":
        block = b"stowaway"
        data += bytes([36 + len(block)]) + Cid.of(0x55, block) + block
    path.unlink()
    if damage != "gone":
        path.write_bytes(data)

    assert problems(home)


def test_damaged_archive_makes_way(home):
    """An archive that was damaged while it waited goes to the quarantine, and those behind it into the chain."""
    one = archiver(home)
    bad, good = (one.put_bytes(data, facts) for data in (b"bad", b"good"))
    directory = home / "logs" / "archived"
    (directory / f"{bad.name}.car").write_bytes(b"")
    sample_homes.seal(home)

    assert [good.root.text] == [str(each["payload"]) for each in sealed(home)]
    assert {f"{bad.name}.car", f"{bad.name}.json"} == set(os.listdir(home / "logs" / "quarantine"))


def test_status_counts_what_waits(home):
    """`status` tells how many archives wait, and what they take."""
    archiver(home).put_bytes(b"x" * 10_000, facts)
    [found] = status(home)
    assert (1, 0) == (found["archives_waiting"], found["durable"])
    assert found["spool_bytes"] >= 10_000

    sample_homes.seal(home)
    [found] = status(home)
    assert 0 == found["archives_waiting"]
    assert found["store_bytes"] >= 10_000


def test_policy_of_handlers_stays(home):
    """An archive brings its stores along, and leaves the batch policy of the subsystem's handlers alone."""
    sample_homes.log(home, range(3), "logs", records=7)
    sample_homes.seal(home)
    archiver(home, kubo=("memory:one",)).put_bytes(b"x", facts)
    sample_homes.seal(home)
    found = json.loads((home / "logs" / "settings.json").read_bytes())

    assert (7, ["memory:one"]) == (found["records"], found["stores"])


def test_archive_without_a_store_stops_no_shipping(home):
    """An archive of a program that has no store configured does not unset those of the others."""
    sample_homes.log(home, range(3), "logs", kubo="memory:one")
    archiver(home).put_bytes(b"x", facts)
    sample_homes.seal(home)

    assert ["memory:one"] == json.loads((home / "logs" / "settings.json").read_bytes())["stores"]


class TestShipped:
    """Archives at a store."""

    def test_root_is_pinned_whole(self, home, store, tmp_path):
        """What was shipped is all there: each block of the tree, and the manifest that pins it."""
        made = archiver(home).put(file_trees.on_disk(tmp_path / "tree", file_trees.NESTED), facts)
        sample_homes.ship(home, "memory:one")

        [batch] = oracle.read_home(home)["logs"][0].batches
        assert Cid.parse(batch.cid) in store.pins
        assert "" == store.pin(made.root)

    def test_strip_and_read_back(self, home, store, tmp_path):
        """A stripped archive is absent, not damaged, and comes back from the store, verified."""
        path = file_trees.on_disk(tmp_path / "tree", file_trees.NESTED)
        archiver(home).put(path, facts)
        sample_homes.ship(home, "memory:one")
        freed = Batches(home / "logs" / "batches").strip(0)

        assert freed > 1_000_000
        assert 1 == verified(home)
        [version] = reading.versions(HomeDir(home))
        with archive_content.opened(version, fetch=True) as get:
            archive_content.restore(version, get, tmp_path / "back")
        assert file_trees.read(path) == file_trees.read(tmp_path / "back")

    def test_retention_asks_before_it_lets_go(self, home, store):
        """An archive leaves the home only when the store proves that it has every block."""
        archiver(home).put_bytes(os.urandom(2 << 20), facts)
        sample_homes.ship(home, "memory:one")
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        policy = Policy.from_json({"max_store_bytes": 0, "keep_days": 0}, Policy.default(home, "logs"))
        lost = next(cid for cid, block in store.blocks.items() if len(block) == 1 << 20)
        block = store.blocks.pop(lost)
        assert 0 == asyncio.run(Retention(subsystem_dir).run([store], policy))

        store.blocks[lost] = block
        assert asyncio.run(Retention(subsystem_dir).run([store], policy)) > 2 << 20
        assert 1 == verified(home)

    @pytest.mark.kubo
    def test_ipfs_get_gives_the_original_back(self, home, kubo, tmp_path):
        """After shipping, `ipfs get` and `ipfs cat` of the CID give back what was archived; all of it is pinned."""
        path = file_trees.on_disk(tmp_path / "tree", file_trees.NESTED)
        data = os.urandom(3_000_000)
        one = archiver(home)
        tree, file = one.put(path, facts), one.put_bytes(data, facts)
        sample_homes.ship(home, kubo.url)
        kubo.cli("get", "-o", str(tmp_path / "back"), tree.root.text)

        assert file_trees.read(path) == file_trees.read(tmp_path / "back")
        assert data == kubo.cli_bytes("cat", file.root.text)
        pins = kubo.pins()
        logs = oracle.read_home(home)["logs"]
        assert {batch.cid for log in logs for batch in log.batches} <= set(pins)
        assert {"shipped"} == {each.state for each in reading.versions(HomeDir(home))}


# -- the head is lost


def test_no_archive_twice_when_the_head_is_lost(home):
    """An archive that was sealed and not yet retired when the head was lost is not sealed again in the new log."""
    body = """
        from tests.support.archives import archiver, facts
        from tests.support import sample_homes
        from pathlib import Path
        from ipfs_log_handlers.home import pending_archives
        home = Path(HOME)
        one = archiver(home)
        for number in range(3): one.put_bytes(b"%d" % number, facts)
        pending_archives.retire = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        homes.seal(home)
    """
    programs.run(home, body)
    assert 3 == len(waiting(home))
    (home / "logs" / "head").write_bytes(b"nonsense")
    sample_homes.seal(home)
    sample_homes.seal(home)

    found = reading.versions(HomeDir(home))
    assert [b"0", b"1", b"2"] == [_data(each) for each in found]
    assert ["sealed"] * 3 == [each.state for each in found]


def _data(version: reading.Version) -> bytes:
    with archive_content.opened(version) as get:
        return get(version.root)


# -- between every two steps

STEPS = """
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.keeper import preload
    from ipfs_log_handlers.keeper.host import Standalone
    from ipfs_log_handlers.keeper.thread import run_keeper_now
    from tests.support.archives import archiver, facts
    from tests.support.forked import run_in_child
    from tests.support.kill_steps import kill_at
    from pathlib import Path
    import ipfs_log_handlers.reader.archive_content
    preload.load_for_sealing(); preload.load_for_store("auto")

    def archive(home, moment, label, board):
        with open(board, "ab", buffering=0) as told:
            one = archiver(Path(home), kubo=(KUBO,))
            kill_at(moment)
            for number in range(2):
                one.put_bytes(f"{label}-{number}".encode(), facts)
                told.write(f"{label}-{number}\\n".encode())

    def keep(home, moment):
        kill_at(moment)
        run_keeper_now(HomeDir(Path(home)), Standalone(), timeout=30.0)
"""
KEEPERS = (
    STEPS
    + """
    step = 1
    while True:
        assert run_in_child(archive, HOME, 0, f"s{step}", BOARD)
        ended = run_in_child(keep, HOME, step)
        assert run_in_child(keep, HOME, 0)
        if ended: break
        step += STRIDE
    print(step)
"""
)
MAKERS = (
    STEPS
    + """
    step = 1
    while not run_in_child(archive, HOME, step, f"s{step}", BOARD):
        step += STRIDE
    assert run_in_child(keep, HOME, 0)
    print(step)
"""
)


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("body", "most"), [(KEEPERS, 40), (MAKERS, 20)], ids=["the keeper", "who archives"])
def test_killed_between_every_two_steps(home, body, most, stride):
    """Killed beside each call that changes the disk (or each third one): each archive is in the chain and stored once.

    Of what was being archived at that moment either all is there or nothing.
    """
    board = home.parent / "board"
    board.touch()
    with FakeKubo() as daemon:
        ended = programs.run(home, body, KUBO=daemon.url, BOARD=str(board), STRIDE=stride, deadline_s=1200).clean()
        blocks = dict(daemon.store.blocks)

    assert int(ended.out) > most
    [log] = oracle.read_home(home)["logs"]
    found = [blocks[Cid.parse(str(each["payload"]))].decode() for each in sealed(home)]
    assert len(found) == len(set(found)) == len(log.batches)
    assert set(board.read_text().split()) <= set(found)
    assert [] == os.listdir(home / "logs" / "archived")
    assert 0 == verified(home)


def test_stale_blocks_are_never_taken_for_an_archive(home, monkeypatch):
    """Blocks that a failed seal left beside an index do not end up beside the batch of records that takes it."""
    archiver(home).put_bytes(b"archive", facts)
    real = disk.write_new
    monkeypatch.setattr(disk, "write_new", lambda path, chunks: (_ for _ in ()).throw(OSError(5, "refused"))
                        if path.suffix == ".car" else real(path, chunks))  # fmt: skip
    sample_homes.seal(home)
    monkeypatch.undo()
    assert Batches(home / "logs" / "batches").payload_file(0).exists()
    for each in (home / "logs" / "archived").iterdir():
        each.unlink()
    sample_homes.log(home, range(3), "logs")
    sample_homes.seal(home)

    assert not Batches(home / "logs" / "batches").payload_file(0).exists()
    assert 0 == verified(home)
