"""Write records as text for people, JSON Lines, logfmt, CSV, or as the stored line."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ipfs_log_handlers.cli.output import cell_width, neutral, safe_json

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Match

__all__ = ["ENVELOPE", "FORMS", "LEVEL_STYLES", "TextWriter", "plain", "shown_value", "writer_of"]

ENVELOPE: Final = frozenset({"time", "level", "logger", "event", "exception", "stack", "pid", "seq", "subsystem"})
"""The keys of a record that are not fields of the program."""
FORMS: Final = ("logfmt", "csv", "raw")
"""The forms of output besides text and JSON Lines."""
LEVEL_STYLES: Final = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "bright_red"}
"""Colour of each level."""
_INDENT: Final = 4
"""Spaces before the further lines of a record."""
Write = Callable[[bytes], object]


def plain(value: Any) -> str:
    """Return a value of a record as text, with its control characters written as escapes."""
    return neutral(value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False))


def shown_value(value: Any) -> str:
    """Return the value of a field as text; as JSON, if plain text would be ambiguous."""
    if isinstance(value, str) and value and not set(value) & set(' "=\\'):
        return neutral(value)
    return neutral(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def writer_of(
    form: str, write: Write, *, fields: Sequence[str], text: Callable[[], TextWriter], on_terminal: bool
) -> Callable[[Match, dict[str, Any]], object]:
    """Return a function that writes a match; its second argument is the mapping of the fields to show.

    Args:
        form: `text`, `json`, or one of `FORMS`.
        write: function that gets the bytes.
        fields: the chosen fields; empty: all fields.
        text: function that makes the writer of text.
        on_terminal: whether the bytes go to a terminal.
    """
    if form == "text":
        return text().put
    if form == "csv":
        return _Csv(write, fields, on_terminal=on_terminal).put
    if form == "logfmt":
        return lambda _, record: write(_logfmt(record))
    if form == "raw":
        return lambda match, _: write((safe_json(match.line) if on_terminal else match.line) + b"\n")
    if fields:
        from ipfs_log_handlers.api import json_line

        return lambda _, record: write(safe_json(json_line(record)[:-1]) + b"\n")
    return lambda match, _: write(safe_json(match.json) + b"\n")


def _logfmt(record: dict[str, Any]) -> bytes:
    members = (f"{_logfmt_key(key)}={_logfmt_value(value)}" for key, value in record.items())
    return " ".join(members).encode("utf-8", "backslashreplace") + b"\n"


def _logfmt_key(key: str) -> str:
    return re.sub(r'[\s="\\]', "_", neutral(key)) or "_"


def _logfmt_value(value: Any) -> str:
    """Return a value for logfmt; objects, lists, and texts with special characters are in quotes."""
    if isinstance(value, str):
        return shown_value(value)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return neutral(json.dumps(text, ensure_ascii=False)) if isinstance(value, (dict, list)) else text


class _Csv:
    """Write CSV: the chosen fields, or the usual keys and all other fields as JSON in the last column."""

    def __init__(self, write: Write, fields: Sequence[str], *, on_terminal: bool) -> None:
        from ipfs_log_handlers.api import csv_rows

        self._write = write
        self._on_terminal = on_terminal
        self._records: list[dict[str, Any]] = []
        self._rows = csv_rows(iter(self._records.pop, None), tuple(fields) or None)
        self._put(next(self._rows))

    def put(self, _: Match, record: dict[str, Any]) -> None:
        self._records.append(record)
        self._put(next(self._rows))

    def _put(self, row: bytes) -> None:
        shown = neutral(row.decode("utf-8", "replace").rstrip("\r\n")).encode() + b"\n" if self._on_terminal else row
        self._write(shown)


class TextWriter:
    """Write a record as `time level subsystem logger event key=value…`, with exception and stack indented below.

    Args:
        write: function that gets the bytes.
        columns: width at which lines wrap; `None`: lines do not wrap.
        colours: whether styles are used.
        zone: the timezone of times; `None`: the timezone of this machine.
        single: whether all records are of one subsystem; then the column of the subsystem is left out.
        found: regular expressions whose matches in event and exception are highlighted.
        fields: the chosen fields; only these are shown. Empty: all fields.
    """

    def __init__(
        self,
        write: Write,
        *,
        columns: int | None,
        colours: bool,
        zone: dt.tzinfo | None,
        single: bool,
        found: Sequence[str] = (),
        fields: Sequence[str] = (),
    ) -> None:
        self._write = write
        self._columns = columns
        self._colours = colours
        self._zone = zone
        self._single = single
        self._found = [re.compile(pattern) for pattern in found] if colours else []
        self._fields = tuple(fields)

    def put(self, match: Match, record: dict[str, Any]) -> None:
        """Write one record."""
        line = _Styled()
        dim = "bright_black" if match.is_context else None
        if self._fields:
            for name, value in record.items():
                line.add(self._time(value) if name == "time" else shown_value(value), dim, label=f"{neutral(name)}=")
        else:
            level = plain(record.get("level"))
            line.add(self._time(record.get("time")), "bright_black")
            line.add(f"{level:8}", dim or LEVEL_STYLES.get(level))
            if not self._single:
                line.add(match.subsystem, dim)
            line.add(plain(record.get("logger")), dim or "cyan")
            line.add(plain(record.get("event")), dim, self._found)
            for name, value in record.items():
                if name not in ENVELOPE:
                    line.add(shown_value(value), dim, label=f"{neutral(name)}=")
        lines = self._laid(line, 0)
        for name in ("exception", "stack") if not self._fields else ():
            for text in str(record.get(name) or "").splitlines():
                below = _Styled()
                below.add(neutral(text), dim, self._found)
                lines += self._laid(below, _INDENT)
        self._write("".join(f"{text}\n" for text in lines).encode("utf-8", "backslashreplace"))

    def _time(self, time: Any) -> str:
        """Return a time in the timezone, to the millisecond; return a text that is not a time unchanged."""
        try:
            moment = dt.datetime.fromisoformat(f"{time[:26]}+00:00") if time[26:] == "Z" else None
            if moment is None:
                return plain(time)
            local = moment.astimezone(self._zone)
        except (ValueError, TypeError, OverflowError):
            return plain(time)
        return local.strftime("%Y-%m-%d %H:%M:%S.") + f"{local.microsecond // 1000:03}"

    def _laid(self, line: _Styled, indent: int) -> list[str]:
        """Break a line at the width; return its lines, with their styles."""
        breaks = line.breaks(self._columns, indent)
        return [
            " " * (indent + (_INDENT if place else 0)) + line.part(start, end, colours=self._colours)
            for place, (start, end) in enumerate(breaks)
        ]


class _Styled:
    """A line of words with styles."""

    def __init__(self) -> None:
        self._text = ""
        self._runs: list[tuple[int, int, dict[str, Any]]] = []

    def add(self, text: str, colour: str | None, found: Sequence[re.Pattern[str]] = (), *, label: str = "") -> None:
        """Add a word after a space; an empty one is left out."""
        if not text and not label:
            return
        if self._text:
            self._text += " "
        start = len(self._text)
        self._text += label + text
        if colour:
            self._runs.append((start, len(self._text), {"fg": colour}))
        at = start + len(label)
        for match in (match for pattern in found for match in pattern.finditer(text) if match.end() > match.start()):
            self._runs.append((at + match.start(), at + match.end(), {"fg": "black", "bg": "yellow"}))

    def breaks(self, columns: int | None, indent: int) -> list[tuple[int, int]]:
        """Return the start and end of each line of the text: lines break between words; only a too long word is cut."""
        text = self._text.rstrip()
        if columns is None or indent + cell_width(text) <= columns:
            return [(0, len(text))]
        lines: list[tuple[int, int]] = []
        start = 0
        while start < len(text):
            room = max(1, columns - indent - (_INDENT if lines else 0))
            end = _fitting(text, start, room)
            if end < len(text):
                space = text.rfind(" ", start + 1, end + 1)
                end = space if space > start else end
            lines.append((start, end))
            start = end + 1 if text[end : end + 1] == " " else end
        return lines

    def part(self, start: int, end: int, *, colours: bool) -> str:
        """Return a part of the text with its styles."""
        if not colours or not self._runs:
            return self._text[start:end].rstrip() if not colours else self._text[start:end]
        marks = sorted({start, end, *(mark for run in self._runs for mark in run[:2] if start < mark < end)})
        pieces = []
        for begin, stop in itertools.pairwise(marks):
            style: dict[str, Any] = {}
            for first, last, run_style in self._runs:
                if first <= begin and stop <= last:
                    style |= run_style
            pieces.append(click.style(self._text[begin:stop], **style) if style else self._text[begin:stop])
        return "".join(pieces)


def _fitting(text: str, start: int, room: int) -> int:
    """Return the end of the longest part from `start` on that fits into the given cells; at least one character."""
    end = min(len(text), start + room)
    while end > start + 1 and cell_width(text[start:end]) > room:
        end -= 1
    return end
