"""Print JSON Lines, or text for people. Control characters of a log are printed as escapes.

On a terminal, text fits the width: tables shorten or leave out columns, and sentences break between words. In a file or
pipe, lines are not broken. Only terminals get bold and colours, and not with `NO_COLOR` or `TERM=dumb`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

import click

__all__ = [
    "DUMB",
    "Column",
    "age",
    "cell_width",
    "complain",
    "count",
    "has_style",
    "moment",
    "neutral",
    "put_bytes",
    "put_json",
    "put_line",
    "put_message",
    "remark",
    "remark_interrupt",
    "safe_json",
    "several",
    "shortened",
    "size",
    "styled",
    "table",
    "width_of",
]

# Characters that control a terminal, as text and as UTF-8: controls, changes of direction, half surrogates.
_ACTIVE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ACTIVE_BYTES: Final = re.compile(
    b"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
)
_PLAIN: Final = bytes(range(0x20, 0x7F))
"""The characters of ASCII that a terminal shows in one cell."""
_NO_CELL: Final = ("Mn", "Me", "Cf")
"""Categories of characters that take no cell of their own: marks on others, joiners."""
_WORD: Final = re.compile(r" *[^ ]+")
"""A word with the spaces before it."""
DUMB: Final = ("dumb", "unknown")
"""Values of `TERM` for a terminal without escape sequences."""
_DEFAULT_COLUMNS: Final = 80
"""Width of a terminal whose width is unknown, in columns."""
_MIN_COLUMNS: Final = 20
"""Smallest width to which text is fitted, in columns; a narrower terminal breaks the lines itself."""
_ROWS_AT_ONCE: Final = 1000
"""Rows of a table that are written at once."""
_GAP: Final = 2
"""Spaces between two columns of a table."""


# -- characters


def neutral(text: str) -> str:
    """Return text with its control characters (escapes, line breaks, direction overrides) written as escapes."""
    return _ACTIVE.sub(lambda match: ascii(match[0])[1:-1], text)


def safe_json(line: bytes) -> bytes:
    """Return the same JSON as valid UTF-8, with the characters that control a terminal escaped.

    Such characters can only be inside strings. A byte that is not UTF-8, in a line that another program wrote, becomes
    the escape of the lone surrogate that Python uses for this byte.
    """
    if not line.translate(None, _PLAIN):
        return line
    try:
        line.decode()
    except UnicodeDecodeError:
        text = line.decode("utf-8", "surrogateescape")
        line = re.sub("[\udc80-\udcff]", lambda match: f"\\u{ord(match[0]):04x}", text).encode()
    return _ACTIVE_BYTES.sub(
        lambda match: json.dumps(match[0].decode())[1:-1].encode().replace(b"\x7f", b"\\u007f"), line
    )


# -- the terminal


def _is_terminal(stream: TextIO) -> bool:
    with contextlib.suppress(ValueError):  # a stream that is closed
        return stream.isatty()
    return False


def width_of(stream: TextIO) -> int | None:
    """Return the columns of the terminal of a stream; `None` if lines need no fitting."""
    if not _is_terminal(stream):
        return None
    columns = 0
    with contextlib.suppress(ValueError):
        columns = int(os.environ.get("COLUMNS", ""))
    if columns <= 0:
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(stream.fileno()).columns
    columns = columns if columns > 0 else _DEFAULT_COLUMNS
    return columns if columns >= _MIN_COLUMNS else None


def has_style(stream: TextIO) -> bool:
    """Return whether bold and colours may be used: on a terminal, without `NO_COLOR` (https://no-color.org)."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in DUMB


def styled(text: str, **style: Any) -> str:
    """Return text in a style of `click.style`, if stdout may have styles."""
    return click.style(text, **style) if text and any(style.values()) and has_style(sys.stdout) else text


# -- stdout and stderr


def put_bytes(data: bytes) -> None:
    """Write to stdout."""
    sys.stdout.buffer.write(data)


def put_json(members: dict[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    put_bytes(json.dumps(members, separators=(",", ":")).encode().replace(b"\x7f", b"\\u007f") + b"\n")


def put_line(text: str, *, label: str = "") -> None:
    """Print one line on stdout; if it is too long for the terminal, break it between words.

    Args:
        text: the line.
        label: four characters to put before it, in any style.
    """
    columns = width_of(sys.stdout)
    if not label:
        _write(sys.stdout, _fitted(neutral(text), columns, 4))
        return
    first, *rest = _fitted(neutral(text), columns and columns - 6, 0).split("\n")
    _write(sys.stdout, "\n".join((f"{label}  {first}", *(f"{'':6}{line}" for line in rest))))


def complain(message: str) -> None:
    """Print an error as one line on stderr."""
    put_message(f"ipfs-logs: error: {message}")


def remark(message: str) -> None:
    """Print one line on stderr that is not an error."""
    put_message(f"ipfs-logs: {message}")


def remark_interrupt(message: str) -> None:
    """Print one line on stderr after Ctrl-C; a terminal has just shown `^C` at the cursor."""
    if _is_terminal(sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write("\n")
    remark(message)


def put_message(text: str) -> None:
    """Print one line on stderr."""
    with contextlib.suppress(OSError, ValueError):  # so that on a terminal earlier output comes before this line
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):  # a closed stderr must not change the exit code
        _write(sys.stderr, _fitted(neutral(" ".join(text.split())), width_of(sys.stderr), 4))


def _write(stream: TextIO, text: str) -> None:
    """Write a line; a character that the stream's encoding lacks is written as an escape."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _fitted(text: str, columns: int | None, indent: int) -> str:
    """Break a text that is too long between words, and indent the further lines."""
    if columns is None or cell_width(text) <= columns:
        return text
    further = " " * (len(text) - len(text.lstrip()) + indent)
    lines, line = [], ""
    for word in _WORD.findall(text):
        for part in [word] if len(further) + cell_width(word) <= columns else _breakable(word):
            if line.strip() and cell_width(line) + cell_width(part) > columns:
                lines.append(line)
                line = further + part.lstrip()
            else:
                line += part
    return "\n".join((*lines, line))


def _breakable(word: str) -> list[str]:
    """Split a word that is longer than a line where it may be broken: beside each wide character, as in Japanese.

    A path stays whole, so that it can be copied.
    """
    if "/" in word:
        return [word]
    parts = [""]
    for letter in word:
        wide = cell_width(letter) == 2
        if wide or (parts[-1] and cell_width(parts[-1][-1]) == 2 and cell_width(letter)):
            parts.append("")
        parts[-1] += letter
    return [part for part in parts if part]


# -- tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table, and how a narrow terminal may shorten it or leave it out."""

    title: str
    """Text above the column."""
    right: bool = False
    """Whether its cells are aligned to the right."""
    min_width: int | None = None
    """Smallest width in characters to which cells may be shortened, in their middle; `None`: never shorten."""
    drop: int | None = None
    """Order in which columns are left out: the lowest number first; `None`: never."""


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns below their titles."""
    titles = [column.title for column in columns]
    lines = [[cell if _is_plain(cell) else neutral(cell) for cell in row] for row in rows]
    widths = [max(map(cell_width, cells)) for cells in zip(titles, *lines, strict=True)]
    shown = _fit(columns, widths, width_of(sys.stdout))
    align = _alignment(columns, widths, shown)
    _write(sys.stdout, styled(align(titles), bold=True))
    for start in range(0, len(lines), _ROWS_AT_ONCE):
        _write(sys.stdout, "\n".join(map(align, lines[start : start + _ROWS_AT_ONCE])))


def _alignment(
    columns: Sequence[Column], widths: Sequence[int], shown: Sequence[tuple[int, int]]
) -> Callable[[Sequence[str]], str]:
    """Return a function that makes a line of the cells of a row; for whole ASCII cells it is a quick template."""
    template = (" " * _GAP).join(f"{{{place}:{'>' if columns[place].right else '<'}{width}}}" for place, width in shown)
    whole = all(widths[place] <= width for place, width in shown)

    def align(row: Sequence[str]) -> str:
        if whole and "".join(row).isascii():
            return template.format(*row).rstrip()
        return (
            (" " * _GAP)
            .join(_aligned(shortened(row[place], width), width, right=columns[place].right) for place, width in shown)
            .rstrip()
        )

    return align


def _is_plain(text: str) -> bool:
    """Return whether a terminal shows every character of a text unchanged, in one cell."""
    return text.isascii() and text.isprintable()


def _fit(columns: Sequence[Column], widths: Sequence[int], available: int | None) -> list[tuple[int, int]]:
    """Choose the columns that fit: return their positions and widths.

    Columns are left out if the other columns then fit without shortening. If that is not enough, cells are shortened,
    and columns are left out only if the shortened cells do not fit.
    """
    shown = list(enumerate(widths))
    if available is None:
        return shown
    candidates = [shown]
    for place in sorted((place for place, _ in shown if columns[place].drop is not None), key=_drop_order(columns)):
        candidates.append([column for column in candidates[-1] if column[0] != place])
    for candidate in candidates:
        if _total(candidate) <= available:
            return candidate
    for candidate in candidates:
        shortened = [(place, _least(columns[place], width)) for place, width in candidate]
        if _total(shortened) <= available:
            return _widened(shortened, widths, available - _total(shortened))
    return shortened


def _drop_order(columns: Sequence[Column]) -> Callable[[int], int]:
    return lambda place: columns[place].drop or 0


def _widened(shown: Sequence[tuple[int, int]], widths: Sequence[int], spare: int) -> list[tuple[int, int]]:
    """Give spare width back to shortened columns, beginning with the last column, which has the CIDs."""
    widened = []
    for place, width in reversed(shown):
        more = min(spare, widths[place] - width)
        spare -= more
        widened.append((place, width + more))
    return widened[::-1]


def _total(shown: Sequence[tuple[int, int]]) -> int:
    return sum(width for _, width in shown) + _GAP * (len(shown) - 1)


def _least(column: Column, width: int) -> int:
    return width if column.min_width is None else min(width, max(column.min_width, len(column.title)))


def cell_width(text: str) -> int:
    """Count the columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(letter) in _NO_CELL else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def shortened(text: str, width: int) -> str:
    """Cut the middle out of a text that is too wide, so that its beginning and its end can be seen."""
    if cell_width(text) <= width:
        return text
    head, tail = text[: (width + 1) // 2], text[len(text) - (width - 1) // 2 :]
    while cell_width(head) + 1 + cell_width(tail) > width:
        head = head[:-1]
        if cell_width(head) + 1 + cell_width(tail) > width:
            tail = tail[1:]
    return f"{head}{_gap_mark()}{tail}"


def _gap_mark() -> str:
    """Return the character that stands where something was cut out, in one cell, also where stdout is no Unicode."""
    return "…" if (sys.stdout.encoding or "").lower().startswith("utf") else "~"


def _aligned(text: str, width: int, *, right: bool) -> str:
    padding = " " * (width - cell_width(text))
    return padding + text if right else text + padding


# -- numbers and times


def count(number: int) -> str:
    """Format a number with thousands separators."""
    return f"{number:,}"


def several(number: int, noun: str) -> str:
    """Format a number with its noun: `1 batch`, `2 batches`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def size(number: float) -> str:
    """Format a number of bytes in the unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def age(seconds: float | None) -> str:
    """Format seconds in the unit that fits; `-` for none."""
    if seconds is None:
        return "-"
    for unit, unit_s, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def moment(text: str) -> str:
    """Shorten an RFC 3339 time to the second, for a column."""
    return text[:19].replace("T", " ")
