"""Unsigned varints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import varint

TABLE = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (255, "ff01"),
    (300, "ac02"),
    (16383, "ff7f"),
    (16384, "808001"),
    (varint.MAX, "ffffffffffffffff7f"),
]


@pytest.mark.parametrize(("number", "data"), TABLE)
def test_both_ways(number: int, data: str) -> None:
    """A number has these bytes, and these bytes are that number."""
    encoded = bytes.fromhex(data)

    assert encoded == varint.encode(number)
    assert (number, len(encoded)) == varint.decode(encoded, 0)
    assert (number, len(encoded) + 2) == varint.decode(b"\xff\xff" + encoded + b"\x80", 2)


@pytest.mark.parametrize("data", ["", "80", "ff", "8000", "ff00", "80808000", "ff" * 9 + "01", "80" * 8 + "00"])
def test_refused(data: str) -> None:
    """What does not end, is longer than needed, or has more than nine bytes, is no varint."""
    with pytest.raises(FormatError):
        varint.decode(bytes.fromhex(data), 0)


@pytest.mark.parametrize("number", [-1, varint.MAX + 1])
def test_out_of_range(number: int) -> None:
    """What does not fit is not written."""
    with pytest.raises(FormatError, match="cannot hold"):
        varint.encode(number)


@given(st.integers(0, varint.MAX))
def test_round_trip(number: int) -> None:
    """Each number comes back."""
    assert (number, len(varint.encode(number))) == varint.decode(varint.encode(number), 0)
