"""Read the times and spans that people write: `10m`, `today`, RFC 3339, seconds since 1970."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["Moment", "moment_of", "span_of"]

Moment = dt.datetime | dt.date | float | int | str
"""The types of a moment."""

_UNITS: Final = {
    "us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000
}  # fmt: skip
"""µs of each unit."""
_NAMES: Final = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "hr": "h", "day": "d", "week": "w"}
_SPAN: Final = re.compile(r"(?:\d+(?:\.\d+)?\s*[a-z]+\s*)+")
_PIECE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_STAMP: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_CLOCK: Final = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?", re.ASCII)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_DAYS: Final = {"today": 0, "yesterday": -1, "tomorrow": 1}
_EXPECTED: Final = "10m, 2h, today, yesterday, now, 09:30, 2026-03-02, 2026-03-02T17:40:00Z, or seconds since 1970"
_FIRST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_LARGEST_SECONDS: Final = 1e11
"""Largest number that counts seconds; a larger number, whose year no log has, counts milliseconds, µs or ns."""


def moment_of(value: Moment, *, now: float, timezone: dt.tzinfo | None = None) -> int:
    """Return a moment as µs since 1970.

    Args:
        value: a `datetime` (without a timezone: local), a `date` (its beginning), seconds since 1970, or text: a span
            such as `10m` or `1h30m` (that long ago), `now`, `today`, `yesterday`, `tomorrow` (the beginning of the
            day), `09:30` (today), a date, RFC 3339 (without an offset: local), or seconds since 1970.
        now: the moment from which spans and days are counted, seconds since 1970.
        timezone: the local timezone; `None`: the timezone of this machine.

    Raises:
        ConfigurationError: the value is none of these.
    """
    try:
        if isinstance(value, dt.datetime):
            return _of_datetime(value if value.tzinfo is not None else _local(value, timezone))
        if isinstance(value, dt.date):
            return _of_datetime(_local(dt.datetime(value.year, value.month, value.day), timezone))  # noqa: DTZ001
        if isinstance(value, str):
            return _of_text(value.strip(), now, timezone)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _of_number(value)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigurationError("not a time", expected=_EXPECTED, found=value) from error
    raise ConfigurationError("not a time", expected=_EXPECTED, found=ascii(value)[:80])


def span_of(value: Any) -> int:
    """Return a span as µs: text such as `1m`, `500ms` or `1h30m`, a `timedelta`, or seconds.

    Raises:
        ConfigurationError: it is none of these, or not greater than zero.
    """
    micros: int | None = None
    if isinstance(value, dt.timedelta):
        micros = value // dt.timedelta(microseconds=1)
    elif isinstance(value, str):
        micros = _span(value.strip().lower())
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _LARGEST_SECONDS:
        micros = int(value * 1_000_000)
    if micros is None or micros <= 0:
        raise ConfigurationError("not a span of time", expected="1m, 30s, 500ms, 1h30m, 1d", found=ascii(value)[:80])
    return micros


def _of_text(text: str, now: float, timezone: dt.tzinfo | None) -> int:
    word = text.lower()
    if word == "now":
        return int(now * 1_000_000)
    if word in _DAYS:
        return _of_datetime(_day(now, _DAYS[word], timezone))
    if _NUMBER.fullmatch(word):
        return _of_number(float(word) if "." in word else int(word))
    span = _span(word.removesuffix("ago").strip().removeprefix("-"))
    if span is not None:
        return int(now * 1_000_000) - span
    clock = _CLOCK.fullmatch(word)
    if clock is not None:
        hour, minute, second = (int(part or 0) for part in clock.groups())
        day = _day(now, 0, timezone)
        moment = dt.datetime(day.year, day.month, day.day, hour, minute, second)  # noqa: DTZ001 - made local below
        return _of_datetime(_local(moment, timezone))
    stamp = _STAMP.fullmatch(text)
    if stamp is None:
        raise ValueError(text)
    return _of_stamp(stamp, timezone)


def _of_stamp(stamp: re.Match[str], timezone: dt.tzinfo | None) -> int:
    year, month, day, hour, minute, second = (int(part or 0) for part in stamp.groups()[:6])
    micro = int((stamp[7] or "0").ljust(9, "0")[:6])
    moment = dt.datetime(year, month, day, hour, minute, second, micro)  # noqa: DTZ001 - gets its timezone below
    offset = stamp[8]
    if offset is None:
        return _of_datetime(_local(moment, timezone))
    if offset in "Zz":
        return _of_datetime(moment.replace(tzinfo=dt.timezone.utc))
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    east = dt.timedelta(minutes=-minutes if offset[0] == "-" else minutes)
    return _of_datetime(moment.replace(tzinfo=dt.timezone(east)))


def _of_number(number: float) -> int:
    """Return a number of seconds as µs; a number too large for seconds counts ms, µs or ns."""
    if not number >= 0:
        raise ValueError(number)
    if number < _LARGEST_SECONDS:
        return int(number * 1_000_000)
    if number < _LARGEST_SECONDS * 1_000:
        return int(number * 1_000)
    return int(number) if number < _LARGEST_SECONDS * 1_000_000 else int(number) // 1_000


def _span(text: str) -> int | None:
    if not _SPAN.fullmatch(text):
        return None
    micros = 0.0
    for amount, unit in _PIECE.findall(text):
        plain = _NAMES.get(unit.removesuffix("s") if unit not in _UNITS else unit, unit)
        if plain not in _UNITS:
            return None
        micros += float(amount) * _UNITS[plain]
    return int(micros)


def _day(now: float, days: int, timezone: dt.tzinfo | None) -> dt.datetime:
    today = dt.datetime.fromtimestamp(now, timezone).date() + dt.timedelta(days=days)
    return _local(dt.datetime(today.year, today.month, today.day), timezone)  # noqa: DTZ001 - made local here


def _local(moment: dt.datetime, timezone: dt.tzinfo | None) -> dt.datetime:
    return moment.astimezone() if timezone is None else moment.replace(tzinfo=timezone)


def _of_datetime(moment: dt.datetime) -> int:
    return (moment - _FIRST) // dt.timedelta(microseconds=1)
