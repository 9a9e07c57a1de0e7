"""Make a home for queries: several subsystems, batches whose times overlap, fields with mixed types, a spool."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.dataset import Dataset as LogOrder
from tests.support import sample_homes

START = 1_772_000_000.0
"""Time of the first record, seconds since 1970."""
LOGGERS = ("app.web", "app.web.auth", "db", "mcp.files")
LEVELS = (10, 20, 25, 30, 40, 50)
USERS = ("mira", "tom", "ann", "500")
STATUS = (200, 404, 500, "500", "ok", True, None, 4.5, [500], {"code": 500})
EVENTS = ("login", "logout", 'quoted "text"', "späť", "a timeout of 5 s")


def log_some(home: Path, subsystem: str, numbers: range, *, records: int = 7, spread: float = 3.0) -> None:
    """Log records whose times go forward by a second each, and back and forth by `spread` seconds."""
    draw = random.Random(f"{subsystem} {numbers}")
    handler = IPFSHandler(subsystem, home=home, keeper="none", batch={"records": records})
    try:
        for number in numbers:
            handler.handle(_record(draw, number, spread))
    finally:
        handler.close()


def _record(draw: random.Random, number: int, spread: float) -> logging.LogRecord:
    record = logging.LogRecord(draw.choice(LOGGERS), draw.choice(LEVELS), __file__, 1, draw.choice(EVENTS), None, None)
    record.created = START + number + draw.uniform(-spread, spread)
    record.__dict__.update({"number": number, "user_id": draw.choice(USERS), "status": draw.choice(STATUS)})
    if draw.random() < 0.5:
        record.__dict__["request"] = {"path": f"/api/{draw.randrange(5)}", "items": [draw.randrange(3)]}
    if draw.random() < 0.1:
        record.exc_text = "Traceback (most recent call last):\n  ...\nTimeoutError: a timeout"
    return record


def make(home: Path) -> None:
    """Make the home: `audit` has a zone map of fields, `logs` none, `wal` lies in the spool alone."""
    log_some(home, "audit", range(60))
    log_some(home, "logs", range(20, 70), records=11)
    sample_homes.seal(home)
    log_some(home, "audit", range(50, 75))
    log_some(home, "wal", range(30, 45))


def make_twelve_batches(home: Path) -> None:
    """Make a home with twelve sealed batches of five records of `audit`."""
    for start in range(0, 60, 5):
        log_some(home, "audit", range(start, start + 5))
        sample_homes.seal(home)


def records_of(home: Path) -> list[dict[str, Any]]:
    """Return all records of a home as plain JSON, in the order of time, then as they were logged."""
    found = list(_lines(home))
    return sorted(found, key=lambda record: str(record["time"]))


def _lines(home: Path) -> Iterator[dict[str, Any]]:
    with LogOrder(HomeDir(home), _no_gap) as reader:
        for name in sorted(subsystem.name for subsystem in HomeDir(home).subsystem_dirs()):
            for line in reader.lines(name):
                yield {**json.loads(line), "subsystem": name}


def _no_gap(gap: object) -> None:
    raise AssertionError(gap)
