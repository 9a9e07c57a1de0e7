"""Make the tiles of a log: the files of a C2SP tlog-tiles directory, computed from the CIDs of its manifests.

Tile (L, N) holds 256 hashes of 32 bytes: the roots of the perfect subtrees of 256^L leaves from leaf N * 256^(L+1) on.
The last tile of a level may have fewer, W of them, and then has the name `<N>.p/W`. An entry bundle holds the data of
256 leaves, each after its length in two bytes (big endian): the binary CID of a manifest, 36 bytes.
Spec: https://c2sp.org/tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.cid import Cid

__all__ = ["WIDTH", "tile_files"]

WIDTH: Final = 256
"""Hashes or entries in a full tile."""


def tile_files(manifests: Sequence[Cid]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each tile, and of each entry bundle, of the tree over these leaves.

    Args:
        manifests: CIDs of all manifests of a log, oldest first; the leaves of its tree.
    """
    for number, width in _tiles(len(manifests)):
        entries = manifests[number * WIDTH : number * WIDTH + width]
        yield _path("entries", number, width), b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    hashes = [merkle.leaf_hash(cid) for cid in manifests]
    level = 0
    while hashes:
        for number, width in _tiles(len(hashes)):
            yield _path(str(level), number, width), b"".join(hashes[number * WIDTH : number * WIDTH + width])
        full = len(hashes) // WIDTH
        hashes = [merkle.root(hashes[number * WIDTH : (number + 1) * WIDTH]) for number in range(full)]
        level += 1


def _tiles(count: int) -> Iterator[tuple[int, int]]:
    """Yield number and width of the tiles that hold so many hashes."""
    for number in range(count // WIDTH):
        yield number, WIDTH
    if count % WIDTH:
        yield count // WIDTH, count % WIDTH


def _path(level: str, number: int, width: int) -> str:
    """Name a tile: its number in groups of three digits, each but the last with an `x` in front."""
    digits = f"{number:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{name}" + ("" if width == WIDTH else f".p/{width}")
