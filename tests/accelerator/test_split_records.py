"""The accelerator splits a block of a segment as Python does, also a damaged one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.accelerator.state import ACCELERATOR
from ipfs_log_handlers.format import line

JSON = st.sampled_from(
    [b"{}", b'{"a":1}', '{"é":"x"}'.encode(), b"{\xff}", b"[]", b"{", b"}", b"", b'{"a":"' + b"x" * 300 + b'"}']
)
LINES = st.one_of(
    JSON.map(line.record),
    JSON.map(line.control),
    JSON.map(line.header),
    st.binary(max_size=30).map(lambda junk: junk + b"\n"),
    st.sampled_from([b"\n", b"00000000 {}\n", b"a" * 9 + b"\n", b"00000000 }\n"]),
)


@given(st.lists(LINES, max_size=8), st.integers(0, 30), st.integers(0, 30))
def test_blocks_of_all_kinds(lines: list[bytes], cut_before: int, cut_after: int) -> None:
    """Whole and damaged lines in any order, cut at both ends."""
    block = b"".join(lines)
    block = block[cut_before : len(block) - cut_after]
    assert ACCELERATOR.split_records(block) == line.split_records(block)


@given(st.lists(JSON, min_size=1, max_size=6), st.data())
def test_each_single_flipped_bit(jsons: list[bytes], data: st.DataObject) -> None:
    """One bit of a valid block is another one."""
    block = bytearray(b"".join(map(line.record, jsons)))
    place = data.draw(st.integers(0, len(block) * 8 - 1))
    block[place // 8] ^= 1 << place % 8
    assert ACCELERATOR.split_records(bytes(block)) == line.split_records(bytes(block))


def test_other_types_are_refused() -> None:
    """Only bytes are a block."""
    for block in ("x", bytearray(b"x"), None, 5):
        try:
            ACCELERATOR.split_records(block)
        except TypeError:
            continue
        raise AssertionError(block)
