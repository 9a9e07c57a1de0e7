"""Verify is ok on what was signed and on nothing else, and raises for no bytes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.format.cid import RAW
from ipfs_log_handlers.home import delivery_state, head, keys
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.verify.log import verify
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.verified_homes import check, fields, file_of


def damage_in_spool(home: Path, *numbers: int) -> None:
    """Spoil some lines of the only segment, which must not stand side by side."""
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    data = segment.read_bytes()
    for number in numbers:
        data = data.replace(b"did %d" % number, b"dXd %d" % number)
    segment.write_bytes(data)


def test_damage_before_sealing_is_counted_once(home):
    """Each log tells what was left out of it, not what was left out of the one before."""
    sample_homes.log(home, range(10))
    damage_in_spool(home, 2, 5)
    sample_homes.seal(home)
    sample_homes.end(home)
    sample_homes.log(home, range(10, 20))
    damage_in_spool(home, 15)
    sample_homes.seal(home)

    assert [(each.ok, each.records, each.quarantined) for each in verify(HomeDir(home))] == [(True, 8, 2), (True, 9, 1)]


def test_replaced_files_are_not_counted(home):
    """Damaged files that a repair has put into quarantine/ were left out of nothing."""
    sample_homes.log(home, range(10))
    damage_in_spool(home, 2)
    sample_homes.seal(home)
    sample_homes.subsystem_dir(home).current.head.write_bytes(b"junk")

    assert run("doctor", "--repair", home=home).code == 0
    assert len(list(sample_homes.subsystem_dir(home).quarantine.iterdir())) == 2
    assert [(each.ok, each.quarantined) for each in verify(HomeDir(home))] == [(True, 1)]


def test_whole_log_is_ok(three):
    """A log as it was signed is ok, with its counts and its root."""
    report = check(three)
    sealed = head.load(sample_homes.subsystem_dir(three).current.head)
    assert sealed is not None
    claim = Checkpoint.parse(sealed.head.checkpoint)

    assert report.ok
    assert report.problems == ()
    assert (report.subsystem, report.batches, report.records, report.absent) == ("audit", 3, 30, 0)
    assert report.tree_root == claim.root
    assert report.as_json()["tree_size"] == claim.size


@pytest.mark.slow
def test_long_chain_is_ok(home):
    """Edges and jumps of a hundred batches agree, and progress tells of each batch."""
    for start in range(0, 110, 10):  # at most ten batches' worth waits, or it becomes one batch
        sample_homes.log(home, range(start, start + 10), records=1)
        sample_homes.seal(home)
    told: list[tuple[str, int, int]] = []
    report = check(home, progress=lambda *each: told.append(each))

    assert report.ok
    assert report.batches > 100
    assert told[-1] == ("audit", report.batches, report.batches)
    assert len(told) == report.batches


def test_giant_and_empty_batches_are_ok(home):
    """A payload of several blocks is checked block by block; a former log and a spool are no trouble."""
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(
            sample_homes.record(0, text="".join(map(chr, random.Random(1).choices(range(32, 0x2000), k=900_000))))
        )
    sample_homes.seal(home)
    assert check(home).ok
    with file_of(home, 0).open("rb") as stream:
        assert len(list(car.scan(stream))) > 4


# -- every bit


def flips(path: Path, offsets: Iterator[int] | range, draw: random.Random) -> Iterator[int]:
    """Flip one bit at each offset in turn; the file is whole again afterwards."""
    data = path.read_bytes()
    for offset in offsets:
        damaged = bytearray(data)
        damaged[offset] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        yield offset
    path.write_bytes(data)


EVERY_THIRD_OR_EACH = pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.soak)])
"""`make test` flips bits of every third byte, `make soak` of each."""


@pytest.mark.slow
@EVERY_THIRD_OR_EACH
@pytest.mark.parametrize("index", [0, 1, 2])
def test_each_byte_around_the_payload(three, index, stride):
    """A bit flipped anywhere in the CAR's frame, the manifest, the head block or the checkpoint is found."""
    path = file_of(three, index)
    with path.open("rb") as stream:
        start, size = next((at, size) for cid, at, size in car.scan(stream) if cid.codec == RAW)
    offsets = [*range(start), *range(start + size, path.stat().st_size)]

    assert [
        at for at in flips(path, iter(offsets[index % stride :: stride]), random.Random(index)) if check(three).ok
    ] == []
    assert check(three).ok


@pytest.mark.slow
def test_bits_of_the_payloads(three):
    """A bit flipped anywhere in a payload is found."""
    draw = random.Random(7)
    for index in range(3):
        path = file_of(three, index)
        with path.open("rb") as stream:
            start, size = next((at, size) for cid, at, size in car.scan(stream) if cid.codec == RAW)
        offsets = iter([start + draw.randrange(size) for _ in range(170)])
        assert [at for at in flips(path, offsets, draw) if check(three).ok] == []


@pytest.mark.slow
@EVERY_THIRD_OR_EACH
@pytest.mark.parametrize("name", ["head", "key"])
def test_each_byte_of_head_and_key(three, name, stride):
    """A bit flipped in the head file or in the key is found."""
    path = sample_homes.subsystem_dir(three).current.head if name == "head" else HomeDir(three).key
    length = path.stat().st_size
    assert [at for at in flips(path, range(0, length, stride), random.Random(3)) if check(three).ok] == []


@pytest.mark.slow
def test_each_cut(three):
    """A batch that was cut anywhere is found."""
    path = file_of(three, 1)
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        assert not check(three).ok, end


def test_junk_is_not_raised_for(three):
    """Random bytes in place of any file are problems, not exceptions."""
    draw = random.Random(5)
    for path in (
        *(file_of(three, index) for index in range(3)),
        sample_homes.subsystem_dir(three).current.head,
        HomeDir(three).key,
    ):
        data = path.read_bytes()
        for size in (0, 1, 9, 60, 3000):
            path.write_bytes(draw.randbytes(size))
            assert not check(three).ok
        path.write_bytes(data)


# -- whole batches


@pytest.mark.parametrize("index", [0, 1, 2])
def test_dropped_batch(three, index):
    """A batch that was taken away is named; those behind it are still checked."""
    file_of(three, index).unlink()
    assert (index, "file") in fields(three)
    if index < 2:
        assert check(three).tree_root is not None


def test_swapped_batches(three):
    """Two batches that changed places are both named."""
    one, two = file_of(three, 0), file_of(three, 1)
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    assert {(0, "index"), (1, "index")} <= fields(three)


def test_truncated_chain(three):
    """A head file put back to an older one is found by the batches above it; with them gone, by what a store has."""
    log_dir = sample_homes.subsystem_dir(three).current
    older = log_dir.head.read_bytes()
    sample_homes.log(three, range(30, 60))
    sample_homes.seal(three)
    log_dir.head.write_bytes(older)
    assert (5, "head") in fields(three)

    for index in (3, 4, 5):
        file_of(three, index).unlink()
    mark = DeliveryState(log=check(three).log, address="memory:x", confirmed_through=5)
    delivery_state.store(log_dir.shipped, "x", mark)
    assert (5, "shipped") in fields(three)


def test_two_heads(three, tmp_path):
    """A head file that signs another end of the same log than its newest batch does is found."""
    fork = tmp_path / "fork"
    shutil.copytree(three, fork)
    sample_homes.log(three, range(30, 40))
    sample_homes.seal(three)
    log_dir, other = sample_homes.subsystem_dir(three).current, sample_homes.subsystem_dir(fork).current
    key = keys.load(HomeDir(three))
    assert key is not None
    sealed = head.load(log_dir.head)
    assert sealed is not None
    note = Checkpoint(sealed.log, 4, b"\x07" * 32).signed(key)
    block = replace(sealed.head, checkpoint=note).encode()
    head.store(log_dir.head, replace(sealed, block=block))
    assert {(3, "head"), (None, "tree_root")} <= fields(three)

    log_dir.head.write_bytes(other.head.read_bytes())
    assert check(three).ok  # one batch above the head is what a crash leaves: it is no part of the log
    assert check(three).batches == 3


def test_foreign_batch(three, tmp_path):
    """A batch of another log of the same home's key, whole and signed, is found."""
    sample_homes.make(three, 30, "wal")
    sample_homes.splice(Batches(sample_homes.subsystem_dir(three, "wal").current.batches).file(1), file_of(three, 1))
    found = {
        (problem.batch, problem.field) for report in verify(HomeDir(three), ["audit"]) for problem in report.problems
    }
    assert {(1, "log"), (1, "prev"), (2, "prev"), (1, "checkpoint.origin")} <= found


def test_another_key(three, tmp_path):
    """A log that another key signed is not ok; nor is one's own under a key that one does not trust."""
    sample_homes.make(tmp_path / "other", 30)
    other = keys.load(HomeDir(tmp_path / "other"))
    own = keys.load(HomeDir(three))
    assert own is not None
    assert other is not None

    assert check(three, trusted=[own.verifier]).ok
    assert (None, "key") in fields(three, trusted=[other.verifier])
    shutil.copyfile(HomeDir(tmp_path / "other").key, HomeDir(three).key)
    assert (None, "key") in fields(three)
    HomeDir(three).key.unlink()
    assert fields(three) == {(None, "key")}


# -- what is no damage


def test_payload_that_left_is_absent(three):
    """A payload that retention took away is absent, not damaged, when a store has confirmed it; else it is lost."""
    sample_homes.strip(three, 1)
    assert fields(three) == {(1, "payload")}

    delivery_state.store(
        sample_homes.subsystem_dir(three).current.shipped,
        "x",
        DeliveryState(log=check(three).log, address="memory:x", confirmed_through=2),
    )
    report = check(three)
    assert report.ok
    assert report.absent == 1
    assert report.records == 30


def test_former_logs(three):
    """A log that ended is verified too, and the next one carries its checkpoint."""
    sample_homes.end(three)
    sample_homes.make(three, 10)
    sample_homes.end(three)
    sample_homes.make(three, 10)
    reports = list(verify(HomeDir(three)))

    assert [report.ok for report in reports] == [True] * 3
    assert [report.records for report in reports] == [30, 10, 10]
    assert len({report.log for report in reports}) == 3


def test_former_log_that_was_cut(three):
    """A former log that lost its end is found by the evidence in the log after it."""
    sample_homes.end(three)
    sample_homes.make(three, 10)
    (log_dir,) = sample_homes.subsystem_dir(three).former_log_dirs()
    log_dir.head.unlink()
    assert [report.ok for report in verify(HomeDir(three))] == [True, True]
    Batches(log_dir.batches).file(2).unlink()
    first, second = verify(HomeDir(three))
    assert first.ok
    assert [(problem.batch, problem.field) for problem in second.problems] == [(0, "evidence")]


def test_replayed_records_are_found(three, tmp_path):
    """Records that stand in two logs of a subsystem, as after a rollback, are found by their writer and seq."""
    subsystem_dir = sample_homes.subsystem_dir(three)
    sample_homes.log(three, range(30, 40))
    (segment,) = subsystem_dir.spool.iterdir()
    kept = segment.read_bytes()
    sample_homes.seal(three)
    sample_homes.end(three)
    log_dir = subsystem_dir.former_log_dirs()[0]
    sealed = head.load(log_dir.head)
    assert sealed is not None
    head.store(log_dir.head, replace(sealed, consumed={}))
    segment.write_bytes(kept)
    sample_homes.seal(three)
    first, second = verify(HomeDir(three))
    assert first.ok
    assert "sources" in {problem.field for problem in second.problems}


def test_empty_home_has_no_reports(home):
    """A subsystem without a batch has nothing to verify."""
    sample_homes.log(home, range(3))
    assert list(verify(HomeDir(home))) == []


def test_lost_head(three):
    """Batches without a head are a problem; so is a mark of a store when all else is gone."""
    log = check(three).log
    log_dir = sample_homes.subsystem_dir(three).current
    log_dir.head.unlink()
    assert fields(three) == {(None, "head")}
    delivery_state.store(log_dir.shipped, "x", DeliveryState(log=log, address="memory:x", confirmed_through=2))
    shutil.rmtree(log_dir.batches)
    assert (2, "shipped") in fields(three)


def test_verifying_beside_a_keeper(three, monkeypatch):
    """A batch that is sealed, or a log that ends, while it is verified is no problem."""
    real = Batches.indexes
    done: list[int] = []

    def indexes(self: Batches) -> list[int]:
        found = real(self)
        if not done:
            done.append(1)
            sample_homes.make(three, 40)
        return found

    monkeypatch.setattr(Batches, "indexes", indexes)
    assert check(three).ok
    done.clear()
    monkeypatch.setattr(Batches, "indexes", real)

    def ends(subsystem: str, index: int, total: int) -> None:
        if not done:
            done.append(1)
            sample_homes.end(three)

    assert [report.ok for report in verify(HomeDir(three), progress=ends)] == [True]


def test_secret_key_is_not_needed(three, tmp_path):
    """A verifier key alone is enough: the home's own key need not be readable."""
    own = keys.load(HomeDir(three))
    assert isinstance(own, SecretKey)
    HomeDir(three).key.write_text("nothing")
    assert check(three, trusted=[own.verifier]).ok
