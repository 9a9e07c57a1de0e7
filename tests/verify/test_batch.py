"""What the own key could sign of a batch that is not so is found, claim by claim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.format import car, merkle, unixfs
from ipfs_log_handlers.format.checkpoint import Checkpoint
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import UNIXFS, Manifest
from ipfs_log_handlers.home import disk, head, keys
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.verified_homes import check, fields, file_of


def forge(home: Path, index: int, blocks: dict[Cid, bytes] | None = None, **changes: Any) -> None:
    """Sign the newest batch anew with other claims, so that only the claims themselves can give it away."""
    log_dir = sample_homes.subsystem_dir(home).current
    batches = Batches(log_dir.batches)
    facts, key, sealed = batches.facts(index), keys.load(HomeDir(home)), head.load(log_dir.head)
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
    head.store(log_dir.head, replace(sealed, block=block))


def manifest_of(home: Path, index: int = 2) -> Manifest:
    """Return the manifest of a batch."""
    return Batches(sample_homes.subsystem_dir(home).current.batches).facts(index).manifest


@pytest.mark.slow
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
