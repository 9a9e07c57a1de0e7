"""Times and spans as people write them become µs since 1970."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.query.times import moment_of, span_of

ZONE = dt.timezone(dt.timedelta(hours=2))
NOW = dt.datetime(2026, 3, 2, 17, 40, 30, tzinfo=ZONE)


def at(*parts: int, zone: dt.tzinfo = ZONE) -> int:
    """Return a moment as µs since 1970."""
    year, month, day, *clock = parts
    day_begins = dt.datetime(year, month, day, tzinfo=zone).timestamp()
    hours, minutes, seconds = (*clock, 0, 0, 0)[:3]
    return round(day_begins + hours * 3600 + minutes * 60 + seconds) * 1_000_000


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("now", at(2026, 3, 2, 17, 40, 30)),
        ("10m", at(2026, 3, 2, 17, 30, 30)),
        ("10 min ago", at(2026, 3, 2, 17, 30, 30)),
        ("1h30m", at(2026, 3, 2, 16, 10, 30)),
        ("2 hours", at(2026, 3, 2, 15, 40, 30)),
        ("-3d", at(2026, 2, 27, 17, 40, 30)),
        ("1w", at(2026, 2, 23, 17, 40, 30)),
        ("today", at(2026, 3, 2)),
        ("Yesterday", at(2026, 3, 1)),
        ("tomorrow", at(2026, 3, 3)),
        ("09:30", at(2026, 3, 2, 9, 30)),
        ("9:30:15", at(2026, 3, 2, 9, 30, 15)),
        ("2026-03-01", at(2026, 3, 1)),
        ("2026-03-01 12:00", at(2026, 3, 1, 12)),
        ("2026-03-01T12:00:00Z", at(2026, 3, 1, 12, zone=dt.timezone.utc)),
        ("2026-03-01T12:00:00+01:00", at(2026, 3, 1, 11, zone=dt.timezone.utc)),
        ("2026-03-01T12:00:00.5-0130", at(2026, 3, 1, 13, 30, zone=dt.timezone.utc) + 500_000),
        ("1772458830", 1_772_458_830_000_000),
        ("1772458830123", 1_772_458_830_123_000),
        (1_772_458_830_123_456_789, 1_772_458_830_123_456),
        (1_772_458_830, 1_772_458_830_000_000),
        (NOW, at(2026, 3, 2, 17, 40, 30)),
        (dt.date(2026, 3, 1), at(2026, 3, 1)),
    ],
)
def test_a_time_is_read_as_people_mean_it(written, meant):
    """Spans count back from now, days begin at local midnight, and what has no offset is local."""
    assert moment_of(written, now=NOW.timestamp(), timezone=ZONE) == meant


@pytest.mark.parametrize(
    "wrong", ["", "soon", "2026-13-01", "25:00", "2026-02-30", "10 parsecs", -5, float("nan"), True, None, "1e3"]
)
def test_what_is_no_time_is_refused_with_examples(wrong):
    """The error shows how times are written."""
    with pytest.raises(ConfigurationError, match="10m, 2h, today"):
        moment_of(wrong, now=0.0)


@given(st.integers(0, 4_000_000_000_000_000))
def test_rfc_3339_is_exact_to_the_microsecond(micros):
    """The text of a record's time is read without loss."""
    assert moment_of(rfc3339(micros), now=0.0) == micros


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("1m", 60_000_000),
        ("500ms", 500_000),
        ("1h30m", 5_400_000_000),
        (5, 5_000_000),
        (dt.timedelta(days=1), 86_400_000_000),
    ],
)
def test_a_span_is_read(written, micros):
    """A span is text, a timedelta or seconds."""
    assert span_of(written) == micros


@pytest.mark.parametrize("wrong", ["", "0s", "long", 0, -1, None, True])
def test_what_is_no_span_is_refused(wrong):
    """A span takes some time."""
    with pytest.raises(ConfigurationError, match="not a span"):
        span_of(wrong)
