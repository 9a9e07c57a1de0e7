"""Levels are compared by number, also those of a program's own."""

from __future__ import annotations

import logging

import pytest

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query.filters import Filter
from ipfs_log_handlers.query.levels import level_number, threshold


def passes(level: object, least: str | int) -> bool:
    """Say whether a record of a level passes the filter for this level and above."""
    return all(condition.matches({"level": level}) for condition in Filter().narrowed(now=0, level=least).conditions)


def test_a_level_means_that_level_and_above():
    """`warning` takes warning, error and critical, and nothing below."""
    assert [passes(level, "warning") for level in ("debug", "info", "warning", "error", "critical")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert passes("level 35", 30)
    assert not passes("level 25", "WARNING")


def test_a_registered_level_has_its_number(monkeypatch):
    """A level that the program has named is compared by the number that it gave."""
    monkeypatch.setattr(logging, "_nameToLevel", {**logging._nameToLevel, "Audit": 35})

    assert level_number("audit") == 35
    assert passes("audit", "warning")
    assert not passes("audit", "error")
    assert threshold("audit") == 35


def test_no_record_hides_behind_a_level_that_nobody_knows():
    """A level without a known number passes, and so does a record without a level."""
    assert passes("mystery", "critical")
    assert passes(None, "critical")
    with pytest.raises(ConfigurationError, match="no such level"):
        threshold("mystery")
    assert threshold("25") == 25
