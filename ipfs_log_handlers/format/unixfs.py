"""Read and write UnixFS files: bytes of any size as a balanced tree of blocks, with the CID that `ipfs add` gives.

Profile `unixfs-v1-2025` (IPIP-499): CIDv1, chunks of 1 MiB as raw leaves, at most 1024 links in a node, all leaves at
one depth. A file of one chunk is that chunk's raw block, without a node. The bytes of a node decide its CID, so
every byte is fixed: links before data, each with an empty name and the size of the whole subtree.
Specs: https://specs.ipfs.tech/unixfs/, https://ipld.io/specs/codecs/dag-pb/spec/, IPIP-499.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import varint
from ipfs_log_handlers.format.cid import DAG_PB, RAW, Cid

__all__ = ["CHUNK", "MAX_DEPTH", "WIDTH", "Builder", "Node", "build", "decode_node", "read"]

CHUNK: Final = 1 << 20
"""Bytes of a leaf; only the last leaf of a file has fewer."""

WIDTH: Final = 1024
"""Links of a node, at most."""

MAX_DEPTH: Final = 8
"""Nodes above a leaf that a reader follows; three are enough for a pebibyte."""

_MAX_NODE = 1 << 20
"""Bytes of the block of an inner node; a larger one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One inner node of a file: the links to its parts, and their sizes."""

    links: tuple[tuple[Cid, int], ...]
    """CID and Tsize of each part; the Tsize is the bytes of all blocks of the part."""

    sizes: tuple[int, ...]
    """Bytes of the file in each part, never 0, so that the work of a reader is bounded by the bytes that it gets."""

    filesize: int
    """Bytes of the file below this node."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.links) <= WIDTH or len(self.links) != len(self.sizes):
            raise FormatError(
                "a file node has another number of links than of sizes",
                expected=f"1 to {WIDTH} of both",
                found=f"{len(self.links)} and {len(self.sizes)}",
            )
        if min(self.sizes) < 1 or sum(self.sizes) != self.filesize:
            raise FormatError("the sizes of a file node do not add up", expected=self.filesize, found=sum(self.sizes))
        if not all(cid.codec in (RAW, DAG_PB) for cid, _ in self.links):
            raise FormatError("a file node links to a block that cannot be a part of a file", expected="raw or dag-pb")

    def encode(self) -> bytes:
        """Write the node as a dag-pb block."""
        parts: list[bytes] = []
        for cid, tsize in self.links:
            link = _LINK_HASH + cid + _LINK_NAME_TSIZE + varint.encode(tsize)
            parts += (b"\x12", varint.encode(len(link)), link)
        data = _FILE + varint.encode(self.filesize)
        data += b"".join([b"\x20" + varint.encode(size) for size in self.sizes])
        parts += (b"\x0a", varint.encode(len(data)), data)
        return b"".join(parts)


# Protobuf tags are field << 3 | wire type. PBNode: Data = 1, Links = 2. PBLink: Hash = 1, Name = 2, Tsize = 3.
# UnixFS Data: Type = 1 (2 is "File"), filesize = 3, blocksizes = 4.
_LINK_HASH = b"\x0a\x24"
_LINK_NAME_TSIZE = b"\x12\x00\x18"  # an empty name, then the Tsize
_FILE = b"\x08\x02\x18"  # type 2, then the filesize


def decode_node(block: bytes) -> Node:
    """Read an inner node of a file.

    Raises:
        FormatError: it is another kind of block (a directory, a leaf with data), or not in the one form that
            `Node.encode` writes.
    """
    if len(block) > _MAX_NODE:
        raise FormatError("a file node is too big", expected=f"at most {_MAX_NODE} bytes", found=len(block))
    links, at = [], 0
    while block[at : at + 1] == b"\x12":
        size, start = varint.decode(block, at + 1)
        links.append(_decode_link(block, start))
        at = start + size
    if block[at : at + 1] != b"\x0a":
        raise FormatError("not a file node", expected="links, then data", where=f"byte {at}")
    _, at = varint.decode(block, at + 1)
    filesize, sizes = _decode_data(block, at)
    node = Node(links=tuple(links), sizes=sizes, filesize=filesize)
    if node.encode() != block:
        raise FormatError("a file node is not in its one canonical form", where=Cid.of(DAG_PB, block).text)
    return node


def _decode_link(block: bytes, at: int) -> tuple[Cid, int]:
    if block[at : at + 2] != _LINK_HASH or block[at + 38 : at + 41] != _LINK_NAME_TSIZE:
        raise FormatError("not a link of a file", expected="a CID, an empty name, a size", where=f"byte {at}")
    return Cid(block[at + 2 : at + 38]), varint.decode(block, at + 41)[0]


def _decode_data(block: bytes, at: int) -> tuple[int, tuple[int, ...]]:
    if block[at : at + 3] != _FILE:
        raise FormatError("not a file node", expected="UnixFS type 2 without data of its own", where=f"byte {at}")
    filesize, at = varint.decode(block, at + 3)
    sizes = []
    while at < len(block):
        if block[at] != 0x20:
            raise FormatError("not a file node", expected="nothing but sizes", where=f"byte {at}")
        size, at = varint.decode(block, at + 1)
        sizes.append(size)
    return filesize, tuple(sizes)


# -- bytes become blocks


class _Part(NamedTuple):
    cid: Cid
    tsize: int
    size: int


def build(chunks: Iterable[bytes], *, chunk: int = CHUNK, width: int = WIDTH) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blocks of a file, each block after all blocks that it links to: the root is the last.

    The pieces may have any size. Memory: one chunk, the current piece, and `width` links for each level. Only tests use
    other values of `chunk` and `width`, because a tree of three levels would otherwise need a tebibyte.
    """
    builder = Builder(width)
    for data in _rechunk(chunks, chunk):
        yield from builder.leaf(data)
    yield from builder.finish()


class Builder:
    """Make the blocks of a file whose bytes are handed in, for a caller that cannot be an iterator.

    Args:
        width: links of a node; only tests use another value.
    """

    __slots__ = ("_levels", "_width")

    def __init__(self, width: int = WIDTH) -> None:
        self._levels: list[list[_Part]] = [[]]
        self._width = width

    def leaf(self, data: bytes) -> Iterator[tuple[Cid, bytes]]:
        """Yield the block of the next bytes, and the nodes that are full after it.

        Args:
            data: `CHUNK` bytes; the last ones may be fewer, and are empty only for an empty file.
        """
        cid = Cid.of(RAW, data)
        yield cid, data
        yield from _append(self._levels, 0, _Part(cid, len(data), len(data)), self._width)

    def finish(self) -> Iterator[tuple[Cid, bytes]]:
        """Yield the remaining nodes, the root last; a file of one leaf has no node."""
        levels, level = self._levels, 0
        # The parts left on each level become a node of the next level, up to the level that has only one node.
        while level < len(levels) - 1 or len(levels[level]) > 1:
            if levels[level]:
                part, block = _node(levels[level])
                levels[level] = []
                yield part.cid, block
                yield from _append(levels, level + 1, part, self._width)
            level += 1


def _rechunk(pieces: Iterable[bytes], chunk: int) -> Iterator[bytes]:
    """Yield chunks of exactly `size` bytes, the last one shorter; one empty chunk for an empty file."""
    held: list[bytes] = []
    missing, empty = chunk, True
    for piece in pieces:
        at = 0
        while len(piece) - at >= missing:
            held.append(piece[at : at + missing])
            yield b"".join(held)
            at, held, missing, empty = at + missing, [], chunk, False
        if at < len(piece):
            held.append(piece[at:])
            missing -= len(piece) - at
    if held or empty:
        yield b"".join(held)


def _append(levels: list[list[_Part]], level: int, part: _Part, width: int) -> Iterator[tuple[Cid, bytes]]:
    """Add a part to a level; yield the nodes that are full after that, from below."""
    if level == len(levels):
        levels.append([])
    levels[level].append(part)
    if len(levels[level]) == width:
        node, block = _node(levels[level])
        levels[level] = []
        yield node.cid, block
        yield from _append(levels, level + 1, node, width)


def _node(parts: list[_Part]) -> tuple[_Part, bytes]:
    filesize = sum([part.size for part in parts])
    links = tuple([(part.cid, part.tsize) for part in parts])
    block = Node(links=links, sizes=tuple([part.size for part in parts]), filesize=filesize).encode()
    return _Part(Cid.of(DAG_PB, block), len(block) + sum([part.tsize for part in parts]), filesize), block


# -- blocks become bytes


def read(
    root: Cid, get: Callable[[Cid], bytes], *, max_bytes: int, tsize: int | None = None, hashed: bool = True
) -> Iterator[bytes]:
    """Yield the bytes of a file, leaf after leaf; each block is hashed and measured before it is used.

    `get` is called for one block at a time, and never for more blocks than the file's size allows. Trees of other chunk
    sizes are read, too, if their leaves are raw.

    Args:
        root: CID of the file.
        get: returns a block.
        max_bytes: bytes that the file may have.
        tsize: size of all blocks of the file, as its directory says.
        hashed: hash each block; false only if `get` does it.

    Raises:
        FormatError: `root` is not a file, or a node in it is not in canonical form.
        VerificationError: a block has another hash than its CID or another size than its parent says, the tree is
            deeper than `MAX_DEPTH`, or the file has more than `max_bytes`.
    """
    if root.codec not in (RAW, DAG_PB):
        raise FormatError("not a file", expected="raw or dag-pb", found=f"codec {root.codec:#x}", where=root.text)
    yield from _read(root, _hashing(get) if hashed else get, (tsize, None), max_bytes, 0)


def _hashing(get: Callable[[Cid], bytes]) -> Callable[[Cid], bytes]:
    def get_hashed(cid: Cid) -> bytes:
        block = get(cid)
        cid.verify(block)
        return block

    return get_hashed


_Claim = tuple[int | None, int | None]
"""Bytes of all blocks of a subtree, and bytes of the file in it, according to its parent; `None` for the root."""


def _read(cid: Cid, get: Callable[[Cid], bytes], claim: _Claim, max_bytes: int, depth: int) -> Iterator[bytes]:
    """Read a subtree, and check that it has the size that its parent claims."""
    block = get(cid)
    if cid.codec == RAW:
        _compare(cid, claim, (len(block), len(block)), max_bytes)
        yield block
        return
    if depth == MAX_DEPTH:
        raise VerificationError("a file is too deep", expected=f"at most {MAX_DEPTH} nodes", where=cid.text)
    node = decode_node(block)
    _compare(cid, claim, (len(block) + sum([tsize for _, tsize in node.links]), node.filesize), max_bytes)
    for (child, tsize), size in zip(node.links, node.sizes, strict=True):
        yield from _read(child, get, (tsize, size), max_bytes, depth + 1)


def _compare(cid: Cid, claim: _Claim, measured: tuple[int, int], max_bytes: int) -> None:
    if measured[1] > max_bytes:
        raise VerificationError("a file is too big", expected=f"at most {max_bytes}", found=measured[1], where=cid.text)
    if any(claimed not in (None, size) for claimed, size in zip(claim, measured, strict=True)):
        raise VerificationError(
            "a part of a file has another size than its node says",
            expected="{} bytes of blocks, {} of the file".format(*claim),
            found="{} and {}".format(*measured),
            where=cid.text,
        )
