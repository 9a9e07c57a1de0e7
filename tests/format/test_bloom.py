"""The Bloom filters of ids: none is missed, few others are found, and the bytes are those of docs/formats.md."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers import ConfigurationError
from ipfs_log_handlers.format.bloom import (
    BATCH_BITS,
    MAX_BATCH_BLOCKS,
    MAX_PAGE_BLOCKS,
    PAGE_BITS,
    BloomFilter,
    block_count,
    hash_of_number,
    hash_of_text,
    hashes_in,
    may_hold,
)
from ipfs_log_handlers.query.where import comparisons

numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False))
values = st.one_of(st.text(), numbers, st.booleans(), st.none(), st.lists(st.integers()))


def by_the_page(ids: list[bytes], blocks: int) -> bytes:
    """Make a filter bit by bit, as docs/formats.md says."""
    bits = bytearray(32 * blocks)
    for key in ids:
        digest = hashlib.sha256(key).digest()
        block = int.from_bytes(digest[:4], "little") * blocks >> 32
        five = int.from_bytes(digest[4:9], "little")
        for word in range(8):
            bit = 32 * word + (five >> 5 * word) % 32
            bits[32 * block + bit // 8] |= 1 << bit % 8
    return bytes(bits)


@given(st.lists(st.text(), max_size=40), st.lists(numbers, max_size=10))
def test_the_bytes_are_those_that_the_page_says(texts: list[str], others: list[float]) -> None:
    """Key, hash, block and bits of an id are as docs/formats.md has them, whatever the ids."""
    hashes = {hash_of_text(text) for text in texts} | {hash_of_number(number) for number in others}
    filled = BloomFilter.of(hashes, BATCH_BITS, MAX_BATCH_BLOCKS).encode()
    keys = [b"t" + text.encode("utf-8", "surrogatepass") for text in texts]
    keys += [b"n" + struct.pack(">d", float(number) + 0.0) for number in others]
    assert by_the_page(keys, len(filled) // 32) == filled
    assert len(filled) // 32 == -(-len(hashes) * BATCH_BITS // 256)


@given(st.lists(values, max_size=30), st.data())
def test_no_value_that_a_condition_finds_is_missed(column: list[Any], data: st.DataObject) -> None:
    """Whatever a field holds: where a condition finds a record, the filter of its batch does not rule it out."""
    filled = BloomFilter.of(hashes_in(column), BATCH_BITS, MAX_BATCH_BLOCKS).encode()
    asked = data.draw(st.one_of(values, st.sampled_from(column)) if column else values)
    conditions: list[Any] = [{"id": [asked]}] if not isinstance(asked, list) else []
    if isinstance(asked, (str, int, float)) or asked is None:
        conditions.append({"id": asked})
    if not isinstance(asked, list):
        conditions.append(f"id={json.dumps(asked)}")
        conditions.append(f"id={asked}")
    for condition in conditions:
        try:
            (comparison,) = comparisons(condition)
        except ConfigurationError:
            continue  # such a text is no condition
        if comparison.ids is not None and any(comparison.matches({"id": value}) for value in column):
            assert comparison.ids[0] == "id"
            assert may_hold(filled, comparison.ids[1])


@pytest.mark.parametrize(
    ("stated", "asked"),
    [
        ("500", "id=500"),
        ("500.0", "id=500"),
        (500.0, "id=500"),
        (500, "id=500.0"),
        (-0.0, "id=0"),
        (2**80, f"id={2**80}"),
    ],
)
def test_a_number_is_found_however_it_is_written(stated: Any, asked: str) -> None:
    """On the command line a number finds the number and the text of that number: the filter has both."""
    (comparison,) = comparisons(asked)
    assert comparison.matches({"id": stated})
    assert comparison.ids is not None
    assert may_hold(BloomFilter.of(hashes_in([stated]), BATCH_BITS, MAX_BATCH_BLOCKS).encode(), comparison.ids[1])


def test_true_and_null_are_no_ids_and_rule_nothing_out() -> None:
    """A condition on true, false, null, a part of a text or an order leaves open which ids match."""
    assert hashes_in([True, None, [1], {"a": 1}]) == set()
    for condition in ({"id": True}, {"id": None}, {"id": ["a", None]}, "id~a", {"id": {">": 1}}, {"id": {"!=": "a"}}):
        (comparison,) = comparisons(condition)
        assert comparison.ids is None
    for path in ("a.b", "event", "subsystem"):
        (comparison,) = comparisons({path: "x"})
        assert comparison.ids is None


def test_without_ids_nothing_may_be_there() -> None:
    """A batch whose records have no id has a filter of no bytes, which rules out every id."""
    assert BloomFilter.of(set(), BATCH_BITS, MAX_BATCH_BLOCKS).encode() == b""
    assert not may_hold(b"", [hash_of_text("a")])
    assert not may_hold(bytes(32), [])


@pytest.mark.parametrize(
    ("bits", "max_blocks", "ids", "least", "most"),
    [
        (BATCH_BITS, MAX_BATCH_BLOCKS, 200, 0.005, 0.018),
        (BATCH_BITS, MAX_BATCH_BLOCKS, 1000, 0.005, 0.018),
        (PAGE_BITS, MAX_PAGE_BLOCKS, 20_000, 0.02, 0.045),
    ],
)
def test_the_rates_of_wrong_hits_are_those_of_the_page(
    bits: int, max_blocks: int, ids: int, least: float, most: float
) -> None:
    """Of ids that are not there, about 1.2 % are found in the filter of a batch and 3.4 % in that of a page."""
    draw = random.Random(ids)
    filled = BloomFilter.of({draw.getrandbits(72) for _ in range(ids)}, bits, max_blocks).encode()
    assert len(filled) == 32 * block_count(ids, bits, max_blocks)
    wrong = sum(may_hold(filled, [draw.getrandbits(72)]) for _ in range(5000)) / 5000
    assert least < wrong < most
