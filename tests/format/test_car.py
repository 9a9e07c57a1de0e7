"""CARs: both ways, damaged everywhere, in any pieces, and those of other programs."""

from __future__ import annotations

import io
import mmap
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, dagcbor, varint
from ipfs_log_handlers.format.cid import RAW, Cid
from tests.support.mutations import assert_canonical, assert_refused, assert_total, cuts, flips, mutants, with_junk
from tests.support.strategies import cids, named_blocks
from tests.vectors import load

Contents = tuple[tuple[Cid, ...], list[tuple[Cid, bytes]]]


def named(block: bytes) -> tuple[Cid, bytes]:
    """Put the CID before a block."""
    return Cid.of(RAW, block), block


ONE, TWO, EMPTY = named(b"one"), named(b"two"), named(b"")
LONG = named(b"x" * 200)

HEAD_ONE = "3aa265726f6f747381d82a582500" + ONE[0].hex() + "6776657273696f6e01"
TABLE: list[tuple[Contents, str]] = [
    (((ONE[0],), []), HEAD_ONE),
    (((ONE[0],), [ONE]), HEAD_ONE + "27" + ONE[0].hex() + "6f6e65"),
    (((ONE[0],), [EMPTY, ONE]), HEAD_ONE + "24" + EMPTY[0].hex() + "27" + ONE[0].hex() + "6f6e65"),
    (((ONE[0],), [LONG]), HEAD_ONE + "ec01" + LONG[0].hex() + "78" * 200),
    (
        ((ONE[0], TWO[0]), [TWO]),
        "63a265726f6f747382d82a582500"
        + ONE[0].hex()
        + "d82a582500"
        + TWO[0].hex()
        + "6776657273696f6e0127"
        + TWO[0].hex()
        + "74776f",
    ),
]
IDS = ["nothing", "one", "empty and one", "long", "two roots"]


class Trickle:
    """A stream that gives less than it is asked for."""

    def __init__(self, data: bytes, step: int = 1) -> None:
        self.inner = io.BytesIO(data)
        self.step = step

    def read(self, size: int) -> bytes:
        """Give a step's worth."""
        return self.inner.read(min(size, self.step))


def stream(data: bytes) -> Contents:
    """Read a CAR as a stream."""
    reader = car.Reader(io.BytesIO(data))
    return reader.roots, list(reader)


def trickle(data: bytes) -> Contents:
    """Read a CAR byte by byte."""
    reader = car.Reader(Trickle(data))
    return reader.roots, list(reader)


def encode(contents: Contents) -> bytes:
    """Write what a reader gave."""
    return car.encode(*contents)


READERS = pytest.mark.parametrize("decode", [car.decode, stream, trickle])


@READERS
@pytest.mark.parametrize(("contents", "data"), TABLE, ids=IDS)
def test_both_ways(decode: Callable[[bytes], Contents], contents: Contents, data: str) -> None:
    """Roots and blocks have these bytes, and these bytes are those roots and blocks."""
    roots, blocks = contents

    assert data == car.encode(roots, blocks).hex()
    assert data == (car.header(roots) + b"".join(car.section(*block) for block in blocks)).hex()
    assert contents == decode(bytes.fromhex(data))


@pytest.mark.parametrize("decode", [car.decode, stream])
@pytest.mark.parametrize("data", [data for _, data in TABLE], ids=IDS)
def test_damage(decode: Callable[[bytes], Contents], data: str) -> None:
    """Damage is a FormatError; what is accepted (a cut between sections, another root) is exactly what is written."""
    assert_canonical(decode, encode, mutants(bytes.fromhex(data)))


@pytest.mark.parametrize(("contents", "data"), TABLE, ids=IDS)
def test_cuts(contents: Contents, data: str) -> None:
    """A cut is seen wherever it is, but between two sections: a CAR has no end mark."""
    roots, blocks = contents
    shorter = {len(car.encode(roots, blocks[:count])) for count in range(len(blocks))}
    encoded = bytes.fromhex(data)

    assert_refused(car.decode, [cut for cut in cuts(encoded) if len(cut) not in shorter])
    assert all(car.decode(encoded[:length]) for length in shorter)


@pytest.mark.parametrize("data", [data for _, data in TABLE], ids=IDS)
def test_junk_and_flipped_blocks(data: str) -> None:
    """Junk behind a CAR, and a bit flipped in any section, are seen."""
    encoded = bytes.fromhex(data)
    sections = len(car.header(car.decode(encoded)[0]))

    assert_refused(car.decode, with_junk(encoded))
    assert_refused(lambda tail: car.decode(encoded[:sections] + tail), flips(encoded[sections:]))


@READERS
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not end|ends in the middle"),
        (varint.encode(1) + b"\xa0"[:0], "ends in the middle"),
        (varint.encode(1) + b"\xa0", "not the header"),
        (varint.encode(1) + b"\x00", "not the header"),
        (varint.encode(car.MAX_HEADER + 1) + bytes(100), "too big"),
        (varint.encode(2**60) + bytes(100), "too big"),
        (b"\x80" * 9 + bytes(100), "does not end"),
        (b"\xba\x00" + bytes.fromhex(HEAD_ONE)[1:], "longer than it needs"),
    ],
)
def test_no_header(decode: Callable[[bytes], Contents], data: bytes, message: str) -> None:
    """What does not begin with the header of a CAR is refused."""
    with pytest.raises(FormatError, match=message):
        decode(data)


@READERS
@pytest.mark.parametrize(
    "value",
    [
        {"roots": [ONE[0]]},
        {"version": 1},
        {"roots": [ONE[0]], "version": 2},
        {"roots": [ONE[0]], "version": 0},
        {"roots": [ONE[0]], "version": 1.0},
        {"roots": [ONE[0]], "version": True},
        {"roots": [ONE[0]], "version": "1"},
        {"roots": [], "version": 1},
        {"roots": None, "version": 1},
        {"roots": ONE[0], "version": 1},
        {"roots": {}, "version": 1},
        {"roots": [bytes(ONE[0])], "version": 1},
        {"roots": [ONE[0].text], "version": 1},
        {"roots": [ONE[0], None], "version": 1},
        {"roots": [ONE[0]], "version": 1, "more": 1},
        [ONE[0]],
        ONE[0],
    ],
    ids=repr,
)
def test_other_headers(decode: Callable[[bytes], Contents], value: object) -> None:
    """A header is a map of one or more links and the number 1, and nothing else."""
    block = dagcbor.encode(value)

    with pytest.raises(FormatError):
        decode(varint.encode(len(block)) + block)


@READERS
@pytest.mark.parametrize(
    ("section", "message"),
    [
        (b"\x00", "no room"),
        (b"\x23" + bytes(35), "no room"),
        (b"\x24" + bytes(36), "not a CID"),
        (b"\xa4\x00" + EMPTY[0], "longer than it needs"),
        (b"\x27" + ONE[0] + b"onf", "its hash"),
        (b"\x27" + TWO[0] + b"one", "its hash"),
        (varint.encode(36 + car.MAX_BLOCK + 1) + ONE[0], "too big"),
        (varint.encode(2**62) + ONE[0], "too big"),
        (b"\xff" * 9 + ONE[0], "does not end"),
        (b"\xff\xff\x7f", "ends in the middle|too big"),
        (varint.encode(36 + car.MAX_BLOCK) + ONE[0], "ends in the middle"),
    ],
)
def test_bad_sections(decode: Callable[[bytes], Contents], section: bytes, message: str) -> None:
    """A section without a CID, with a foreign hash, or of a size that nobody sends, is refused."""
    with pytest.raises(FormatError, match=message):
        decode(bytes.fromhex(HEAD_ONE) + section)


def test_limits_of_the_writer() -> None:
    """What no reader takes is not written: a block of more than 2 MiB, no root, too many roots."""
    big = bytes(car.MAX_BLOCK)
    assert big == car.decode(car.encode([ONE[0]], [named(big)]))[1][0][1]

    for write in (
        lambda: car.section(ONE[0], big + b"x"),
        lambda: car.encode([ONE[0]], [(ONE[0], big + b"x")]),
        lambda: car.header([]),
        lambda: car.header([ONE[0]] * 30_000),
    ):
        with pytest.raises(FormatError):
            write()


def test_smaller_limit() -> None:
    """A reader that was told to expect smaller blocks refuses larger ones."""
    data = car.encode([ONE[0]], [LONG])

    assert list(car.Reader(io.BytesIO(data), max_block=200)) == [LONG]
    with pytest.raises(FormatError, match="too big"):
        list(car.Reader(io.BytesIO(data), max_block=199))


def test_declared_sizes_cost_nothing() -> None:
    """A declared size allocates nothing much before as many bytes are there, and nothing is read after damage."""
    data = bytes.fromhex(HEAD_ONE) + varint.encode(36 + car.MAX_BLOCK) + ONE[0]
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            stream(data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_blocks_before_the_damage() -> None:
    """A reader gives out the blocks in front of the damage, and stops there."""
    data = car.encode([ONE[0]], [ONE, TWO]) + b"\x24"
    blocks = iter(car.Reader(io.BytesIO(data)))

    assert [next(blocks), next(blocks)] == [ONE, TWO]
    with pytest.raises(FormatError, match=f"byte {len(data) - 1}"):
        next(blocks)


@given(st.lists(cids, min_size=1, max_size=4), st.lists(named_blocks, max_size=6), st.integers(1, 70))
def test_round_trip(roots: list[Cid], blocks: list[tuple[Cid, bytes]], step: int) -> None:
    """Any roots and blocks come back, in whatever pieces the bytes arrive."""
    data = car.encode(roots, blocks)
    reader = car.Reader(Trickle(data, step))

    assert (tuple(roots), blocks) == car.decode(data)
    assert (tuple(roots), blocks) == (reader.roots, list(reader))


@given(st.lists(named_blocks, max_size=6))
def test_scan(blocks: list[tuple[Cid, bytes]]) -> None:
    """A scan of bytes or of a file says where each block is."""
    data = car.encode([ONE[0]], blocks)
    found = [(cid, data[at : at + size]) for cid, at, size in car.scan(data)]

    assert blocks == found
    assert list(car.scan(data)) == list(car.scan(memoryview(data))) == list(car.scan(io.BytesIO(data)))
    roots, places = car.scan_with_roots(io.BytesIO(data))
    assert ((ONE[0],), list(car.scan(data))) == (roots, list(places))


def test_scan_of_a_mapped_file(tmp_path: Path) -> None:
    """A file that is mapped into memory can be scanned, too."""
    (tmp_path / "a.car").write_bytes(car.encode([ONE[0]], [ONE, TWO]))
    with (tmp_path / "a.car").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert [ONE[0], TWO[0]] == [cid for cid, _, _ in car.scan(mapped)] == [cid for cid, _, _ in car.scan(file)]


def test_scan_does_not_hash() -> None:
    """A scan takes a damaged block for what its CID says, and sees a cut."""
    data = car.encode([ONE[0]], [ONE])

    assert [ONE[0]] == [cid for cid, _, _ in car.scan(data[:-1] + b"X")]
    assert_refused(
        lambda cut: list(car.scan(cut)), [cut for cut in cuts(data) if len(cut) != len(car.header([ONE[0]]))]
    )


@pytest.mark.parametrize("data", [data for _, data in TABLE], ids=IDS)
def test_scan_is_total(data: str) -> None:
    """Whatever the bytes, a scan ends or is a FormatError."""
    assert_total(lambda data: list(car.scan(data)), mutants(bytes.fromhex(data)))
    assert_total(lambda data: list(car.scan(io.BytesIO(data))), mutants(bytes.fromhex(data)))


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    """Random bytes, also behind a good header, are refused, or exactly what is written."""
    assert_canonical(car.decode, encode, [data, bytes.fromhex(HEAD_ONE) + data])
    assert_canonical(stream, encode, [data, bytes.fromhex(HEAD_ONE) + data])


def test_golden() -> None:
    """The CAR that was kept comes out again."""
    kept = load("ipld.json")["car"]
    roots, blocks = car.decode(bytes.fromhex(kept["hex"]))

    assert kept["roots"] == [cid.text for cid in roots]
    assert kept["hex"] == car.encode(roots, blocks).hex()


@pytest.mark.parametrize(("name", "case"), load("foreign.json")["cars"].items())
def test_javascript(name: str, case: dict[str, list[str]] | dict[str, str]) -> None:
    """What `ipfs-car` and `@ipld/car` wrote is read, and written again to the byte."""
    data = bytes.fromhex(str(case["hex"]))
    roots, blocks = car.decode(data)

    assert (case["roots"], case["blocks"]) == ([cid.text for cid in roots], [cid.text for cid, _ in blocks])
    assert data == car.encode(roots, blocks)
