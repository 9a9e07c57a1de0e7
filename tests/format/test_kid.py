"""The names of keys: one for each period, and the edges of periods in UTC."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.kid import PERIODS, Kid, Period, bounds, kind_of, period_of, periods_between

_MAX = 253_402_300_799_999_999


def micros(text: str) -> int:
    """Return a time in UTC as µs since 1970."""
    moment = dt.datetime.fromisoformat(f"{text}+00:00") - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    return moment // dt.timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("moment", "names"),
    [
        ("2026-03-05T12:00:00", ("2026", "2026-03", "2026-W10", "2026-03-05")),
        ("2025-12-31T23:59:59.999999", ("2025", "2025-12", "2026-W01", "2025-12-31")),
        ("2026-01-01T00:00:00", ("2026", "2026-01", "2026-W01", "2026-01-01")),
        ("2027-01-03T23:59:59.999999", ("2027", "2027-01", "2026-W53", "2027-01-03")),
        ("2027-01-04T00:00:00", ("2027", "2027-01", "2027-W01", "2027-01-04")),
        ("1970-01-01T00:00:00", ("1970", "1970-01", "1970-W01", "1970-01-01")),
    ],
)
def test_period_of(moment: str, names: tuple[str, ...]) -> None:
    """Years, months, ISO weeks and days are those of UTC."""
    assert tuple(period_of(micros(moment), period) for period in PERIODS) == names


@given(st.integers(0, _MAX), st.sampled_from(PERIODS))
def test_a_key_holds_the_moments_of_its_period(moment: int, period: Period) -> None:
    """Each moment is in one period, and so is the minute that a manifest shows of it."""
    kid = Kid.at(moment, "audit", period)
    assert kid.kind == period
    assert kid.holds(moment)
    assert Kid.parse(kid.text) == kid
    minute = moment - moment % 60_000_000  # a manifest in clear has the minute only
    assert kid.holds(minute)


def test_periods_follow_one_another_at_midnight() -> None:
    """A period ends with the last microsecond of a day."""
    days = [micros("2025-12-20T00:00:00") + day * 86_400_000_000 for day in range(40)]
    for before, after in pairwise(days):
        for period in PERIODS:
            assert period_of(after - 1, period) == period_of(before, period)
        assert period_of(after, "day") != period_of(after - 1, "day")


@pytest.mark.parametrize(
    "text",
    [
        None, 7, "", "audit", "audit/", "/2026-03", "audit/2026-3", "audit/2026-13", "audit/2026-00", "audit/2026-W54",
        "audit/2026-W00", "audit/2026-03-32", "audit/202603", "AUDIT/2026-03", "audit/../2026-03", "audit/acme/2026-03",
        "audit/9f86d081884c7d65/2026-03", "audit/2026-03/", " audit/2026-03", "audit/2026-03\n", "audit/٢٠٢٦-03",
        "a" * 65 + "/2026",
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: object) -> None:
    """A name has one spelling, and cannot leave a directory."""
    with pytest.raises(FormatError, match="not the name of a key"):
        Kid.parse(text)


def test_a_period_has_further_keys_by_number() -> None:
    """The first key has no number; a further one stands behind a dot, with one spelling."""
    first, second = Kid.parse("audit/2026-03"), Kid.parse("audit/2026-03.2")
    assert (first.number, second.number, second.period, second.text) == (1, 2, "2026-03", "audit/2026-03.2")
    assert first != second == Kid(subsystem="audit", period="2026-03", number=2)
    for text in ("audit/2026-03.1", "audit/2026-03.0", "audit/2026-03.02", "audit/2026-03.", "audit/2026-03.10000"):
        with pytest.raises(FormatError, match="not the name of a key"):
            Kid.parse(text)
    for number in (0, -1, 10_000):
        with pytest.raises(FormatError, match="not the name of a key"):
            Kid(subsystem="audit", period="2026-03", number=number)


def test_the_key_of_a_value_has_its_id_after_the_period() -> None:
    """16 hex digits after an underline, and then the number; with one spelling."""
    text = "audit/2026-03_5f0c29d1a4b7e386.2"
    kid = Kid.parse(text)
    assert (kid.period, kid.scope, kid.number, kid.text) == ("2026-03", "5f0c29d1a4b7e386", 2, text)
    assert kid != Kid.parse("audit/2026-03.2")
    assert Kid.parse("audit/2026-W10_5f0c29d1a4b7e386").scope == "5f0c29d1a4b7e386"
    for wrong in ("5f0c29d1a4b7e38", "5F0C29D1A4B7E386", "5f0c29d1a4b7e3861", "", "acme"):
        with pytest.raises(FormatError, match="not the name of a key"):
            Kid.parse(f"audit/2026-03_{wrong}")
        if wrong:
            with pytest.raises(FormatError, match="not the name of a key"):
                Kid(subsystem="audit", period="2026-03", scope=wrong)


@given(st.integers(0, _MAX - 366 * 86_400_000_000), st.sampled_from(PERIODS))
def test_the_bounds_of_a_period_are_its_first_and_the_next_moment(moment: int, kind: Period) -> None:
    """A moment is in its period, and the moments just outside of the bounds are not."""
    period = period_of(moment, kind)
    begin, after = bounds(period)
    assert begin <= moment < after
    assert period == period_of(begin, kind) == period_of(after - 1, kind)
    assert period != period_of(after, kind)
    assert begin <= 0 or period != period_of(begin - 1, kind)
    assert kind_of(period) == kind


@pytest.mark.parametrize("text", ["", "2026-02-30", "2025-W53", "2026-13", "0000", "9999", "march", "2026-03.2"])
def test_what_is_no_period_has_no_bounds(text: str) -> None:
    """The calendar decides, also about weeks; the last year that has a next one is 9998."""
    with pytest.raises(FormatError, match="not a period"):
        bounds(text)


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [("2026-11", "2027-02", 4), ("2026-W52", "2027-W02", 4), ("2024-02-28", "2024-03-01", 3), ("2026", "2026", 1)],
)
def test_a_range_of_periods_has_each_once(first: str, last: str, count: int) -> None:
    """Over the ends of months and years, and week 53."""
    periods = list(periods_between(first, last))
    assert (count, first, last) == (len(periods), periods[0], periods[-1])
    assert all(bounds(one)[1] == bounds(next_)[0] for one, next_ in pairwise(periods))


@pytest.mark.parametrize(("first", "last"), [("2026-02", "2026-01"), ("2026-01", "2027"), ("x", "2026"), ("2026", "x")])
def test_other_ranges_are_refused(first: str, last: str) -> None:
    """Two lengths, the wrong order, or no periods."""
    with pytest.raises(FormatError):
        list(periods_between(first, last))
