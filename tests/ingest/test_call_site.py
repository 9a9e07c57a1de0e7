"""The function that is compiled for a call site writes what the slow path writes, whatever the line logs next."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import logging
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.accelerator.state import PURE
from ipfs_log_handlers.ingest import call_site
from ipfs_log_handlers.ingest.recorder import Recorder
from tests.support import programs
from tests.support.logging_home import durable, handler_of, logging_to

pytestmark = pytest.mark.usefixtures("_python_takes_records")


class Colour(enum.IntEnum):
    """A number that is no plain one."""

    RED = 1


class Text(str):
    """A text that is no plain one."""

    __slots__ = ()


class Shouting(str):
    """A key that finds the value of a plain one."""

    __slots__ = ()


VALUES: dict[str, Any] = {
    "text": "x",
    "text of a subclass": Text("x"),
    "surrogate": "\ud800",
    "number": 7,
    "large number": 1 << 70,
    "huge number": 1 << 20_000,
    "true": True,
    "none": None,
    "float": 0.5,
    "small float": 1e-5,
    "minus zero": -0.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "enum": Colour.RED,
    "bytes": b"\xff",
    "moment": dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc),
    "object": {"a": 1, "b": "x"},
    "object of other types": {"a": "x", "b": 1},
    "object with other keys": {"a": 1, "c": "x"},
    "object with one key more": {"a": 1, "b": "x", "c": 2},
    "object with a number as key": {"a": 1, 5: "x"},
    "object with a key of a subclass": {"a": 1, Shouting("b"): "x"},
    "object with nan": {"a": 1, "b": float("nan")},
    "object in an object": {"a": {"b": {"c": 1}}, "b": "x"},
    "object with a brace": {"{": 1, "}'\\\"": "x"},
    "no keys": {},
    "ordered object": OrderedDict(a=1, b="x"),
    "list": [1, "x"],
    "list with nan": [1, float("nan")],
    "set": {1},
    "other": ...,
}


def _record(line: int, value: object, path: str = "program.py") -> logging.LogRecord:
    record = logging.LogRecord("t", logging.INFO, path, line, "said %s", ("x",), None)
    record.value, record.more = value, 5
    record.created = 1_700_000_000.25
    return record


@pytest.mark.parametrize("include", [(), ("source", "thread", "host")], ids=["plain", "with origin"])
def test_every_value_after_every_other_value(tmp_path: Path, include: tuple[str, ...]) -> None:
    """The line logs one value first, and then each of the others: the records are those of the slow path."""
    found = []
    for is_fast in (True, False):
        home = tmp_path / str(is_fast)
        with logging_to(home, include=include) as logger:
            handler = handler_of(logger)
            if not is_fast:
                handler.addFilter(lambda _: True)
            handler.handle(_record(0, 0))
            for line, first in enumerate(VALUES, 1):
                for value in (first, *VALUES):
                    handler.handle(_record(line, VALUES[value]))
            assert handler._recorder.failed == 0
        found.append(durable(home))
    fast, slow = found
    assert fast == slow
    assert len(fast) == 1 + len(VALUES) * (1 + len(VALUES))


def test_most_records_of_a_line_take_the_compiled_function(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow path takes what is not plain, and nothing else."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        handler.handle(_record(1, 1))
        slow: list[object] = []
        monkeypatch.setattr(Recorder, "take_record", lambda _, record, __: slow.append(record.value))
        for value in (1, "x", 2.5, {"a": 1}, [1], float("nan"), {1: 2}):
            handler.handle(_record(2, value))
    assert [str(value) for value in slow] == ["nan", "{1: 2}"]


def test_lines_with_one_number_in_two_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own fields, and the records of both take their compiled functions."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        handler.handle(_record(1, 1))
        slow: list[object] = []
        monkeypatch.setattr(Recorder, "take_record", lambda _, record, __: slow.append(record))
        for number in range(4):
            handler.handle(_record(2, number))
            other = logging.LogRecord("t", logging.INFO, "other.py", 2, "said", (), None)
            other.order, other.price = number, 5
            handler.handle(other)
    assert slow == []
    assert [record.get("order", record.get("value")) for record in durable(home)[1:]] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_two_files_with_equal_names(home: Path) -> None:
    """A module that is loaded again has an equal path, and not the same object: its records are taken, too."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        suffix = "py"
        for number in range(6):
            handler.handle(_record(1, number, f"program.{suffix}"))
            handler.handle(_record(1, number, "other.py"))
    assert [record["value"] for record in durable(home)] == [number for number in range(6) for _ in range(2)]


def test_a_field_that_a_line_does_not_always_have(home: Path) -> None:
    """A record with as many fields, and other ones, is written whole."""
    with logging_to(home) as logger:
        for number in range(4):
            logger.info("x", extra={"a": number, "b": 1} if number % 2 else {"a": number, "c": 1})
    assert [set(record) - {"time", "level", "logger", "event", "pid", "seq"} for record in durable(home)] == [
        {"a", "c"}, {"a", "b"}, {"a", "c"}, {"a", "b"},
    ]  # fmt: skip


def test_call_sites_with_the_same_types_share_their_code(home: Path) -> None:
    """A program with thousands of lines that log compiles a few functions; a traceback shows their source."""
    call_site._code.cache_clear()
    with logging_to(home) as logger:
        handler = handler_of(logger)
        for line in range(50):
            handler.handle(_record(line, f"{line}"))
        take = inspect.getclosurevars(handler.__dict__["handle"]).nonlocals["by_line"][49]
    assert call_site._code.cache_info().misses == 1
    assert "lock.acquire()" in inspect.getsource(take)


def test_an_installed_isal_computes_the_checksums(tmp_path: Path) -> None:
    """The package `isal` is used if it is there, and writes the same lines."""
    (tmp_path / "isal").mkdir()
    (tmp_path / "isal/__init__.py").touch()
    (tmp_path / "isal/isal_zlib.py").write_text(
        "import zlib\ndef crc32(data): print('isal'); return zlib.crc32(data)\n"
    )
    body = """
        configure(keeper="none")
        for number in range(3): log.info("x", extra={"n": number})
    """
    home = tmp_path / "home"
    ended = programs.run(home, body, env={PURE: "1", "PYTHONPATH": ":".join([str(tmp_path), *sys.path])}).clean()
    assert ended.out.split().count("isal") >= 4
    assert [record["n"] for record in durable(home)] == [0, 1, 2]


def test_a_record_with_asctime_alone_has_a_call_site_of_its_own(home: Path) -> None:
    """A later record with as many attributes, one of them a field, keeps this field."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        for number in range(2):
            formatted = _record(1, number)
            formatted.asctime = formatted.__dict__.pop("value") and "now"
            handler.handle(formatted)
            handler.handle(_record(1, number))
    assert [record.get("value") for record in durable(home)] == [None, 0, None, 1]
