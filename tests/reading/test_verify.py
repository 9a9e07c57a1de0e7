"""Verify is ok on what was signed and on nothing else, and raises for no bytes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.format import car, merkle, unixfs
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import UNIXFS, Manifest
from ipfs_log_handlers.home import disk, head, keys, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.shipped import Mark
from ipfs_log_handlers.reading.verify import Report, verify
from tests.cli.running import run
from tests.reading import homes


def check(home: Path, **how: Any) -> Report:
    """The one report."""
    (report,) = verify(Home(home), **how)
    return report


def fields(home: Path, **how: Any) -> set[tuple[int | None, str]]:
    """Batch and field of each problem."""
    return {(problem.batch, problem.field) for problem in check(home, **how).problems}


def file_of(home: Path, index: int) -> Path:
    """The file of a batch of the current log."""
    return Batches(homes.room(home).current.batches).file(index)


@pytest.fixture
def three(home: Path) -> Path:
    """A home with three batches of ten records."""
    homes.make(home, 30)
    return home


def damage_in_spool(home: Path, *numbers: int) -> None:
    """Spoil some lines of the only segment, which must not stand side by side."""
    (segment,) = homes.room(home).spool.iterdir()
    data = segment.read_bytes()
    for number in numbers:
        data = data.replace(b"did %d" % number, b"dXd %d" % number)
    segment.write_bytes(data)


def test_damage_before_sealing_is_counted_once(home):
    """Each log tells what was left out of it, not what was left out of the one before."""
    homes.log(home, range(10))
    damage_in_spool(home, 2, 5)
    homes.seal(home)
    homes.end(home)
    homes.log(home, range(10, 20))
    damage_in_spool(home, 15)
    homes.seal(home)

    assert [(each.ok, each.records, each.quarantined) for each in verify(Home(home))] == [(True, 8, 2), (True, 9, 1)]


def test_replaced_files_are_not_counted(home):
    """Damaged files that a repair has put into quarantine/ were left out of nothing."""
    homes.log(home, range(10))
    damage_in_spool(home, 2)
    homes.seal(home)
    homes.room(home).current.head.write_bytes(b"junk")

    assert run("doctor", "--repair", home=home).code == 0
    assert len(list(homes.room(home).quarantine.iterdir())) == 2
    assert [(each.ok, each.quarantined) for each in verify(Home(home))] == [(True, 1)]


def test_whole_log_is_ok(three):
    """A log as it was signed is ok, with its counts and its root."""
    report = check(three)
    sealed = head.load(homes.room(three).current.head)
    assert sealed is not None
    claim = Checkpoint.parse(sealed.head.checkpoint)

    assert report.ok
    assert report.problems == []
    assert (report.subsystem, report.batches, report.records, report.absent) == ("audit", 3, 30, 0)
    assert report.tree_root == claim.root
    assert report.as_json()["tree_size"] == claim.size


def test_long_chain_is_ok(home):
    """Edges and jumps of a hundred batches agree, and progress tells of each batch."""
    for start in range(0, 110, 10):  # at most ten batches' worth waits, or it becomes one batch
        homes.log(home, range(start, start + 10), records=1)
        homes.seal(home)
    told: list[tuple[str, int, int]] = []
    report = check(home, progress=lambda *each: told.append(each))

    assert report.ok
    assert report.batches > 100
    assert told[-1] == ("audit", report.batches, report.batches)
    assert len(told) == report.batches


def test_giant_and_empty_batches_are_ok(home):
    """A payload of several blocks is checked block by block; a former log and a spool are no trouble."""
    with homes.Writing(home) as writing:
        writing.handler.handle(
            homes.record(0, text="".join(map(chr, random.Random(1).choices(range(32, 0x2000), k=900_000))))
        )
    homes.seal(home)
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


@pytest.mark.parametrize("index", [0, 1, 2])
def test_each_byte_around_the_payload(three, index):
    """A bit flipped anywhere in the CAR's frame, the manifest, the head block or the checkpoint is found."""
    path = file_of(three, index)
    with path.open("rb") as stream:
        start, size = next((at, size) for cid, at, size in car.scan(stream) if cid.codec == RAW)
    offsets = [*range(start), *range(start + size, path.stat().st_size)]

    assert [at for at in flips(path, iter(offsets), random.Random(index)) if check(three).ok] == []
    assert check(three).ok


def test_bits_of_the_payloads(three):
    """A bit flipped anywhere in a payload is found."""
    draw = random.Random(7)
    for index in range(3):
        path = file_of(three, index)
        with path.open("rb") as stream:
            start, size = next((at, size) for cid, at, size in car.scan(stream) if cid.codec == RAW)
        offsets = iter([start + draw.randrange(size) for _ in range(170)])
        assert [at for at in flips(path, offsets, draw) if check(three).ok] == []


@pytest.mark.parametrize("name", ["head", "key"])
def test_each_byte_of_head_and_key(three, name):
    """A bit flipped in the head file or in the key is found."""
    path = homes.room(three).current.head if name == "head" else Home(three).key
    length = path.stat().st_size
    assert [at for at in flips(path, range(length), random.Random(3)) if check(three).ok] == []


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
    for path in (*(file_of(three, index) for index in range(3)), homes.room(three).current.head, Home(three).key):
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
    shelf = homes.room(three).current
    older = shelf.head.read_bytes()
    homes.log(three, range(30, 60))
    homes.seal(three)
    shelf.head.write_bytes(older)
    assert (5, "head") in fields(three)

    for index in (3, 4, 5):
        file_of(three, index).unlink()
    mark = Mark(log=check(three).log, address="memory:x", upto=5)
    shipped.store(shelf.shipped, "x", mark)
    assert (5, "shipped") in fields(three)


def test_two_heads(three, tmp_path):
    """A head file that signs another end of the same log than its newest batch does is found."""
    fork = tmp_path / "fork"
    shutil.copytree(three, fork)
    homes.log(three, range(30, 40))
    homes.seal(three)
    shelf, other = homes.room(three).current, homes.room(fork).current
    key = keys.load(Home(three))
    assert key is not None
    sealed = head.load(shelf.head)
    assert sealed is not None
    note = Checkpoint(sealed.log, 4, b"\x07" * 32).signed(key)
    block = replace(sealed.head, checkpoint=note).encode()
    head.store(shelf.head, replace(sealed, block=block))
    assert {(3, "head"), (None, "tree_root")} <= fields(three)

    shelf.head.write_bytes(other.head.read_bytes())
    assert check(three).ok  # one batch above the head is what a crash leaves: it is no part of the log
    assert check(three).batches == 3


def test_foreign_batch(three, tmp_path):
    """A batch of another log of the same home's key, whole and signed, is found."""
    homes.make(three, 30, "wal")
    homes.splice(Batches(homes.room(three, "wal").current.batches).file(1), file_of(three, 1))
    found = {(problem.batch, problem.field) for report in verify(Home(three), ["audit"]) for problem in report.problems}
    assert {(1, "log"), (1, "prev"), (2, "prev"), (1, "checkpoint.origin")} <= found


def test_another_key(three, tmp_path):
    """A log that another key signed is not ok; nor is one's own under a key that one does not trust."""
    homes.make(tmp_path / "other", 30)
    other = keys.load(Home(tmp_path / "other"))
    own = keys.load(Home(three))
    assert own is not None
    assert other is not None

    assert check(three, trusted=[own.verifier]).ok
    assert (None, "key") in fields(three, trusted=[other.verifier])
    shutil.copyfile(Home(tmp_path / "other").key, Home(three).key)
    assert (None, "key") in fields(three)
    Home(three).key.unlink()
    assert fields(three) == {(None, "key")}


# -- what an own key could sign that is not so


def forge(home: Path, index: int, blocks: dict[Cid, bytes] | None = None, **changes: Any) -> None:
    """Sign the newest batch anew with other claims, so that only the claims themselves can give it away."""
    shelf = homes.room(home).current
    batches = Batches(shelf.batches)
    facts, key, sealed = batches.facts(index), keys.load(Home(home)), head.load(shelf.head)
    assert key is not None
    assert sealed is not None
    members = {name: getattr(facts.manifest, name) for name in Manifest.__slots__ if not name.startswith("_")}
    manifest = Manifest(**{**members, **changes})
    edge = merkle.edge_append(manifest.edge_hashes, index, merkle.leaf_hash(manifest.cid))
    note = Checkpoint(manifest.log, index + 1, merkle.edge_root(edge)).signed(key)
    block = Head(log=manifest.log, index=index, manifest=manifest.cid, checkpoint=note).encode()
    rest = {cid: data for cid, data in batches.blocks(index) if cid not in (facts.cid, facts.head_cid)}
    new = [(manifest.cid, manifest.encode()), (Cid.of(DAG_CBOR, block), block), *(blocks or rest).items()]
    disk.replace(batches.file(index), car.encode([manifest.cid, Cid.of(DAG_CBOR, block)], new))
    head.store(shelf.head, replace(sealed, block=block))


def manifest_of(home: Path, index: int = 2) -> Manifest:
    """The manifest of a batch."""
    return Batches(homes.room(home).current.batches).facts(index).manifest


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("prev", lambda _: Cid.of(DAG_CBOR, b"x"), "prev"),
        ("edge", lambda _: b"\x01" * 32, "edge"),
        ("first", lambda m: m.first - 1, "first"),
        ("last", lambda m: m.last + 1, "last"),
        ("records", lambda m: m.records + 1, "payload"),
        ("raw", lambda m: m.raw + 1, "payload"),
        ("size", lambda m: m.size + 1, "payload"),
        ("root", lambda _: b"\x02" * 32, "payload"),
        ("payload", lambda _: Cid.of(RAW, b"x"), "payload"),
        ("dropped", lambda _: {"the disk refuses": 3}, "dropped"),
        ("meta", lambda m: {**m.meta, "record_count": 11}, "meta.record_count"),
        ("stats", lambda m: {**m.stats, "levels": {"info": 10}}, "stats.levels"),
        ("stats", lambda m: {**m.stats, "loggers": {}}, "stats.loggers"),
        ("stats", lambda m: {**m.stats, "events": ["a"]}, "stats.events"),
        ("sources", lambda m: ((m.sources[0][0], m.sources[0][1] + 1, *m.sources[0][2:]),), "sources"),
        ("sources", lambda m: (("f" * 16, *m.sources[0][1:3], m.sources[0][3] - 1),), "sources"),
        ("sources", lambda m: ((*m.sources[0][:2], 1, 10),), "sources"),
    ],
)
def test_signed_lies(three, name, change, problem):
    """A claim that its own key signed, but that is not so, is found."""
    manifest = manifest_of(three)
    forge(three, 2, **{name: change(manifest)} | ({"jump": change(manifest)} if name == "prev" else {}))
    assert problem in {field for _, field in fields(three)}


def test_unchanged_forgery_is_none(three):
    """Signed anew without a change, the batch is ok: the tests above find the lie, not the tool."""
    forge(three, 2)
    assert check(three).ok


def test_block_too_many(three):
    """A block in a batch's file that hangs on no manifest is found."""
    path = file_of(three, 1)
    path.write_bytes(path.read_bytes() + car.section(Cid.of(RAW, b"x"), b"x"))
    assert fields(three) == {(1, "blocks")}


def test_archived_file(three):
    """A payload that is a plain file is read through and measured."""
    blocks = dict(unixfs.build([b"x" * 1_500_000]))
    now = manifest_of(three).sealed
    forge(
        three, 2, blocks,
        payload=list(blocks)[-1], size=1_500_000, raw=1_500_000, encoding=UNIXFS, records=0, root=merkle.EMPTY_ROOT,
        first=now, last=now, sources=(), stats={}, meta={},
    )  # fmt: skip
    assert fields(three) == {(None, "records")}
    blocks.pop(next(iter(blocks)))
    forge(three, 2, blocks)
    assert (2, "payload") in fields(three)


# -- what is no damage


def test_payload_that_left_is_absent(three):
    """A payload that retention took away is absent, not damaged, when a store has confirmed it; else it is lost."""
    homes.strip(three, 1)
    assert fields(three) == {(1, "payload")}

    shipped.store(homes.room(three).current.shipped, "x", Mark(log=check(three).log, address="memory:x", upto=2))
    report = check(three)
    assert report.ok
    assert report.absent == 1
    assert report.records == 30


def test_former_logs(three):
    """A log that ended is verified too, and the next one carries its checkpoint."""
    homes.end(three)
    homes.make(three, 10)
    homes.end(three)
    homes.make(three, 10)
    reports = list(verify(Home(three)))

    assert [report.ok for report in reports] == [True] * 3
    assert [report.records for report in reports] == [30, 10, 10]
    assert len({report.log for report in reports}) == 3


def test_former_log_that_was_cut(three):
    """A former log that lost its end is found by the evidence in the log after it."""
    homes.end(three)
    homes.make(three, 10)
    (shelf,) = homes.room(three).former_shelves()
    shelf.head.unlink()
    assert [report.ok for report in verify(Home(three))] == [True, True]
    Batches(shelf.batches).file(2).unlink()
    first, second = verify(Home(three))
    assert first.ok
    assert [(problem.batch, problem.field) for problem in second.problems] == [(0, "evidence")]


def test_replayed_records_are_found(three, tmp_path):
    """Records that stand in two logs of a subsystem, as after a rollback, are found by their writer and seq."""
    room = homes.room(three)
    homes.log(three, range(30, 40))
    (segment,) = room.spool.iterdir()
    kept = segment.read_bytes()
    homes.seal(three)
    homes.end(three)
    shelf = room.former_shelves()[0]
    sealed = head.load(shelf.head)
    assert sealed is not None
    head.store(shelf.head, replace(sealed, consumed={}))
    segment.write_bytes(kept)
    homes.seal(three)
    first, second = verify(Home(three))
    assert first.ok
    assert "sources" in {problem.field for problem in second.problems}


def test_empty_home_has_no_reports(home):
    """A subsystem without a batch has nothing to verify."""
    homes.log(home, range(3))
    assert list(verify(Home(home))) == []


def test_lost_head(three):
    """Batches without a head are a problem; so is a mark of a store when all else is gone."""
    log = check(three).log
    shelf = homes.room(three).current
    shelf.head.unlink()
    assert fields(three) == {(None, "head")}
    shipped.store(shelf.shipped, "x", Mark(log=log, address="memory:x", upto=2))
    shutil.rmtree(shelf.batches)
    assert (2, "shipped") in fields(three)


def test_verifying_beside_a_keeper(three, monkeypatch):
    """A batch that is sealed, or a log that ends, while it is verified is no problem."""
    real = Batches.indexes
    done: list[int] = []

    def indexes(self: Batches) -> list[int]:
        found = real(self)
        if not done:
            done.append(1)
            homes.make(three, 40)
        return found

    monkeypatch.setattr(Batches, "indexes", indexes)
    assert check(three).ok
    done.clear()
    monkeypatch.setattr(Batches, "indexes", real)

    def ends(subsystem: str, index: int, total: int) -> None:
        if not done:
            done.append(1)
            homes.end(three)

    assert [report.ok for report in verify(Home(three), progress=ends)] == [True]


def test_secret_key_is_not_needed(three, tmp_path):
    """A verifier key alone is enough: the home's own key need not be readable."""
    own = keys.load(Home(three))
    assert isinstance(own, SecretKey)
    Home(three).key.write_text("nothing")
    assert check(three, trusted=[own.verifier]).ok
