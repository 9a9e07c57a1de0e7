"""Snapshots of the logs of a home: what is computed, what stores pin, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers import VerificationError, open_dataset, open_home
from ipfs_log_handlers.api import Gap
from ipfs_log_handlers.format import car, dag
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.snapshot import Snapshot, blocks_of
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import gateways, many_batches, sample_homes
from tests.support.cli import run
from tests.support.programs import environment

STORE = "memory:snapshots"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """Return the store at `STORE`."""
    yield MemoryStore.named("snapshots")
    MemoryStore.forget()


def only(home: Path, *stores: str):
    """Make the snapshot of the only log of a home."""
    (made,) = open_home(home).snapshot(stores=stores)
    return made


def ship(home: Path, count: int, first: int = 0) -> None:
    """Log records in batches of ten, and ship them."""
    sample_homes.log(home, range(first, first + count))
    sample_homes.ship(home, STORE)


def test_a_store_pins_the_snapshot_and_it_reaches_every_block(home, store):
    """Everything of the log can be reached from the CID by links: what `ipfs pin add` follows."""
    ship(home, 40)
    made = only(home, STORE)
    assert (made.stores, made.problems, made.batches, made.new_blocks) == ((STORE,), {}, 4, 1)
    assert Cid.parse(made.cid) in store.pins
    reached = dict(dag.walk([Cid.parse(made.cid)], store.blocks.__getitem__))
    batches = Batches(sample_homes.subsystem_dir(home).current.batches)
    wanted = {cid for index in range(4) for cid, _ in batches.blocks(index)}
    heads = {batches.facts(index).head_cid for index in range(3)}
    assert reached.keys() == wanted - heads | {Cid.parse(made.cid)}
    assert made.head == open_home(home).status()[0].head


def test_it_is_the_same_each_time_and_from_the_blocks_alone(home, store):
    """Nothing but the manifests and the head decides the CID; the file in the home only saves time."""
    ship(home, 30)
    first = only(home)
    file = sample_homes.subsystem_dir(home).path / "snapshot"
    assert (first.stores, first.new_blocks, only(home).new_blocks) == ((), 1, 0)
    for content in (b"", b"nonsense", file.read_bytes()[:-40], None):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        assert only(home).cid == first.cid
    manifests = [batch.cid for batch in open_home(home).batches()]
    *_, (cid, _) = blocks_of(first.log, Cid.parse(first.head), [Cid.parse(text) for text in manifests])
    assert cid.text == first.cid


@pytest.mark.slow
def test_one_more_batch_ships_three_blocks_at_most(home, store):
    """A store that has the snapshot before gets only the new blocks of the tree, and the head block."""
    many_batches.seal_batches(home, 255)
    sample_homes.ship(home, STORE)
    assert only(home, STORE).new_blocks == 1
    for number in (256, 257, 258):
        many_batches.seal_batches(home, 1, first=number)
        sample_homes.ship(home, STORE)
        before = len(store.shipments)
        made = only(home, STORE)
        assert made.batches == number
        (shipment,) = store.shipments[before:]
        assert (made.new_blocks, shipment.blocks) == ((2, 3) if number == 256 else (1, 2))
        store.shipments.clear()
    only(home, STORE)
    assert store.shipments == []


def test_only_new_manifests_are_read(home):
    """A snapshot after another one reads the batches that were sealed since then."""
    many_batches.seal_batches(home, 20)
    asked: list[int] = []
    list(open_home(home).snapshot(progress=lambda *seen: asked.append(seen[1])))
    many_batches.seal_batches(home, 2, first=21)
    list(open_home(home).snapshot(progress=lambda *seen: asked.append(seen[1])))
    assert asked == [*range(1, 21), 21, 22]


def test_a_file_of_another_log_is_not_used(tmp_path):
    """The file of a home with the same number of batches does not become part of the snapshot."""
    one, two = tmp_path / "one", tmp_path / "two"
    for home in (one, two):
        sample_homes.make(home, 30)
    expected = only(two).cid
    mine, other = (sample_homes.subsystem_dir(home).path / "snapshot" for home in (two, one))
    only(one)
    mine.write_bytes(other.read_bytes())
    assert only(two).cid == expected


def test_a_store_without_all_batches_is_not_asked_to_pin(home, store):
    """A daemon would look for a missing block in the whole network; the answer says what to do first."""
    ship(home, 20)
    sample_homes.log(home, range(20, 30))
    sample_homes.seal(home)
    made = only(home, STORE)
    assert made.stores == ()
    assert made.problems == {STORE: "it does not have 1 of 3 batches. Run `ipfs-logs ship` first."}
    shown = run("snapshot", "--kubo", STORE, home=home)
    assert (shown.code, shown.objects[0]["cid"]) == (4, made.cid)
    sample_homes.ship(home, STORE)
    store.state = "down"
    assert list(only(home, STORE).problems) == [STORE]
    store.state = "up"
    assert only(home, STORE).stores == (STORE,)


def test_payloads_that_have_left_the_home_are_in_the_snapshot(home, store):
    """The store has them, and the manifests that link them stay in the home."""
    ship(home, 30)
    expected = list(open_dataset(home))
    for index in range(3):
        sample_homes.strip(home, index)
    made = only(home, STORE)
    with gateways.gateway(store.blocks) as served, open_dataset(made.cid, gateway=served.url) as dataset:
        assert list(dataset) == expected


class TestReading:
    """A snapshot as a source of records."""

    @pytest.fixture
    def shipped(self, home, store) -> Path:
        """Make a home whose log is in the store, with its snapshot."""
        ship(home, 60)
        only(home, STORE)
        return home

    def test_it_is_read_and_verified_with_the_key_alone(self, shipped, store):
        """The signed head is inside."""
        key = sample_homes.key_of(shipped)
        with (
            gateways.gateway(store.blocks) as served,
            open_dataset(only(shipped).cid, gateway=served.url, keys=[key], verify="chain") as dataset,
        ):
            assert list(dataset) == list(open_dataset(shipped))
            (report,) = dataset.verify()
            assert (report.ok, report.batches, report.records) == (True, 6, 60)

    def test_another_key_is_refused(self, shipped, store, tmp_path):
        """A key that did not sign the head does not sign the snapshot."""
        sample_homes.make(tmp_path / "other", 1)
        key = sample_homes.key_of(tmp_path / "other")
        with (
            gateways.gateway(store.blocks) as served,
            open_dataset(only(shipped).cid, gateway=served.url, keys=[key]) as dataset,
            pytest.raises(VerificationError, match="no trusted key"),
        ):
            list(dataset)

    def test_a_snapshot_with_another_manifest_is_refused(self, shipped, store, tmp_path):
        """A manifest of a sister log, a missing one or one that is there twice: the head has not signed it."""
        root = Snapshot.decode(store.blocks[Cid.parse(only(shipped).cid)])
        sister = Cid.of(DAG_CBOR, b"sister")
        for links in (
            (*root.links[:2], sister, *root.links[3:]),
            (*root.links[:2], *root.links[1:5]),
            (*root.links[1:], root.links[0]),
        ):
            wrong = Snapshot(log=root.log, head=root.head, size=root.size, links=links)
            blocks = {**store.blocks, wrong.cid: wrong.encode()}
            with (
                gateways.gateway(blocks) as served,
                open_dataset(wrong.cid.text, gateway=served.url) as dataset,
                pytest.raises(VerificationError, match="snapshot"),
            ):
                list(dataset)

    def test_a_missing_manifest_is_a_gap(self, shipped, store):
        """The records of all other batches are read."""
        root = Snapshot.decode(store.blocks[Cid.parse(only(shipped).cid)])
        blocks = {cid: block for cid, block in store.blocks.items() if cid != root.links[2]}
        gaps: list[Gap] = []
        with (
            gateways.gateway(blocks) as served,
            open_dataset(root.cid.text, gateway=served.url, on_gap=gaps.append) as dataset,
        ):
            assert len(list(dataset)) == 50
        assert [(gap.kind, gap.index) for gap in gaps] == [("absent", 2)]


def test_a_damaged_log_has_no_snapshot(home):
    """No CID is given for manifests that the head has not signed."""
    sample_homes.make(home, 30)
    file = Batches(sample_homes.subsystem_dir(home).current.batches).file(1)
    data = bytearray(file.read_bytes())
    data[data.index(b"prev") + 30] ^= 1
    file.write_bytes(data)
    shown = run("snapshot", home=home)
    assert (shown.code, shown.out) == (2, "")
    other = home.parent / "other"
    sample_homes.make(other, 30)
    file.write_bytes(Batches(sample_homes.subsystem_dir(other).current.batches).file(1).read_bytes())
    assert run("snapshot", home=home).code == 3


def test_an_empty_home_has_none(home):
    """Without a batch the exit code is 1."""
    sample_homes.log(home, range(3))
    assert run("snapshot", home=home).code == 1


KILLED = """
import os, signal, sys
from ipfs_log_handlers import open_home
from ipfs_log_handlers.home import disk
step = int(sys.argv[2])
def killing(real):
    def call(*given, **more):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **more)
    return call
disk.write_all, disk.rename, disk.new_file = map(killing, (disk.write_all, disk.rename, disk.new_file))
list(open_home(sys.argv[1]).snapshot())
"""


def test_a_kill_at_each_step_leaves_the_home_as_it_was(home):
    """The file is written under another name; whatever a kill leaves is not used."""
    sample_homes.make(home, 20)
    expected = only(home).cid
    file = sample_homes.subsystem_dir(home).path / "snapshot"
    codes = []
    for step in (1, 2, 3, 4):
        file.unlink(missing_ok=True)
        program = [sys.executable, "-c", KILLED, str(home), str(step)]
        codes.append(subprocess.run(program, check=False, env=environment()).returncode)
        assert file.exists() == (step == 4)
        assert only(home).cid == expected
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert all(report.ok for report in open_home(home).verify())


def test_the_file_holds_the_blocks_of_the_newest_snapshot(home):
    """It is a CARv1 whose root is the snapshot, and belongs to its user alone."""
    sample_homes.make(home, 20)
    made = only(home)
    file = sample_homes.subsystem_dir(home).path / "snapshot"
    roots, blocks = car.decode(file.read_bytes())
    assert [root.text for root in roots] == [made.cid] == [cid.text for cid, _ in blocks]
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert disk.names(file.parent).count("snapshot") == 1
