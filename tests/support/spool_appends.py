"""Append numbered records by a writer, and read them back from the spool."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from pathlib import Path
from typing import Any

from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.record import RecordEncoder
from ipfs_log_handlers.ingest.fast_path import FastPath, fast_path_of
from ipfs_log_handlers.spool.writer import Writer
from tests.support.logging_home import durable

MOMENT = "2026-01-02T03:04:05.000000Z"
FRONT = b'{"time":"%b","level":"info","logger":"t","event":"e"' % MOMENT.encode()


def front(number: int, more: str = "") -> bytes:
    """Return the prefix of a record with a number of the test."""
    return FRONT + b',"n":%d,"text":"%b"' % (number, more.encode())


def append(made: Writer, number: int) -> None:
    """Append a record with a number of the test."""
    made.append(front(number))


class PlainRecords:
    """A line of a program that logs plain records with one field `n`: the fast path of a handler, and nothing else.

    Args:
        made: the writer.
        max_bytes: bytes of the longest JSON.
    """

    def __init__(self, made: Writer, max_bytes: int = 1 << 20) -> None:
        self._slow: list[logging.LogRecord] = []
        fast_path = FastPath(RecordEncoder(), made, max_bytes, required={})
        self._handle = fast_path_of(logging.Handler(), fast_path, self._slow.append)

    def take(self, value: Any) -> bool:
        """Log one record; return whether the fast path took it. If not, nothing has happened."""
        before = len(self._slow)
        self._handle(self._record(value))
        return len(self._slow) == before

    @staticmethod
    def _record(value: Any) -> logging.LogRecord:
        return logging.makeLogRecord({"name": "t", "levelname": "INFO", "levelno": 20, "msg": "e", "n": value})


_plain_records = functools.lru_cache(maxsize=4)(PlainRecords)


def append_plain(made: Writer, number: int) -> None:
    """Append the same on the fast path, if that takes it, else by `append`."""
    if not _plain_records(made).take(number):
        made.append(front(number))


def numbers(home: Path) -> list[int]:
    """Return the numbers of all durable records, in order."""
    return [record["n"] for record in durable(home)]


def told(home: Path) -> dict[str, int]:
    """Return the dropped records that the control lines of a spool count, by reason; check their ranges of `seq`."""
    return _counted(sorted((home / "logs" / "spool").glob("*.seg")))


def saved(home: Path) -> dict[str, int]:
    """Return the same of the files in which writers keep counts while they cannot append."""
    return _counted(sorted((home / "reserve-files").glob("*.*-*")))


def _counted(paths: list[Path]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path in paths:
        for raw in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                decoded = line.decode(raw)
                if decoded.kind == line.CONTROL:
                    for reason, drop in json.loads(decoded.json)["dropped"].items():
                        assert drop["last"] - drop["first"] + 1 >= drop["count"] > 0
                        counts[reason] = counts.get(reason, 0) + drop["count"]
    return counts
