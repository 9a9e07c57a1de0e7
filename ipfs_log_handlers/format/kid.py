"""Name the keys that batches are encrypted to: one key for each subsystem and period, and further ones.

    audit/2026-03                    the month in which its batches are sealed, in UTC; also 2026, 2026-W10, 2026-03-05
    audit/2026-03.2                  the second key of that month: the first was destroyed, or the recipients changed
    audit/2026-03_5f0c29d1a4b7e386   the key of the records with one value of a field (`scope`) in that month

The name (key id, `kid`) is in clear in the manifest of a batch, so it must not say whom the records are about: `scope`
is a keyed hash of the value (`home/scope_keys.py`).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from ipfs_log_handlers.errors import FormatError

__all__ = ["MAX_NUMBER", "PERIODS", "Kid", "Period", "bounds", "kind_of", "period_of", "periods_between"]

Period = Literal["year", "month", "week", "day"]
"""How long one key is used."""
PERIODS: Final[tuple[Period, ...]] = ("year", "month", "week", "day")
"""All periods."""
MAX_NUMBER: Final = 9999
"""Largest number of a key in its period."""

_SUBSYSTEM: Final = "[a-z0-9_]{1,64}"
_KID: Final = re.compile(rf"({_SUBSYSTEM})/([0-9W-]{{4,10}})(?:_([0-9a-f]{{16}}))?(?:\.([1-9][0-9]{{0,3}}))?")
_FORMS: Final[dict[Period, str]] = {"year": "%Y", "month": "%Y-%m", "week": "%G-W%V", "day": "%Y-%m-%d"}
_SHAPES: Final[dict[Period, re.Pattern[str]]] = {
    "year": re.compile(r"\d{4}", re.ASCII),
    "month": re.compile(r"\d{4}-(?:0[1-9]|1[0-2])", re.ASCII),
    "week": re.compile(r"\d{4}-W(?:0[1-9]|[1-4]\d|5[0-3])", re.ASCII),
    "day": re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])", re.ASCII),
}
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def period_of(micros: int, period: Period) -> str:
    """Return the name of the period of a moment, in UTC: `2026`, `2026-03`, `2026-W10` (ISO 8601) or `2026-03-05`.

    Args:
        micros: the moment in µs since 1970, before the year 10000.
        period: how long a period is.
    """
    moment = _EPOCH + dt.timedelta(microseconds=micros)
    year = moment.isocalendar()[0] if period == "week" else moment.year
    return moment.strftime(_FORMS[period].replace("%Y", f"{year:04}").replace("%G", f"{year:04}"))


def kind_of(period: str) -> Period:
    """Return how long a period is, by its name.

    Raises:
        FormatError: it is not the name of a period.
    """
    kind = next((kind for kind in PERIODS if _SHAPES[kind].fullmatch(period)), None)
    if kind is None:
        raise _not_a_period(period)
    return kind


def bounds(period: str) -> tuple[int, int]:
    """Return the beginning of a period and that of the next one, µs since 1970.

    Raises:
        FormatError: it is not the name of a period, or the calendar has no such day or week.
    """
    kind = kind_of(period)
    try:
        if kind == "week":
            first = dt.datetime.fromisocalendar(int(period[:4]), int(period[6:]), 1)
        else:
            numbers = [*map(int, period.split("-")), 1, 1]
            first = dt.datetime(numbers[0], numbers[1], numbers[2])  # noqa: DTZ001 - UTC is set below
        first = first.replace(tzinfo=dt.timezone.utc)
        days = {"day": 1, "week": 7, "month": 31, "year": 366}[kind]
        after = first + dt.timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise _not_a_period(period) from error
    if kind in ("month", "year"):
        after = after.replace(day=1)
    return _micros(first), _micros(after)


def _micros(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def periods_between(first: str, last: str) -> Iterator[str]:
    """Yield the periods from one to another of the same length, both included.

    Raises:
        FormatError: one is not a period, they have different lengths, or the last one is before the first.
    """
    kind = kind_of(first)
    if kind != kind_of(last) or bounds(last) < bounds(first):
        raise FormatError(
            "not a range of periods", expected="two of the same length, the earlier one first", found=f"{first}..{last}"
        )
    period = first
    while period != last:
        yield period
        period = period_of(bounds(period)[1], kind)
    yield last


def _not_a_period(text: str) -> FormatError:
    return FormatError(
        "not a period", expected="a year 2026, month 2026-03, week 2026-W10 or day 2026-03-05", found=ascii(text)[:80]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kid:
    """The name of one key.

    Raises:
        FormatError: it is not the name of a key.
    """

    subsystem: str
    """Its subsystem."""
    period: str
    """The period in which batches are sealed with it: a year, month, ISO week or day in UTC."""
    number: int = 1
    """Its number among the keys of the same period and scope, from 1 on."""
    scope: str = ""
    """16 hex digits that stand for the value whose records are encrypted to it; empty: it has no such value."""

    def __post_init__(self) -> None:
        texts = all(map(_is_text, (self.subsystem, self.period, self.scope))) and type(self.number) is int
        shape = _KID.fullmatch(self.text) if texts and 1 <= self.number <= MAX_NUMBER else None
        if shape is None or self.kind is None:
            raise FormatError("not the name of a key", expected="audit/2026-03", found=ascii(self.text)[:120])

    @classmethod
    def parse(cls, text: object) -> Kid:
        """Parse the text form; raises `FormatError`."""
        shape = _KID.fullmatch(text) if isinstance(text, str) else None
        if shape is None or shape[4] == "1":
            raise FormatError("not the name of a key", expected="audit/2026-03", found=ascii(text)[:120])
        return cls(subsystem=shape[1], period=shape[2], number=int(shape[4] or 1), scope=shape[3] or "")

    @classmethod
    def at(cls, micros: int, subsystem: str, period: Period) -> Kid:
        """Return the name of the key for batches that are sealed at a moment.

        Args:
            micros: the moment in µs since 1970.
            subsystem: the subsystem.
            period: how long a key is used.
        """
        return cls(subsystem=subsystem, period=period_of(micros, period))

    @property
    def text(self) -> str:
        """The text form."""
        scope = f"_{self.scope}" if self.scope else ""
        number = "" if self.number == 1 else f".{self.number}"
        return f"{self.subsystem}/{self.period}{scope}{number}"

    @property
    def kind(self) -> Period | None:
        """How long its period is."""
        return next((kind for kind in PERIODS if _SHAPES[kind].fullmatch(self.period)), None)

    def holds(self, micros: int) -> bool:
        """Return whether a moment, in µs since 1970, is in its period."""
        return self.kind is not None and period_of(micros, self.kind) == self.period

    def __str__(self) -> str:
        return self.text


def _is_text(value: object) -> bool:
    return isinstance(value, str)
