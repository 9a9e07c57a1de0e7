"""What a plan says: which batches it opens, and a span for a histogram of them."""

from __future__ import annotations

import pytest

from tests.support.line_source import dataset_of, line


@pytest.mark.parametrize(
    ("seconds", "rows", "span"),
    [(0, 40, 1), (39, 40, 1), (40, 40, 2), (3600, 40, 120), (3600, 4, 1800), (86399, 1, 86400)],
)
def test_a_fitting_span_gives_at_most_so_many_buckets(seconds, rows, span):
    """The shortest usual span between the first and the last record."""
    dataset = dataset_of(line(0), line(seconds))
    assert dataset.explain().fitting_span(rows) == span


def test_nothing_to_count_has_a_span_too():
    """A minute, as in `histogram`."""
    assert dataset_of().explain().fitting_span() == 60
