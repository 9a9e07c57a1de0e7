"""Objects that break loggers, and strategies that mix them with ordinary ones."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import uuid
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn

from hypothesis import strategies as st


class BadRepr:
    """Raises when it is converted to text."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class WrongRepr:
    """Returns a repr that is not text."""

    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class Lying:
    """Raises when its class is read."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError

    @__class__.setter
    def __class__(self, value: Any) -> None:
        """Do nothing."""


class LyingDict:
    """Claims to be a dict."""

    @property
    def __class__(self) -> Any:
        return dict

    @__class__.setter
    def __class__(self, value: Any) -> None:
        """Do nothing."""


class BadMapping(collections.UserDict[str, Any]):
    """Raises when its items are read."""

    def items(self) -> NoReturn:
        """Raise."""
        raise KeyError("no items")


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


class Name(str, enum.Enum):
    """An enum that is text."""

    A = "a"


class Text(str):
    """A text that says something else about itself."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no str")


class Pair(NamedTuple):
    """A tuple with names."""

    a: int
    b: int


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: Any
    password: str = "hush"


def cyclic_dict() -> dict[str, Any]:
    """Return a mapping that contains itself."""
    value: dict[str, Any] = {"a": 1}
    value["self"] = value
    return value


def cyclic_list() -> list[Any]:
    """Return a list that contains itself, one level down."""
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def deep(levels: int) -> list[Any]:
    """Return nested lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


_MADE: Final[dict[str, Callable[[], Any]]] = {
    "bad repr": BadRepr,
    "wrong repr": WrongRepr,
    "lying class": Lying,
    "lying dict": LyingDict,
    "bad mapping": lambda: BadMapping(a=1),
    "text with a bad str": lambda: Text("x"),
    "class": lambda: BadRepr,
    "function": lambda: len,
    "object": object,
    "generator": lambda: (each for each in (1, 2)),
    "iterator": lambda: iter([1]),
    "cyclic dict": cyclic_dict,
    "cyclic list": cyclic_list,
    "deep 64": lambda: deep(64),
    "deep 65": lambda: deep(65),
    "deep 66": lambda: deep(66),
    "deep 67": lambda: deep(67),
    "deep 100000": lambda: deep(100_000),
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "nested nan": lambda: {"a": [1.0, {"b": float("nan")}]},
    "minus zero": lambda: -0.0,
    "2**53": lambda: 2**53 + 1,
    "2**64": lambda: 2**64,
    "10**5000": lambda: 10**5000,
    "-10**5000": lambda: -(10**5000),
    "10**4000": lambda: 10**4000,
    "bool": lambda: True,
    "decimal": lambda: decimal.Decimal("1.10"),
    "decimal nan": lambda: decimal.Decimal("nan"),
    "path": lambda: pathlib.PurePosixPath("/a/b"),
    "uuid": lambda: uuid.UUID(int=5),
    "enum": lambda: Colour.RED,
    "str enum": lambda: Name.A,
    "dataclass": lambda: Point(1),
    "bad dataclass": lambda: Point(BadRepr()),
    "bytes": lambda: b"\x00\xff",
    "bytearray": lambda: bytearray(b"ab"),
    "memoryview": lambda: memoryview(b"ab"),
    "set": lambda: {1},
    "frozenset": lambda: frozenset({"a"}),
    "tuple": lambda: (1, (2,)),
    "naive": lambda: dt.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001
    "aware": lambda: dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
    "offset": lambda: dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
    "odd offset": lambda: dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1, minutes=2, seconds=3))),
    "date": lambda: dt.date(2026, 1, 2),
    "time": lambda: dt.time(1, 2, 3, 4),
    "timedelta": lambda: dt.timedelta(seconds=1),
    "surrogate": lambda: "a\ud800b",
    "surrogate key": lambda: {"a\ud800": 1},
    "nul": lambda: "a\0b",
    "line breaks": lambda: "a\nb\r\u2028\u2029\x85c",
    "rtl": lambda: "\u202eabc",
    "4 bytes": lambda: "😀",
    "empty key": lambda: {"": 1},
    "dots": lambda: {"a.b": {"c.d": 1}},
    "int keys": lambda: {1: "a", "1": "b", 1.5: "c", None: "d", False: "e"},
    "tuple keys": lambda: {(1, 2): 3},
    "bad keys": lambda: {BadRepr(): 1},
    "enum keys": lambda: {Name.A: 1},
    "text keys": lambda: collections.OrderedDict([(Text("x"), 1)]),
    "10000 keys": lambda: {f"k{n}": n for n in range(10_000)},
    "counter": lambda: collections.Counter("aab"),
    "namedtuple": lambda: Pair(1, 2),
    "exception": lambda: ValueError("x"),
    "mark": lambda: {"!": "not ours"},
}
ODD_NAMES: Final = tuple(_MADE)


def odd_value(name: str) -> Any:
    """Make one of the values; each time anew, because some can be iterated only once."""
    return _MADE[name]()


_SLOW = {"deep 100000", "10000 keys", "10**5000", "-10**5000", "lying class"}
"""Values that the strategy leaves out: they are slow, or Hypothesis itself fails on them."""

finite = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
json_like = st.recursive(
    finite,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=15,
)
"""Values that JSON can hold, also keys with lone surrogates."""


def values(*, without: frozenset[str] = frozenset()) -> st.SearchStrategy[Any]:
    """Values of every kind that programs log, without the odd values of these names."""
    names = [name for name in ODD_NAMES if name not in _SLOW | without]
    return st.recursive(
        st.one_of(
            finite,
            st.floats(),
            st.text(max_size=20),
            st.binary(max_size=10),
            st.datetimes(),
            st.dates(),
            st.times(),
            st.uuids(),
            st.decimals(),
            st.sampled_from(names).map(odd_value),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.tuples(inner, inner),
            st.dictionaries(st.one_of(st.text(max_size=6), st.integers(), st.none()), inner, max_size=4),
        ),
        max_leaves=12,
    )


anything = values()
"""Values of every kind that programs log."""
searchable = values(without=frozenset({"bad mapping", "lying dict", "text with a bad str"}))
"""Values of every kind, without those whose own code fails when they are searched."""
