"""UnixFS files: the CIDs of other programs, both ways, and trees that lie."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import unixfs, varint
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from ipfs_log_handlers.format.unixfs import Node
from tests.support.mutations import assert_canonical, assert_refused, cuts, flips, with_junk
from tests.support.strategies import pieces
from tests.vectors import load
from tests.vectors.build_ipld import pattern

MIB = 1 << 20
FOREIGN = load("foreign.json")
LEAF = b"0123456789"
LEAF_CID = Cid.of(RAW, LEAF)
NO_BYTES = 1 << 30


def root_of(blocks: Iterator[tuple[Cid, bytes]]) -> Cid:
    """Let the blocks pass; name the last."""
    *_, root = (cid for cid, _ in blocks)
    return root


def node(*parts: tuple[Cid, int, int]) -> bytes:
    """Write a node over parts of CID, Tsize and size, whatever is behind them."""
    links = tuple((cid, tsize) for cid, tsize, _ in parts)
    sizes = tuple(size for _, _, size in parts)
    return Node(links=links, sizes=sizes, filesize=sum(sizes)).encode()


TWO_LEAVES = node((LEAF_CID, 10, 10), (LEAF_CID, 10, 10))
NODES = [node((LEAF_CID, 10, 10)), TWO_LEAVES, node((Cid.of(DAG_PB, TWO_LEAVES), 2**40, 2**35), (LEAF_CID, 300, 200))]


@pytest.mark.parametrize("size", FOREIGN["unixfs"])
def test_other_programs(size: str) -> None:
    """A file of each size has the CID that `ipfs-unixfs-importer` and `ipfs-car` give it."""
    assert {root_of(unixfs.build(pattern(int(size)))).text} == set(FOREIGN["unixfs"][size].values())


@pytest.mark.parametrize("case", FOREIGN["trees"], ids=lambda case: "{size}/{chunk}/{width}".format(**case))
def test_small_trees(case: dict[str, Any]) -> None:
    """Trees of up to eight levels are those of `ipfs-unixfs-importer`, and are read back."""
    data = bytes(n % 251 for n in range(case["size"]))
    blocks = list(unixfs.build([data], chunk=case["chunk"], width=case["width"]))

    assert case["cid"] == blocks[-1][0].text
    assert data == b"".join(unixfs.read(blocks[-1][0], dict(blocks).__getitem__, max_bytes=len(data)))


def test_known_files() -> None:
    """A file of at most one chunk is its raw block, and nothing else; the empty file, too."""
    assert [(Cid.of(RAW, b""), b"")] == list(unixfs.build([]))
    assert [(Cid.of(RAW, b""), b"")] == list(unixfs.build([b"", b""]))
    assert [(Cid.of(RAW, b"hello world\n"), b"hello world\n")] == list(unixfs.build([b"hello ", b"", b"world\n"]))
    assert [(Cid.of(RAW, bytes(MIB)), bytes(MIB))] == list(unixfs.build([bytes(MIB)]))
    assert len(list(unixfs.build([bytes(3 * MIB)]))) == 4


def test_bytes_of_a_node() -> None:
    """Links stand before data, with an empty name; sizes are those of the subtree, and of the file."""
    link = "122a" + "0a24" + LEAF_CID.hex() + "1200" + "180a"

    assert link + link + "0a08" + "0802" + "1814" + "200a" + "200a" == TWO_LEAVES.hex()


def test_golden() -> None:
    """The nodes that were kept come out again."""
    for kept in load("ipld.json")["unixfs"]:
        blocks = list(unixfs.build(pattern(kept["size"])))
        assert (kept["blocks"], kept["root"]) == ([cid.text for cid, _ in blocks], blocks[-1][1].hex())


@given(pieces, st.integers(1, 20), st.integers(3, 5))
def test_round_trip(parts: list[bytes], chunk: int, width: int) -> None:
    """Bytes come back, in whatever pieces they were given; each block comes after those it links to, the root last."""
    data = b"".join(parts)
    blocks = list(unixfs.build(parts, chunk=chunk, width=width))
    root = blocks[-1][0]

    assert blocks == list(unixfs.build([data], chunk=chunk, width=width))
    assert data == b"".join(unixfs.read(root, dict(blocks).__getitem__, max_bytes=len(data)))
    seen: set[Cid] = set()
    for cid, block in blocks:
        if cid.codec == DAG_PB:
            assert seen.issuperset(link for link, _ in unixfs.decode_node(block).links)
        cid.verify(block)
        seen.add(cid)


@pytest.mark.parametrize("block", NODES)
def test_nodes_both_ways(block: bytes) -> None:
    """A node is read and written again to the byte; cut, with junk or any bit flipped it is refused, or another one."""
    assert block == unixfs.decode_node(block).encode()
    assert_refused(unixfs.decode_node, cuts(block))
    assert_refused(unixfs.decode_node, with_junk(block))
    assert_canonical(unixfs.decode_node, Node.encode, flips(block))


@given(st.binary(max_size=100))
def test_random_bytes(data: bytes) -> None:
    """Random bytes, also behind a good link, are refused, or exactly what is written."""
    assert_canonical(unixfs.decode_node, Node.encode, [data, TWO_LEAVES[:44] + data, TWO_LEAVES[:88] + data])


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """Write a protobuf message."""
    parts = []
    for tag, value in fields:
        body = varint.encode(value) if isinstance(value, int) else varint.encode(len(value)) + value
        parts.append(bytes((tag << 3 | (0 if isinstance(value, int) else 2),)) + body)
    return b"".join(parts)


GOOD_LINK = message((1, LEAF_CID), (2, b""), (3, 10))
GOOD_DATA = message((1, 2), (3, 10), (4, 10))


@pytest.mark.parametrize(
    ("reason", "block"),
    [
        ("empty", b""),
        ("empty data", message((1, b""))),
        ("data before links", message((1, GOOD_DATA), (2, GOOD_LINK))),
        ("no data", message((2, GOOD_LINK))),
        ("no links", message((1, GOOD_DATA))),
        ("directory", message((1, message((1, 1))))),
        ("raw leaf in dag-pb", message((1, message((1, 0), (2, LEAF), (3, 10))))),
        ("file leaf in dag-pb", message((1, message((1, 2), (2, LEAF), (3, 10))))),
        ("data in a node", message((2, GOOD_LINK), (1, message((1, 2), (2, LEAF), (3, 20), (4, 10))))),
        ("symlink", message((1, message((1, 4), (2, b"/etc/passwd"))))),
        ("mode", message((2, GOOD_LINK), (1, GOOD_DATA + message((7, 0o644))))),
        ("no name", message((2, message((1, LEAF_CID), (3, 10))), (1, GOOD_DATA))),
        ("a name", message((2, message((1, LEAF_CID), (2, b"a"), (3, 10))), (1, GOOD_DATA))),
        ("no Tsize", message((2, message((1, LEAF_CID), (2, b""))), (1, GOOD_DATA))),
        ("other order in a link", message((2, message((2, b""), (1, LEAF_CID), (3, 10))), (1, GOOD_DATA))),
        ("CIDv0", message((2, message((1, b"\x12\x20" + bytes(32)), (2, b""), (3, 10))), (1, GOOD_DATA))),
        ("link to dag-cbor", message((2, message((1, Cid.of(DAG_CBOR, LEAF)), (2, b""), (3, 10))), (1, GOOD_DATA))),
        ("more links than sizes", message((2, GOOD_LINK), (2, GOOD_LINK), (1, GOOD_DATA))),
        ("more sizes than links", message((2, GOOD_LINK), (1, message((1, 2), (3, 10), (4, 5), (4, 5))))),
        ("sizes do not add up", message((2, GOOD_LINK), (1, message((1, 2), (3, 11), (4, 10))))),
        ("a size of 0", message((2, GOOD_LINK), (2, GOOD_LINK), (1, message((1, 2), (3, 10), (4, 10), (4, 0))))),
        ("packed sizes", message((2, GOOD_LINK), (1, message((1, 2), (3, 10), (4, b"\x0a"))))),
        ("sizes before filesize", message((2, GOOD_LINK), (1, message((1, 2), (4, 10), (3, 10))))),
        ("no filesize", message((2, GOOD_LINK), (1, message((1, 2), (4, 10))))),
        ("longer varint", message((2, GOOD_LINK)) + b"\x0a\x86\x00" + GOOD_DATA),
        ("unknown field", message((2, GOOD_LINK), (1, GOOD_DATA), (3, 1))),
        ("link with junk", message((2, GOOD_LINK + b"\x00"), (1, GOOD_DATA))),
        ("length past the end", b"\x12\xff\xff\x03" + GOOD_LINK),
        ("1025 links", message(*[(2, GOOD_LINK)] * 1025, (1, message((1, 2), (3, 10250), *[(4, 10)] * 1025)))),
        ("2 MiB", bytes(2 * MIB)),
    ],
)
def test_refused_nodes(reason: str, block: bytes) -> None:
    """What is not a file node in the form that the profile writes is a FormatError."""
    with pytest.raises(FormatError):
        unixfs.decode_node(block)


def test_the_good_node_of_these_tests() -> None:
    """The node that the table above damages is a good one."""
    assert unixfs.decode_node(message((2, GOOD_LINK), (1, GOOD_DATA))).filesize == 10


def store(*blocks: bytes) -> tuple[Cid, Callable[[Cid], bytes]]:
    """Keep leaves, and nodes over them; the last is the root."""
    kept = {Cid.of(codec, block): block for block in blocks for codec in (RAW, DAG_PB)}
    return Cid.of(DAG_PB, blocks[-1]), kept.__getitem__


def test_every_flipped_bit_of_a_file() -> None:
    """A bit flipped in any block is a VerificationError, and nothing of that block is seen before."""
    data = bytes(range(50))
    blocks = dict(unixfs.build([data], chunk=20, width=2))
    root = list(blocks)[-1]

    for victim, block in blocks.items():
        for mutant in flips(block):
            seen: list[bytes] = []
            with pytest.raises(VerificationError, match=victim.text):
                seen.extend(unixfs.read(root, ({**blocks, victim: mutant}).__getitem__, max_bytes=50))
            assert data.startswith(b"".join(seen))


@pytest.mark.parametrize(
    ("reason", "parts"),
    [
        ("size too small", [(LEAF_CID, 10, 9), (LEAF_CID, 10, 10)]),
        ("size too large", [(LEAF_CID, 10, 10), (LEAF_CID, 10, 11)]),
        ("Tsize too small", [(LEAF_CID, 9, 10)]),
        ("Tsize too large", [(LEAF_CID, 10, 10), (LEAF_CID, 11, 10)]),
        ("Tsize of a node without itself", [(Cid.of(DAG_PB, TWO_LEAVES), 20, 20)]),
        ("size of a node", [(Cid.of(DAG_PB, TWO_LEAVES), len(TWO_LEAVES) + 20, 21)]),
    ],
)
def test_lying_nodes(reason: str, parts: list[tuple[Cid, int, int]]) -> None:
    """A node whose hash is right and whose sizes are wrong is a VerificationError."""
    root, get = store(LEAF, TWO_LEAVES, node(*parts))

    with pytest.raises(VerificationError, match="another size than its node says"):
        list(unixfs.read(root, get, max_bytes=NO_BYTES))


def test_honest_node() -> None:
    """A node over a node and a leaf with the right sizes is read, although no `add` would build it."""
    root, get = store(
        LEAF, TWO_LEAVES, node((Cid.of(DAG_PB, TWO_LEAVES), len(TWO_LEAVES) + 20, 20), (LEAF_CID, 10, 10))
    )

    assert b"".join(unixfs.read(root, get, max_bytes=30)) == LEAF * 3


def test_max_bytes() -> None:
    """A file with more bytes than expected is refused before anything of it is seen."""
    blocks = list(unixfs.build([bytes(50)], chunk=20))
    root, get = blocks[-1][0], dict(blocks).__getitem__

    assert len(b"".join(unixfs.read(root, get, max_bytes=50))) == 50
    with pytest.raises(VerificationError, match="too big"):
        next(unixfs.read(root, get, max_bytes=49))
    with pytest.raises(VerificationError, match="too big"):
        next(unixfs.read(LEAF_CID, lambda _: LEAF, max_bytes=9))


def test_too_deep() -> None:
    """A chain of nodes over one leaf ends at the depth limit, however it goes on."""
    blocks, cid, tsize = [LEAF], LEAF_CID, 10
    for _ in range(unixfs.MAX_DEPTH + 1):
        blocks.append(node((cid, tsize, 10)))
        cid, tsize = Cid.of(DAG_PB, blocks[-1]), tsize + len(blocks[-1])

    root, get = store(*blocks[:-1])
    assert list(unixfs.read(root, get, max_bytes=10)) == [LEAF]
    root, get = store(*blocks)
    with pytest.raises(VerificationError, match="too deep"):
        list(unixfs.read(root, get, max_bytes=10))


def test_work_is_bounded() -> None:
    """A tree that links to the same node over and over costs what its size allows, and not a power of it."""
    asked = 0

    def get(cid: Cid) -> bytes:
        nonlocal asked
        asked += 1
        return kept(cid)

    blocks, cid, tsize, size = [LEAF], LEAF_CID, 10, 10
    for _ in range(5):
        blocks.append(node(*[(cid, tsize, size)] * 1000))
        cid, tsize, size = Cid.of(DAG_PB, blocks[-1]), tsize * 1000 + len(blocks[-1]), size * 1000
    root, kept = store(*blocks)

    with pytest.raises(VerificationError, match="too big"):
        list(unixfs.read(root, get, max_bytes=10**9))
    assert asked == 1


def test_not_a_file() -> None:
    """A manifest is no file, and nobody is asked for it."""
    with pytest.raises(FormatError, match="not a file"):
        next(unixfs.read(Cid.of(DAG_CBOR, b"\xa0"), lambda cid: pytest.fail(f"{cid} was asked for"), max_bytes=10))


def test_a_store_that_has_not_the_block() -> None:
    """What `get` raises passes through."""
    nothing: dict[Cid, bytes] = {}

    with pytest.raises(KeyError):
        next(unixfs.read(LEAF_CID, nothing.__getitem__, max_bytes=10))


def test_memory_is_bounded() -> None:
    """A file is built in the memory of a few chunks, whatever its size."""
    tracemalloc.start()
    try:
        root_of(unixfs.build(pattern(64 * MIB)))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_piece_larger_than_a_chunk() -> None:
    """A piece that spans chunks is cut at their borders."""
    parts = [block for cid, block in unixfs.build([bytes(range(35)), bytes(5)], chunk=10) if cid.codec == RAW]

    assert [len(part) for part in parts] == [10, 10, 10, 10]
    assert all(before[-1] + 1 == after[0] for before, after in pairwise(parts))
