"""Index pages: the bytes of version 1 are read for ever, and nothing but such bytes is."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car, dagcbor
from ipfs_log_handlers.format.bloom import BATCH_BITS, MAX_BATCH_BLOCKS, BloomFilter, hash_of_text, hashes_in
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.index_page import (
    PAGE_BATCHES,
    IndexPage,
    PageEntry,
    PageRoot,
    entry_line,
    may_hold_each,
    spans_of,
)
from ipfs_log_handlers.format.manifest import Manifest
from tests.support.mutations import cuts, flips
from tests.vectors import FOLDER, build_pages, load

MANIFESTS = [Manifest.decode(bytes.fromhex(block)) for block in load("chain.json")["manifests"]]


def read(data: bytes) -> tuple[PageRoot, list[PageEntry | None], dict[Cid, bytes]]:
    """Read a page whole."""
    roots, pairs = car.decode(data)
    blocks = dict(pairs)
    root = PageRoot.decode(blocks[roots[0]])
    return root, root.decode_entries(blocks[root.entries]), blocks


def test_the_golden_page_is_read() -> None:
    """The page that was kept has what it says: its batches, one that could not be read, and the filters of ids."""
    root, entries, blocks = read((FOLDER / "index.page").read_bytes())
    assert (root.log, root.first, root.count) == (build_pages.LOG, 256, 3)
    assert entries[1] is None
    for entry, manifest in zip((entries[0], entries[2]), MANIFESTS, strict=False):
        assert entry is not None
        assert (entry.cid, entry.records, entry.size) == (manifest.cid.text, manifest.records, manifest.size)
        assert entry.zone() == manifest.stats
    batches, page = root.filters["request_id"]
    assert page is None
    known = [hash_of_text(build_pages.IDS[1])]
    assert may_hold_each(entries, "request_id", known, blocks[batches], None) == b"\1\1\1"
    assert may_hold_each(entries, "request_id", [hash_of_text("no")], blocks[batches], None) == b"\0\1\1"
    batches, _ = root.filters["trace_id"]
    assert may_hold_each(entries, "trace_id", known, blocks[batches], None) == b"\0\1\1"


def test_the_golden_hashes_and_filter_hold() -> None:
    """Each id has the hash that was kept, and is in the filter that was kept."""
    vectors = load("pages.json")
    filled = bytes.fromhex(vectors["filter"])
    assert BloomFilter.of(hashes_in(build_pages.IDS), BATCH_BITS, MAX_BATCH_BLOCKS).encode() == filled
    for item in vectors["ids"]:
        assert int(item["hash"], 16) in hashes_in([item["id"]])


def test_a_page_of_many_batches_comes_back() -> None:
    """What is written is read again, with the filter of the page and those of its batches."""
    columns = [[f"id-{number}", f"id-{number + 1}"] for number in range(PAGE_BATCHES)]
    filters = [BloomFilter.of(hashes_in(column), BATCH_BITS, MAX_BATCH_BLOCKS).encode() for column in columns]
    whole = BloomFilter.of(hashes_in(f"id-{number}" for number in range(PAGE_BATCHES + 1)), 8, 99).encode()
    lines = [entry_line(MANIFESTS[0], {"request_id": len(data)}) for data in filters]
    page = IndexPage(log="a", first=0, lines=lines, filters={"request_id": filters}, page_filters={"request_id": whole})
    root, entries, blocks = read(page.encode())
    batches, of_page = root.filters["request_id"]
    assert of_page is not None
    found = may_hold_each(entries, "request_id", [hash_of_text("id-7")], blocks[batches], blocks[of_page])
    assert found[6:8] == b"\1\1"
    assert sum(found) < 20
    missing = may_hold_each(entries, "request_id", [hash_of_text("none")], blocks[batches], blocks[of_page])
    assert missing == bytes(PAGE_BATCHES)


@pytest.mark.parametrize("mutate", [cuts, flips])
def test_no_damage_goes_unnoticed(mutate: Any) -> None:
    """A page that is cut or has a bit flipped is refused, wherever that is: each byte is named by a hash."""
    data = (FOLDER / "index.page").read_bytes()
    whole = read(data)
    for mutant in list(mutate(data))[::7]:
        try:
            found = read(mutant)
        except (FormatError, VerificationError, KeyError):
            continue
        assert found[:2] == whole[:2]
        assert found[2].items() < whole[2].items()  # the last block is gone: the file ends after another one


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": 0},
        {"first": 1},
        {"first": -256},
        {"count": 0},
        {"count": 257},
        {"count": True},
        {"size": 1 << 30},
        {"log": 5},
        {"entries": None},
        {"filters": []},
        {"filters": {"a": {"batches": None, "page": None}}},
        {"filters": {"a": {"page": None}}},
        {"filters": {"": {"batches": Cid.of(RAW, b""), "page": None}}},
        {"filters": {"a": {"batches": Cid.of(DAG_CBOR, b""), "page": None}}},
        {"filters": {f"f{n}": {"batches": Cid.of(RAW, b""), "page": None} for n in range(17)}},
        {"new": 1},
    ],
    ids=str,
)
def test_another_root_is_refused(change: dict[str, Any]) -> None:
    """The root of another version, with another key or with numbers that no page has, is no page."""
    members: dict[str, Any] = {"v": 1, "log": "a", "first": 0, "count": 1, "size": 5, "filters": {}}
    members["entries"] = Cid.of(RAW, b"x")
    assert PageRoot.decode(dagcbor.encode(members)).count == 1
    with pytest.raises(FormatError):
        PageRoot.decode(dagcbor.encode(members | change))


def root_of(text: bytes, count: int = 1) -> tuple[PageRoot, bytes]:
    """Return the root of a page with these lines, and their block."""
    block = build_pages.frame(text)
    return PageRoot(log="a", first=0, count=count, entries=Cid.of(RAW, block), size=len(text), filters={}), block


LINE = json.loads(entry_line(MANIFESTS[0], {}))


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "5",
        "",
        "not json",
        json.dumps(LINE | {"records": -1}),
        json.dumps(LINE | {"size": "1"}),
        json.dumps(LINE | {"first": "\x1b[2J" + "0" * 22 + "Z"}),
        json.dumps(LINE | {"last": "today"}),
        json.dumps(LINE | {"ids": {"a": "b"}}),
        "[" * 100_000,
    ],
    ids=lambda line: line[:20],
)
def test_lines_that_are_no_batch_are_refused(line: str) -> None:
    """A line with other members, a time that is none or control characters is not what a keeper wrote."""
    root, block = root_of(line.encode() + b"\n")
    with pytest.raises(FormatError):
        root.decode_entries(block)


def test_the_size_of_lines_and_filters_is_checked_first() -> None:
    """No more is inflated than the root says, and filters that are not as long as the lines say are refused."""
    root, block = root_of(b"null\n")
    assert root.decode_entries(block) == [None]
    with pytest.raises(FormatError):
        PageRoot(log="a", first=0, count=1, entries=root.entries, size=4, filters={}).decode_entries(block)
    for size in (-32, 31, 32 * (MAX_BATCH_BLOCKS + 1)):
        line = json.dumps(LINE | {"ids": {"a": size}})
        root, block = root_of(line.encode() + b"\n")
        with pytest.raises(FormatError):
            spans_of(root.decode_entries(block), "a")
    root, block = root_of(json.dumps(LINE | {"ids": {"a": 32}}).encode() + b"\n")
    for data in (b"", bytes(64)):
        with pytest.raises(FormatError):
            may_hold_each(root.decode_entries(block), "a", [1], data, None)
    with pytest.raises(FormatError):
        may_hold_each(root.decode_entries(block), "a", [1], bytes(32), bytes(31))


def test_a_zone_map_that_json_does_not_hold_is_left_out() -> None:
    """Of a zone map that is very long, or has bytes, the page says nothing: the manifest is read then."""
    from dataclasses import replace

    for stats in ({"fields": {"a": {"values": ["x" * 5000]}}}, {"levels": b"x"}):
        line = entry_line(replace(MANIFESTS[0], stats=stats), {})
        root, block = root_of(line + b"\n")
        (entry,) = root.decode_entries(block)
        assert entry is not None
        assert entry.zone() is None


def test_the_largest_page_is_a_page() -> None:
    """256 batches with the longest zone maps, and filters of all sizes, fit into the blocks of a CAR."""
    import random
    from dataclasses import replace

    draw = random.Random(1)
    stats = [{"fields": {"a": {"values": [f"{draw.getrandbits(15_000):x}"]}}} for _ in range(PAGE_BATCHES)]
    filters = [draw.randbytes(32 * MAX_BATCH_BLOCKS) for _ in range(PAGE_BATCHES)]
    lines = [entry_line(replace(MANIFESTS[0], stats=zone), {"a": len(filters[0])}) for zone in stats]
    data = IndexPage(log="a", first=0, lines=lines, filters={"a": filters}).encode()
    _, entries, _ = read(data)
    assert all(entry is not None and entry.zone() is not None for entry in entries)
    assert car.Reader(BytesIO(data)).roots


def test_golden_files_are_there(tmp_path: Path) -> None:
    """The builder of the golden page needs no zstd: its frame has one raw block."""
    from ipfs_log_handlers.format.payload import inflate

    assert inflate(build_pages.frame(b"text\n"), 5) == b"text\n"
