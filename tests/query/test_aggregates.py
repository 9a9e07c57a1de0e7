"""Counts over time and by value, whatever the values are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query.aggregates import Histogram, Tally, percentiles_of


def test_values_of_any_type_are_told_apart_and_sorted():
    """`true`, 1 and the text 1 are three values; lists and objects are counted, too."""
    tally = Tally()
    for value in [1, "1", True, 1.0, None, [1], {"b": 1, "a": 2}, {"a": 2, "b": 1}, "1", "0"]:
        tally.add(value)

    assert tally.values() == [None, True, 1, "0", "1", [1], {"b": 1, "a": 2}]
    assert [type(value) for value in tally.values()[:3]] == [type(None), bool, int]
    assert tally.top(3) == [(1, 2), ("1", 2), ({"b": 1, "a": 2}, 2)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(0, 100))
def test_a_percentile_is_the_least_number_that_so_many_do_not_exceed(numbers, rank):
    """At least that many percent are not above the result, and not more are below it."""
    result = percentiles_of(numbers, [rank])[rank]

    assert result in numbers
    assert sum(number <= result for number in numbers) * 100 >= rank * len(numbers)
    assert sum(number < result for number in numbers) * 100 <= rank * len(numbers)


def test_a_rank_outside_of_a_hundred_is_refused():
    """A percentile is between 0 and 100; without numbers there is none."""
    assert percentiles_of([], [50]) == {}
    with pytest.raises(ConfigurationError, match="not a percentile"):
        percentiles_of([1], [101])


@pytest.mark.parametrize("span", [1_000_000, 60_000_000, 90_000_000, 86_400_000_000])
def test_a_bucket_begins_at_a_multiple_of_its_span(span):
    """Each time is in the bucket that begins at the last multiple of the span."""
    micros = 1_772_458_830_123_456

    assert Histogram(span).start_of(b"2026-03-02T13:40:30.123456Z") == micros - micros % span
    assert Histogram(span).start_of(b"not a time") is None
