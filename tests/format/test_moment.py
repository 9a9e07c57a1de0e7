"""Moments as text, both ways."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.format.moment import micros, rfc3339


@pytest.mark.parametrize(
    "text", ["1970-01-01T00:00:00.000000Z", "2026-02-03T04:05:06.000007Z", "9999-12-31T23:59:59.999999Z"]
)
def test_both_ways(text: str) -> None:
    """A moment is written as it was read, to the microsecond."""
    number = micros(text)
    assert number is not None
    assert text == rfc3339(number)


@pytest.mark.parametrize("text", ["", "x", "2026-13-01T00:00:00.000000Z", "2026-01-01T00:00:00Z", "٢"])
def test_no_moment(text: str) -> None:
    """Text that is no moment has no number."""
    assert micros(text) is None
