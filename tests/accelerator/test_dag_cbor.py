"""The accelerator reads DAG-CBOR as Python does, and leaves to Python all that Python refuses."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.accelerator.state import ACCELERATOR
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from tests.vectors.build_chain import heads, manifests

texts = st.one_of(st.text(max_size=8), st.text("k", min_size=20, max_size=300))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, -1, -24, -25, -256, -257, -(1 << 63)]),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.binary(max_size=300),
    st.binary(max_size=4).map(lambda block: Cid.of(DAG_CBOR, block)),
)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=30), st.dictionaries(texts, inner, max_size=30))
)
BLOCKS = [*(manifest.encode() for manifest in manifests()[:3]), *(head.encode() for head in heads()[:2])]


def by_python(data: bytes) -> Any:
    """Decode without the accelerator; `NotImplemented` where that raises."""
    with mock.patch.object(dagcbor, "ACCELERATOR", None):
        try:
            return dagcbor.decode(data)
        except FormatError:
            return NotImplemented


def assert_same(data: bytes) -> None:
    """Compare values and types."""
    found, expected = ACCELERATOR.read_dag_cbor(data, Cid), by_python(data)
    if found is NotImplemented:
        assert expected is NotImplemented, data.hex()
    else:
        assert repr(found) == repr(expected), data.hex()
        assert _types(found) == _types(expected)


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _types(item)) for key, item in value.items()]
    return [_types(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.slow
@given(values)
def test_each_value_is_read_as_python_reads_it(value: Any) -> None:
    """Also its type: a link is a `Cid`, and no number becomes a float."""
    data = dagcbor.encode(value)
    assert ACCELERATOR.read_dag_cbor(data, Cid) is not NotImplemented
    assert_same(data)


@pytest.mark.slow
@given(st.one_of(values.map(dagcbor.encode), st.sampled_from(BLOCKS)), st.data())
def test_damaged_bytes_are_left_to_python(data: bytes, draw: st.DataObject) -> None:
    """Each changed, cut, inserted or repeated byte: both read the same, or both refuse."""
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(changed)))
        if draw.draw(st.booleans()):
            changed[place : place + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=2))
        else:
            changed[place : place + 1] = bytes([draw.draw(st.integers(0, 255))])
    assert_same(bytes(changed))


@given(st.binary(max_size=40))
def test_random_bytes_are_read_or_refused_as_python_does(data: bytes) -> None:
    """Most of them are no DAG-CBOR."""
    assert_same(data)


@pytest.mark.parametrize("block", BLOCKS, ids=len)
def test_a_block_with_a_flipped_bit_is_read_or_refused_as_python_does(block: bytes) -> None:
    """A manifest or a head block with one other bit."""
    for place in range(len(block) * 8):
        changed = bytearray(block)
        changed[place // 8] ^= 1 << place % 8
        assert_same(bytes(changed))


@pytest.mark.parametrize("inner", [b"\x81", b"\xa1\x60"])
def test_values_are_read_as_deep_as_python_reads_them(inner: bytes) -> None:
    """As deep as Python goes, and one level deeper."""
    for depth in (1, 31, 32, 33, 2000):
        assert_same(inner * depth + b"\x00")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "1817", "190017", "1a0000ffff", "1b00000000ffffffff",  # heads longer than needed
        "9f00ff", "bf6100ff", "7f6161ff", "1c", "fc",  # indefinite or reserved
        "9affffffff00", "bb7fffffffffffffff", "7affffffff61", "5b8000000000000000",  # lengths past the end
        "fb7ff8000000000000", "fb7ff0000000000000", "f93c00", "fa3f800000", "f7", "f817",
        "a2616100616100", "a2616200616100", "a262616100616200", "a10000", "a1f600",  # keys
        "61ff", "62c3", "63eda080",  # no UTF-8
        "c100", "d82a00", "d82a582501" + "00" * 36, "d82a5825000155122000", "d82a582500" + "00" * 36,
        "0000",
    ],
)  # fmt: skip
def test_what_is_not_strict_is_left_to_python(data: str) -> None:
    """Then Python says what is wrong with it."""
    assert ACCELERATOR.read_dag_cbor(bytes.fromhex(data), Cid) is NotImplemented
    assert_same(bytes.fromhex(data))


def test_the_smallest_number_is_read_by_python() -> None:
    """-2^64 has a place in DAG-CBOR, but not in a number of C."""
    data = dagcbor.encode(-(1 << 64))
    assert ACCELERATOR.read_dag_cbor(data, Cid) is NotImplemented
    assert dagcbor.decode(data) == -(1 << 64)


def test_an_interrupt_while_a_link_is_made_is_not_hidden() -> None:
    """Errors of Python's code are left to Python; KeyboardInterrupt ends the reading."""
    data = dagcbor.encode([Cid.of(RAW, b"")])

    def interrupted(_: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ACCELERATOR.read_dag_cbor(data, interrupted)
    assert ACCELERATOR.read_dag_cbor(data, int) is NotImplemented


def test_only_bytes_are_read() -> None:
    """And both arguments are needed."""
    for arguments in ((bytearray(b"\x00"), Cid), ("x", Cid), (b"\x00",), ()):
        with pytest.raises((TypeError, BufferError)):
            ACCELERATOR.read_dag_cbor(*arguments)
