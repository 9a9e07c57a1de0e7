"""Log odd records that make loggers fail: each kind is one call, made between two ordinary records."""

from __future__ import annotations

import enum
import logging
import math
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Final

__all__ = ["MARK", "ODD_RECORDS"]

MARK: Final = "rec a-1~"
"""The mark by which the server recognises the record; `log` puts it before the message."""
Log = Callable[..., None]
"""`log(message, *args, **options)`."""


class _BadText:
    """Raises when it is converted to text."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class _BadError(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no str")


class _Colour(enum.Enum):
    RED = "red"


def _cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def _extra(make: Callable[[], Any]) -> Callable[[Log], None]:
    return lambda log: log("", extra={"value": make()})


def _changing(_log: Log) -> None:
    """Change an argument right after the call; it holds the mark, so a handler that reads it later loses the mark."""
    value = [MARK]
    logging.getLogger("program").info("%s", value)
    value[0] = "changed"


def _raised(make: Callable[[], BaseException]) -> Callable[[Log], None]:
    def call(log: Log) -> None:
        try:
            raise make()
        except BaseException:  # noqa: BLE001 - `make` decides which
            log("", exc_info=True)

    return call


def _chained() -> BaseException:
    error: BaseException = ValueError("first")
    for number in range(3000):
        after = ValueError(str(number))
        after.__context__ = error
        error = after
    return error


def _cause_cycle() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def _own_level(log: Log) -> None:
    logging.addLevelName(25, "A LEVEL")
    log("", level=25)


ODD_RECORDS: Final[Mapping[str, Callable[[Log], None]]] = {
    "changed after the call": _changing,
    "argument whose str raises": lambda log: log(" %s", _BadText()),
    "field whose repr raises": _extra(_BadText),
    "cyclic": _extra(_cyclic),
    "nested 100,000 deep": _extra(_deep),
    "generator": _extra(lambda: (each for each in "ab")),
    "bytes": _extra(lambda: b"\x00\xff"),
    "Decimal, Path, UUID, enum, set": _extra(
        lambda: [Decimal("1.1"), PurePosixPath("/a"), uuid.UUID(int=5), _Colour.RED, {1}]
    ),
    "wrong format arguments": lambda log: log(" %d %d", "x"),
    "% without arguments": lambda log: log(" 100%"),
    "lone surrogate": lambda log: log(" a\ud800b", extra={"value": "\ud800"}),
    "NUL, line breaks": lambda log: log(" a\0b\nc\u2028d\x85e", extra={"value": "\0\n"}),
    "NaN, infinity": _extra(lambda: [math.nan, math.inf]),
    "integer of 5000 digits": _extra(lambda: 10**5000),
    "integer above 64 bits": _extra(lambda: 2**70),
    "keys that are no text": _extra(lambda: {1: "a", (1, 2): "b", None: "c"}),
    "10,000 keys": _extra(lambda: {f"k{number}": number for number in range(10_000)}),
    "names of the envelope": lambda log: log(
        "", extra={"level": 1, "event": "e", "time": 2, "host": 3, "timestamp": 4}
    ),
    "exception whose str raises": _raised(_BadError),
    "exc_info without an exception": lambda log: log("", exc_info=True),
    "3,000 chained exceptions": _raised(_chained),
    "cycle of causes": _raised(_cause_cycle),
    "3 MB of text": lambda log: log(" " + "x" * 3_000_000),
    "level of its own": _own_level,
}
"""The calls, by their name in the table."""
