"""Tiles: the worked example of C2SP tlog-tiles, and each hash against the definition of RFC 6962."""

from __future__ import annotations

from hashlib import sha256
from itertools import islice

import pytest

from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.tiles import tile_files


def leaves(count: int) -> list[Cid]:
    """Return the CIDs of so many made-up manifests."""
    return [Cid.of(DAG_CBOR, number.to_bytes(4, "big")) for number in range(count)]


def test_the_worked_example_of_the_specification():
    """A tree of 70,000 leaves has 273 full tiles and one of 112, then 1 and one of 17, then one of 1."""
    files = dict(tile_files(leaves(70_000)))
    by_level = {
        level: sorted(name for name in files if name.startswith(f"tile/{level}/")) for level in ("entries", 0, 1, 2, 3)
    }
    assert {level: len(names) for level, names in by_level.items()} == {"entries": 274, 0: 274, 1: 2, 2: 1, 3: 0}
    assert by_level[1] == ["tile/1/000", "tile/1/001.p/17"]
    assert by_level[2] == ["tile/2/000.p/1"]
    assert {len(files[name]) for name in by_level[0] if ".p/" not in name} == {8192}
    assert {len(files[name]) for name in by_level["entries"] if ".p/" not in name} == {9728}
    assert len(files["tile/0/273.p/112"]) == 112 * 32
    assert len(files["tile/entries/273.p/112"]) == 112 * 38
    assert (
        sha256(b"".join(files[name] for name in sorted(files))).hexdigest()
        == "40a52a548870014a1a34b9a8f8126e94f4d3e8a7e6bcaf9c5cf64c1378b0152f"
    )


def test_numbers_of_more_than_three_digits_have_directories():
    """Number 1,234,067 is x001/x234/067 in the specification; number 1,000 is x001/000."""
    names = [name for name, _ in islice(tile_files(leaves(1) * 256_001), 1001)]
    assert names[999] == "tile/entries/999"
    assert names[1000] == "tile/entries/x001/000.p/1"


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_the_tiles_hold_the_entries_and_give_the_root(size):
    """A reader with nothing but tiles computes leaves, subtrees and the root that a checkpoint signs."""
    cids = leaves(size)
    files = dict(tile_files(cids))
    entries, hashes = [], {}
    for name, content in files.items():
        _, level, *rest = name.split("/")
        number = int("".join(rest[: len(rest) - (".p" in name)]).replace("x", "").removesuffix(".p"))
        if level == "entries":
            assert {content[at : at + 2] for at in range(0, len(content), 38)} == {b"\0\x24"}
            entries += [content[at + 2 : at + 38] for at in range(0, len(content), 38)]
            continue
        for at in range(0, len(content), 32):
            hashes[int(level), number * 256 + at // 32] = content[at : at + 32]
    assert entries == cids
    for (height, number), value in hashes.items():
        if height == 0:
            assert value == sha256(b"\0" + cids[number]).digest()
        else:
            below = [hashes[height - 1, number * 256 + place] for place in range(256)]
            assert value == merkle.root(below)
    level_0 = [hashes[0, number] for number in range(size)]
    assert merkle.root(level_0) == merkle.root([merkle.leaf_hash(cid) for cid in cids])
