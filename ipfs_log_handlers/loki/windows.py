"""Evaluate `count_over_time`, `rate`, `bytes_over_time` and `bytes_rate`.

At a moment t, a range of length r has the lines with t - r < time <= t, as in Loki and Prometheus; an offset moves both
bounds into the past. A stream without a line in the range has no value at t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final

from ipfs_log_handlers.loki.labels import ERROR, Labels
from ipfs_log_handlers.loki.limits import Deadline
from ipfs_log_handlers.loki.matrix import LabelSet, Matrix, grouped, label_set
from ipfs_log_handlers.loki.pipeline import Pipeline
from ipfs_log_handlers.loki.refusal import Refusal
from ipfs_log_handlers.loki.streams import Line
from ipfs_log_handlers.loki.syntax import Grouping, RangeAggregation

__all__ = ["LineReader", "evaluate_range"]

LineReader = Callable[[RangeAggregation, int, int], Iterator[Line]]
"""Returns the lines of a range aggregation from a µs, included, to another one, left out."""
_NS: Final = 1_000_000_000
"""Nanoseconds of a second."""
_CHECKED_EVERY: Final = 4_096
"""Lines between two looks at the deadline."""


def evaluate_range(
    wanted: RangeAggregation, empty: Matrix, read: LineReader, deadline: Deadline, grouping: Grouping | None = None
) -> Matrix:
    """Evaluate a range aggregation.

    Args:
        wanted: it.
        empty: gives the moments and the bounds.
        read: reads lines.
        deadline: when to give up.
        grouping: labels by which counts are added up at once; `None`: each label set is a series.

    Raises:
        Refusal: there are too many series, it takes too long, or a step could not read a line.
    """
    moments = empty.moments
    until_ns = moments.last_ns - wanted.offset_ns
    since_ns = moments.first_ns - wanted.offset_ns - wanted.range_ns
    counts_bytes = wanted.function.startswith("bytes")
    pipeline = Pipeline(wanted.query.stages)
    changes: dict[LabelSet, list[int]] = {}
    present: dict[LabelSet, list[int]] = {}
    rows = empty.like()
    for number, line in enumerate(read(wanted, since_ns // 1000 + 1, until_ns // 1000 + 1)):
        if number % _CHECKED_EVERY == 0:
            deadline.check()
        if not pipeline.keeps(line.text):
            continue
        if pipeline.is_of_lines_alone and not line.metadata:
            size, key = len(line.text), _key(line.stream.items(), grouping)
        else:
            labels = Labels(line.stream, line.metadata)
            text = pipeline.passed(line.text, labels)
            if text is None:
                continue
            if labels.error:
                raise _pipeline_error(labels)
            size, key = len(text), _key(labels.items(), grouping)
        if key not in changes:
            rows.row(key)  # counts the series
            changes[key] = [0] * (moments.count + 1)
            present[key] = [0] * (moments.count + 1)
        at_ns = line.time_us * 1000 + wanted.offset_ns
        first = max(0, -(-(at_ns - moments.first_ns) // moments.step_ns))
        after = min(moments.count, -(-(at_ns + wanted.range_ns - moments.first_ns) // moments.step_ns))
        if first < after:
            amount = size if counts_bytes else 1
            changes[key][first] += amount
            changes[key][after] -= amount
            present[key][first] += 1
            present[key][after] -= 1
    seconds = wanted.range_ns / _NS if wanted.function.endswith("rate") else None
    for key, row in rows.series.items():
        sums = zip(accumulate(changes[key]), accumulate(present[key]), strict=True)
        for number, (amount, lines) in zip(range(moments.count), sums, strict=False):
            if lines:
                row[number] = float(amount) if seconds is None else amount / seconds
    return rows


def _key(labels: Iterable[tuple[str, str]], grouping: Grouping | None) -> LabelSet:
    whole = label_set(labels)
    return whole if grouping is None else grouped(whole, grouping)


def _pipeline_error(labels: Labels) -> Refusal:
    return Refusal(
        f"pipeline error: {labels.error!r} ({labels.error_details}) for a line of {dict(labels.stream)!r}. A number "
        f'without that line would be wrong. To leave such lines out, add a condition: | {ERROR}=""'
    )
