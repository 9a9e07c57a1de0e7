"""What is printed: JSON Lines, or aligned text in which no character of a log reaches the terminal as a command."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

__all__ = [
    "age",
    "bar",
    "byte_bar",
    "complain",
    "count",
    "moment",
    "neutral",
    "put_bytes",
    "put_json",
    "remark",
    "safe_json",
    "several",
    "size",
    "table",
]

_ACTIVE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ACTIVE_BYTES: Final = re.compile(
    b"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
)

_PLAIN: Final = bytes(range(0x20, 0x7F))


def neutral(text: str) -> str:
    """Text whose control characters (escape sequences, line breaks, direction overrides) are shown, not obeyed."""
    return _ACTIVE.sub(lambda found: ascii(found[0])[1:-1], text)


def safe_json(line: bytes) -> bytes:
    """The same JSON with the characters that a terminal obeys in their escaped form; they stand in strings only."""
    if not line.translate(None, _PLAIN):
        return line
    return _ACTIVE_BYTES.sub(
        lambda found: json.dumps(found[0].decode())[1:-1].encode().replace(b"\x7f", b"\\u007f"), line
    )


def put_bytes(data: bytes) -> None:
    """Write to stdout."""
    sys.stdout.buffer.write(data)


def put_json(thing: Any) -> None:
    """Print one JSON object on a line of its own."""
    put_bytes(json.dumps(thing, separators=(",", ":")).encode().replace(b"\x7f", b"\\u007f") + b"\n")


def complain(message: str) -> None:
    """Print one line on stderr."""
    click.echo(f"ipfs-logs: error: {neutral(' '.join(message.split()))}", err=True)


def remark(message: str) -> None:
    """Print one line on stderr that tells of no error."""
    click.echo(f"ipfs-logs: {neutral(' '.join(message.split()))}", err=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Print aligned columns; those numbered in `right` stand flush right."""
    lines = [tuple(head), *(tuple(map(neutral, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    flush = frozenset(right)
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if place in flush else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text = "  ".join(cells).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 and sys.stdout.isatty() else text)


def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"


def several(number: int, thing: str) -> str:
    """A number of things."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}{'es' if thing.endswith('ch') else 's'}"


def size(number: float) -> str:
    """Bytes, in the unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def age(seconds: float | None) -> str:
    """A span of time, in the unit that fits; `-` for none."""
    if seconds is None:
        return "-"
    for unit, most in (("s", 120), ("min", 7200), ("h", 172_800)):
        if seconds < most:
            return f"{seconds / {'s': 1, 'min': 60, 'h': 3600}[unit]:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def moment(text: str) -> str:
    """An RFC 3339 time, to the second, for a column."""
    return text[:19].replace("T", " ")


def bar(label: str) -> Any:
    """A progress bar on stderr that counts things; `None` when that is no terminal."""
    if not sys.stderr.isatty():
        return None
    from rich.progress import MofNCompleteColumn, TimeElapsedColumn

    return _progress(label, MofNCompleteColumn(), TimeElapsedColumn())


def byte_bar(label: str) -> Any:
    """A progress bar on stderr that counts bytes, with their speed; `None` when that is no terminal."""
    if not sys.stderr.isatty():
        return None
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    return _progress(label, DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())


def _progress(label: str, *columns: Any) -> Any:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(TextColumn(escape(label)), BarColumn(), *columns, console=Console(stderr=True), transient=True)
