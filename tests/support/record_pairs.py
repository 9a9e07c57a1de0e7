"""Pass the same LogRecords to two handlers, one with and one without the accelerator, and make records at random."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import logging
import random
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.ingest import fast_path

__all__ = ["Pair", "pair", "random_record"]


class _Text(str):
    __slots__ = ()


class _Number(int):
    pass


class _Colour(enum.Enum):
    RED = 1


_OTHERS: tuple[Any, ...] = (
    b"abc", dt.date(2020, 1, 2), dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), decimal.Decimal("1.10"),
    uuid.UUID(int=5), _Text("sub"), _Number(7), _Colour.RED, {1}, object,
)  # fmt: skip
_NUMBERS = (
    0.0, -0.0, 1e16, 1e15, 1e-5, 0.0001, 123456789.123456, 1e22, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3,
    float("nan"), float("inf"), 2**63, -(2**63), 2**63 - 1, 2**64, 10**30, 0, -1,
)  # fmt: skip
_NAMES = (
    "user", "ip", "status", "a b", 'q"q', "é", "time", "level", "logger", "pid", "seq", "event", "stack", "exception",
    "event_", "k" * 100, "taskName2", "message_",
)  # fmt: skip


def random_record(rng: random.Random, *, hostile: bool) -> logging.LogRecord:
    """Return a record: of usual values, or also of values that JSON or logging treat in a special way."""
    fields = {
        (_name(rng) if hostile else f"f{rng.randrange(9)}"): _value(rng, hostile) for _ in range(rng.randrange(9))
    }
    text, args = rng.choice(
        (
            ("user %s did %d", (_text(rng, hostile), rng.randrange(100))),
            (_text(rng, hostile).replace("%", ""), ()),
            ("%s", (_value(rng, hostile),)),
            ("100 %", ()),
            *((('{"a": %d}', (1,)), ("%(a)s", ({"a": 1},)), ("bad %d", ("x",)), ("x", None)) if hostile else ()),
        )
    )
    level = rng.choice((10, 20, 30, 40, 50, 17))
    record = logging.LogRecord(rng.choice(("t", "t.é", "t\x1b[1m")), level, "program.py", 1, text, args, None)
    if args is None:
        record.args = None
    record.__dict__.update(fields)
    if hostile and rng.random() < 0.02:
        record.exc_text = "Traceback"
    if hostile and rng.random() < 0.02:
        record.message = record.msg
    record.created = rng.choice((record.created, rng.uniform(0, 4e9), float(rng.randrange(2**31)) + 0.9999996))
    record.lineno = hash(tuple(record.__dict__)) & 0xFFFFFF  # a call site has one order of its fields
    return record


def _text(rng: random.Random, hostile: bool) -> str:
    kind = rng.random()
    if not hostile or kind < 0.5:
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz /_-.", k=rng.randrange(40)))
    if kind < 0.8:
        return "".join(rng.choices('"\\\n\t\r\b\f\x00\x1f\x7f é€😀{}%\x1b', k=rng.randrange(30)))
    if kind < 0.85:
        return "x" * rng.randrange(5000)
    if kind < 0.88:
        return "a\ud800b"
    return (
        "".join(chr(rng.randrange(1, 0x110000)) for _ in range(rng.randrange(12))).encode("utf-8", "replace").decode()
    )


def _number(rng: random.Random) -> Any:
    return rng.choice(
        (
            lambda: rng.choice(_NUMBERS),
            lambda: rng.randrange(-1000, 1000),
            lambda: round(rng.uniform(-1e6, 1e6), rng.randrange(8)),
            lambda: rng.uniform(-1, 1) * 10.0 ** rng.randrange(-320, 308),
            lambda: struct.unpack("d", rng.randbytes(8))[0],
            lambda: rng.randrange(10**18),
        )
    )()


def _value(rng: random.Random, hostile: bool, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.4:
        return _text(rng, hostile)
    if kind < 0.7:
        return _number(rng) if hostile else rng.choice((rng.randrange(10**6), round(rng.random() * 100, 2)))
    if kind < 0.8:
        return rng.choice((None, True, False))
    if hostile and (kind < 0.82 or depth > 3):
        return rng.choice(_OTHERS)
    if kind < 0.92 and depth < 3:
        return {_key(rng, hostile): _value(rng, hostile, depth + 1) for _ in range(rng.randrange(4))}
    if depth < 3:
        return rng.choice((list, tuple))(_value(rng, hostile, depth + 1) for _ in range(rng.randrange(4)))
    return 1


def _key(rng: random.Random, hostile: bool) -> Any:
    return rng.choice((5, None, _Text("k"))) if hostile and rng.random() < 0.02 else _text(rng, hostile)


def _name(rng: random.Random) -> str:
    name = rng.choice((*_NAMES, f"x{rng.randrange(50)}"))
    return name if rng.random() < 0.7 else str(name.encode(), "utf-8")  # an equal text that is another object


class Pair:
    """Two handlers that get the same records; each has a home of its own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
        subsystem = settings.pop("subsystem", "logs")
        self._homes = directory / "with", directory / "without"
        self.accelerated, self.pure = (
            IPFSHandler(subsystem, home=home, keeper="none", **settings) for home in self._homes
        )
        first = logging.LogRecord("t", logging.INFO, "program.py", 0, "first", (), None)
        self.accelerated.handle(first)
        with monkeypatch.context() as without:
            without.setattr(fast_path, "ACCELERATOR", None)
            self.pure.handle(first)
        self._subsystem = subsystem if isinstance(subsystem, str) else subsystem.name

    def handle(self, record: logging.LogRecord) -> None:
        """Pass a record to both."""
        self.accelerated.handle(record)
        self.pure.handle(record)

    def lines(self) -> tuple[list[bytes], list[bytes]]:
        """Return the lines of the records in each home, as they are on the disk."""
        with_it, without = (list(_lines(home, self._subsystem)) for home in self._homes)
        return with_it, without


def _lines(home: Path, subsystem: str) -> Iterator[bytes]:
    spool = HomeDir(home).subsystem_dir(subsystem).spool
    files = sorted(spool.glob("*.seg"), key=lambda path: int(path.stem.split("-")[1]))
    for path in files:
        for line in path.read_bytes().split(b"\n"):
            if line[8:9] == b" ":
                assert json.loads(line[9:])
                yield line


@contextmanager
def pair(directory: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[Pair]:
    """Make the two handlers, and close them at the end."""
    both = Pair(directory, monkeypatch, settings)
    yield both
    both.accelerated.close()
    both.pure.close()
