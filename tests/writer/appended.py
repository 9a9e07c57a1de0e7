"""What a test appends, and what stands in the spool afterwards."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import cast

from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.record import FrontEncoder, Shape
from ipfs_log_handlers.writer import Writer
from tests.workshop import durable

MOMENT = "2026-01-02T03:04:05.000000Z"
FRONT = b'{"time":"%b","level":"info","logger":"t","event":"e"' % MOMENT.encode()
SHAPE = cast("Shape", FrontEncoder().shape(("n",)))


def front(number: int, more: str = "") -> bytes:
    """The front of a record with a number of the test's own."""
    return FRONT + b',"n":%d,"text":"%b"' % (number, more.encode())


def append(made: Writer, number: int) -> None:
    """Append a record with a number of the test's own."""
    made.append(front(number))


def append_plain(made: Writer, number: int) -> None:
    """The same by `append_plain`, where that takes it."""
    if not made.append_plain(SHAPE, 1 << 20, MOMENT, "info", "t", "e", (number,)):
        made.append(front(number))


def numbers(home: Path) -> list[int]:
    """The tests' own numbers of all durable records, in order."""
    return [each["n"] for each in durable(home)]


def told(home: Path) -> dict[str, int]:
    """What the control lines of a spool tell, added up; each with its range of sequence numbers."""
    found: dict[str, int] = {}
    for path in sorted((home / "logs" / "spool").glob("*.seg")):
        for raw in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                decoded = line.decode(raw)
                if decoded.kind == line.CONTROL:
                    for reason, each in json.loads(decoded.json)["dropped"].items():
                        assert each["last"] - each["first"] + 1 >= each["count"] > 0
                        found[reason] = found.get(reason, 0) + each["count"]
    return found
