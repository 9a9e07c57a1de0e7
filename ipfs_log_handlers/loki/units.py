"""Read durations, amounts of bytes and moments in the forms that Loki's API and LogQL have.

https://grafana.com/docs/loki/latest/reference/loki-http-api/#timestamps and
https://grafana.com/docs/loki/latest/query/log_queries/#label-filter-expression describe them.
"""

from __future__ import annotations

import datetime as dt
import re
from fractions import Fraction
from typing import Final

__all__ = ["BYTE_UNITS", "DURATION_UNITS", "bytes_of", "go_duration_of", "moment_of", "query_duration_of"]

_NS: Final = 1_000_000_000
"""Nanoseconds of a second."""
_GO_UNITS: Final = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": _NS, "m": 60 * _NS, "h": 3_600 * _NS,
}  # fmt: skip
"""Nanoseconds of each unit of a duration in a label."""
DURATION_UNITS: Final = {**_GO_UNITS, "d": 86_400 * _NS, "w": 604_800 * _NS, "y": 31_536_000 * _NS}
"""Nanoseconds of each unit of a duration in a query."""
BYTE_UNITS: Final = {
    "b": 1,
    **{f"{letter}{tail}": 1000**power for power, letter in enumerate("kmgtpe", 1) for tail in ("b", "")},
    **{f"{letter}i{tail}": 1024**power for power, letter in enumerate("kmgtpe", 1) for tail in ("b", "")},
}
"""Bytes of each unit, in lower case."""
_PIECE: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|[smhdwy])", re.ASCII)
_BYTES: Final = re.compile(r"([\d,]+(?:\.[\d,]*)?|\.[\d,]+)[ ]*([A-Za-z]*)[ ]*", re.ASCII)
_STAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_INTEGER: Final = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?\d{0,19}\.\d{0,19}(?:e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_FIRST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def query_duration_of(text: str) -> int | None:
    """Return a duration of a query, such as `5m`, `1h30m` or `1.5d`, in ns; `None` for another text."""
    return _duration_of(text, DURATION_UNITS)


def go_duration_of(text: str) -> int | None:
    """Return a duration as Go writes it, such as `300ms`, `-1.5h` or `1m30s`, in ns; `None` for another text."""
    sign = -1 if text.startswith("-") else 1
    bare = text[1:] if text[:1] in ("-", "+") else text
    if bare == "0":
        return 0
    duration = _duration_of(bare, _GO_UNITS)
    return None if duration is None else sign * duration


def _duration_of(text: str, units: dict[str, int]) -> int | None:
    if not text or len(text) > 100:
        return None
    total, end = Fraction(0), 0
    while end < len(text):
        piece = _PIECE.match(text, end)
        if piece is None or piece[2] not in units:
            return None
        total += Fraction(f"0{piece[1]}" if piece[1].startswith(".") else piece[1].removesuffix(".")) * units[piece[2]]
        end = piece.end()
    return int(total)


def bytes_of(text: str) -> int | None:
    """Return an amount of bytes, such as `42MB`, `1.5 KiB` or `20B`; `None` for another text."""
    match = _BYTES.fullmatch(text) if len(text) <= 100 else None
    if match is None:
        return None
    unit = match[2].lower() or "b"
    if unit not in BYTE_UNITS:
        return None
    number = match[1].replace(",", "").removesuffix(".")  # commas between digits mean nothing, as in Loki
    if not any(map(str.isdigit, number)):
        return None
    return int(Fraction(f"0{number}" if number.startswith(".") else number) * BYTE_UNITS[unit])


def moment_of(text: str) -> int | None:
    """Return a moment in ns since 1970; `None` for another text.

    Args:
        text: RFC 3339, a whole number of ns, or a decimal number of seconds. A whole number of at most ten digits is
            seconds, as for Loki.
    """
    if _INTEGER.fullmatch(text):
        number = int(text)
        return number * _NS if len(text.lstrip("+-")) <= 10 else number
    if _DECIMAL.fullmatch(text) and any(map(str.isdigit, text)):
        return int(Fraction(_fraction_text(text)) * _NS)
    stamp = _STAMP.fullmatch(text)
    if stamp is None:
        return None
    day, clock, fraction, zone = stamp.groups()
    try:
        moment = dt.datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        return None
    whole = (moment - _FIRST) // dt.timedelta(seconds=1)
    return whole * _NS + int((fraction or "0").ljust(9, "0"))


def _fraction_text(text: str) -> str:
    """Return a decimal number with a digit on both sides of its point."""
    sign, bare = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    whole, _, rest = bare.partition(".")
    digits = rest if rest[:1].isdigit() else f"0{rest}"
    return f"{sign}{whole or '0'}.{digits}"
