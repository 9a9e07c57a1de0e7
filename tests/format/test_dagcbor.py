"""DAG-CBOR: one table both ways, a table of what is refused, and two other implementations."""

from __future__ import annotations

import base64
import enum
import json
import math
import tracemalloc
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from tests.support.dagcbor_refused import REFUSED
from tests.support.mutations import assert_canonical, assert_refused, cuts, flips, mutants, with_junk
from tests.support.strategies import dag_values
from tests.vectors import load
from tests.vectors.build_ipld import VALUES

EMPTY = Cid.of(RAW, b"")
LINK = "d82a582500" + EMPTY.hex()

TABLE: list[tuple[Any, str]] = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65535, "19ffff"),
    (65536, "1a00010000"),
    (2**32 - 1, "1affffffff"),
    (2**32, "1b0000000100000000"),
    (2**64 - 1, "1bffffffffffffffff"),
    (-1, "20"),
    (-24, "37"),
    (-25, "3818"),
    (-(2**63), "3b7fffffffffffffff"),
    (-(2**64), "3bffffffffffffffff"),
    (None, "f6"),
    (False, "f4"),
    (True, "f5"),
    (0.0, "fb0000000000000000"),
    (2.0, "fb4000000000000000"),
    (1.1, "fb3ff199999999999a"),
    (-1e300, "fbfe37e43c8800759c"),
    (5e-324, "fb0000000000000001"),
    ("", "60"),
    ("a", "6161"),
    ("水", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ("x" * 24, "7818" + "78" * 24),
    ("x" * 256, "790100" + "78" * 256),
    (b"", "40"),
    (b"\x01\x02", "420102"),
    (bytes(24), "5818" + "00" * 24),
    (bytes(EMPTY), "5824" + EMPTY.hex()),
    (EMPTY, LINK),
    ([], "80"),
    ([1, [2, 3]], "8201820203"),
    (list(range(25)), "9819" + "".join(f"{n:02x}" for n in range(24)) + "1818"),
    ({}, "a0"),
    ({"a": 1, "b": [2, EMPTY]}, "a261610161628202" + LINK),
    ({"b": 1, "aa": 2, "": 3, "ä": 4}, "a4600361620162616102" + "62c3a404"),
]

SHORT = [pair for pair in TABLE if len(pair[1]) < 160]


@pytest.mark.parametrize(("value", "data"), TABLE, ids=[data[:20] for _, data in TABLE])
def test_both_ways(value: Any, data: str) -> None:
    """A value has these bytes, and these bytes are that value, of the same type."""
    encoded = bytes.fromhex(data)

    assert data == dagcbor.encode(value).hex()
    assert (value, type(value)) == (dagcbor.decode(encoded), type(dagcbor.decode(encoded)))
    assert value == dagcbor.decode(memoryview(encoded)) == dagcbor.decode(bytearray(encoded))


@pytest.mark.parametrize(("value", "data"), SHORT, ids=[data[:20] for _, data in SHORT])
def test_damage(value: Any, data: str) -> None:
    """Cut or with junk behind it no value is read; with a bit flipped, none or the one with those very bytes."""
    encoded = bytes.fromhex(data)

    assert_refused(dagcbor.decode, cuts(encoded))
    assert_refused(dagcbor.decode, with_junk(encoded))
    assert_canonical(dagcbor.decode, dagcbor.encode, flips(encoded))


@pytest.mark.parametrize(("reason", "data"), REFUSED)
def test_refused(reason: str, data: str) -> None:
    """What is not in the one canonical form is a FormatError."""
    with pytest.raises(FormatError):
        dagcbor.decode(bytes.fromhex(data))


def test_refused_is_a_real_list() -> None:
    """No case stands twice, and there are enough of them."""
    assert 60 <= len({data for _, data in REFUSED}) == len(REFUSED)


@pytest.mark.parametrize("kind", ["5b", "7b", "9b", "bb"])
def test_declared_lengths_cost_nothing(kind: str) -> None:
    """A declared length allocates nothing before as many bytes are there."""
    data = bytes.fromhex(kind + "0000000100000000" + "00" * 100)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="past the end"):
            dagcbor.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_depth() -> None:
    """As deep as allowed goes both ways; one deeper goes none, and neither does a cycle."""
    deepest = bytes.fromhex("81" * dagcbor.MAX_DEPTH + "00")
    assert deepest == dagcbor.encode(dagcbor.decode(deepest))

    cycle: list[Any] = []
    cycle.append({"again": cycle})
    for value in ([dagcbor.decode(deepest)], {"a": dagcbor.decode(deepest)}, cycle):
        with pytest.raises(FormatError, match="too deep"):
            dagcbor.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**64) - 1,
        1 << 5000,
        "\ud800",
        "a\udfffb",
        {"\ud800": 1},
        {1: 2},
        {b"a": 1},
        {None: 1},
        {("a",): 1},
        {EMPTY: 1},
        {1, 2},
        object(),
        1j,
        [1, [math.nan]],
        {"a": {"b": object()}},
        iter([]),
        Exception,
    ],
    ids=lambda value: type(value).__name__,
)
def test_not_encoded(value: Any) -> None:
    """What DAG-CBOR cannot hold is a FormatError, however deep it sits."""
    with pytest.raises(FormatError):
        dagcbor.encode(value)


class Level(enum.IntEnum):
    """A number with a name."""

    INFO = 20


class Name(str):
    """Text with a class."""

    __slots__ = ()


class Pair(NamedTuple):
    """A tuple with names."""

    first: int
    second: int


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Level.INFO, 20),
        (Name("a"), "a"),
        ({Name("b"): 1, "a": 2}, {"a": 2, "b": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Pair(1, 2), [1, 2]),
        ((), []),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
    ],
)
def test_subclasses(value: Any, plain: Any) -> None:
    """A subclass or a view is written as the plain value that it stands for."""
    assert dagcbor.encode(plain) == dagcbor.encode(value)


def test_bytes_are_not_links() -> None:
    """Bytes that are a CID stay bytes; only a `Cid` is a link."""
    assert [bytes, Cid] == [type(item) for item in dagcbor.decode(dagcbor.encode([bytes(EMPTY), EMPTY]))]  # type: ignore[attr-defined]


@given(dag_values)
def test_round_trip(value: Any) -> None:
    """Each value comes back, and its bytes again from what came back."""
    data = dagcbor.encode(value)

    assert value == dagcbor.decode(data)
    assert data == dagcbor.encode(dagcbor.decode(data))


@given(dag_values, st.data())
def test_random_damage(value: Any, data: st.DataObject) -> None:
    """Damage to any value is refused, or is exactly the encoding of another one."""
    found = list(mutants(dagcbor.encode(value)[:150]))

    assert_canonical(dagcbor.decode, dagcbor.encode, data.draw(st.lists(st.sampled_from(found), max_size=50)))


@given(st.binary(max_size=60))
def test_random_bytes(data: bytes) -> None:
    """Random bytes are refused, or are exactly the encoding of a value."""
    assert_canonical(dagcbor.decode, dagcbor.encode, [data])


@pytest.mark.parametrize("name", VALUES)
def test_golden(name: str) -> None:
    """The blocks that were kept come out again, and are read."""
    kept = load("ipld.json")["dagcbor"][name]
    block = bytes.fromhex(kept["hex"])

    assert block == dagcbor.encode(VALUES[name])
    assert VALUES[name] == dagcbor.decode(block)
    assert kept["cid"] == Cid.of(DAG_CBOR, block).text


def from_dag_json(value: Any) -> Any:
    """Read DAG-JSON: links and bytes are maps with the key `/`."""
    if isinstance(value, list):
        return [from_dag_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("/"), str):
        return Cid.parse(value["/"])
    if isinstance(value.get("/"), dict):
        text = value["/"]["bytes"]
        return base64.b64decode(text + "=" * (-len(text) % 4))
    return {key: from_dag_json(item) for key, item in value.items()}


@pytest.mark.parametrize("case", load("foreign.json")["dag_cbor"], ids=lambda case: case["value"][:20])
def test_javascript(case: dict[str, str]) -> None:
    """What `@ipld/dag-cbor` wrote is what we write, and what we read."""
    value = from_dag_json(json.loads(case["value"]))
    block = bytes.fromhex(case["hex"])

    assert block == dagcbor.encode(value)
    assert value == dagcbor.decode(block)
    assert case["cid"] == Cid.of(DAG_CBOR, block).text


def to_oracle(value: Any) -> Any:
    """Give the PyPI package `dag-cbor` its own kind of link."""
    from multiformats import CID

    if type(value) is Cid:
        return CID.decode(bytes(value))
    if isinstance(value, list):
        return [to_oracle(item) for item in value]
    if isinstance(value, dict):
        return {key: to_oracle(item) for key, item in value.items()}
    return value


@given(dag_values)
def test_python_oracle(value: Any) -> None:
    """The PyPI package `dag-cbor` writes every value as we do."""
    import dag_cbor

    assert dag_cbor.encode(to_oracle(value)) == dagcbor.encode(value)
