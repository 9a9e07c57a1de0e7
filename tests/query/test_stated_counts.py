"""Counts of the records of some levels, or of some loggers, come from the manifests alone."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import open_dataset
from tests.support import sample_homes

FILTERS: list[dict[str, Any]] = [
    {"level": "error"},
    {"level": "info"},
    {"logger": "shop.*"},
    {"where": {"level": "error"}},
    {"where": {"level": ["error", "info"]}},
    {"where": {"logger": "shop.cart"}, "logger": "shop*"},
    {"where": "level!=error"},
    {"level": "critical"},
]
READ: list[dict[str, Any]] = [
    {"level": "error", "logger": "shop.*"},
    {"level": "error", "contains": "e"},
    {"where": {"number": 3}},
]
"""Filters that no manifest decides."""


@pytest.fixture
def mixed(home: Path) -> Path:
    """Make a home with batches of 10 records at three levels, from two loggers."""
    with sample_homes.Writing(home) as writing:
        for number in range(60):
            level = (logging.INFO, logging.INFO, logging.WARNING, logging.ERROR)[number % 4]
            name = "shop.cart" if number % 3 else "shop.pay"
            record = logging.LogRecord(name, level, __file__, 1, "e", (), None)
            record.number = number
            writing.handler.handle(record)
    sample_homes.seal(home)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [*FILTERS, *READ], ids=str)
def test_counts_equal_those_of_the_records(mixed, chosen):
    """`count`, `top`, `distinct` and `histogram` count the records that an iteration yields."""
    dataset = open_dataset(mixed).filter(**chosen)
    records = list(dataset)
    assert dataset.count() == len(records)
    for field in ("level", "logger", "subsystem"):
        counts = Counter(record[field] for record in records)
        assert Counter(dict(dataset.top(field, 10))) == counts
        assert dataset.distinct(field) == sorted(counts)
        buckets = dataset.histogram("1d", by=field)
        assert sum((Counter(bucket.counts) for bucket in buckets), Counter()) == counts
    assert sum(bucket.count for bucket in dataset.histogram("1h")) == len(records)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", FILTERS, ids=str)
def test_no_record_is_read(mixed, chosen):
    """The payloads are damaged, which every reading would notice."""
    dataset = open_dataset(mixed).filter(**chosen)
    expected, by_level, by_subsystem = dataset.count(), dataset.top("level", 10), dataset.top("subsystem", 10)
    for index in range(6):
        sample_homes.damage(mixed, index)
    damaged = open_dataset(mixed).filter(**chosen)
    assert damaged.count() == expected
    assert damaged.top("subsystem", 10) == by_subsystem
    if "logger" not in str(chosen):
        assert damaged.top("level", 10) == by_level
