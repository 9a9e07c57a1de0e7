"""Give results the form of Loki's answers.

https://grafana.com/docs/loki/latest/reference/loki-http-api/#matrix-vector-and-stream has this form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from ipfs_log_handlers.api import Stats
from ipfs_log_handlers.loki.labels import Labels
from ipfs_log_handlers.loki.matrix import LabelSet, Matrix, Moments
from ipfs_log_handlers.loki.refusal import Refusal

__all__ = ["Answer", "LineAnswer", "matrix_answer", "number_text", "statistics", "vector_answer", "wants_categories"]

_FLAGS_HEADER: Final = "X-Loki-Response-Encoding-Flags"
"""The header with which Grafana asks that labels are told apart by where they come from."""
_CATEGORIZED: Final = "categorize-labels"
"""The flag in it."""
_NS_PER_MS: Final = 1_000_000
"""Nanoseconds of a millisecond."""
Answer = dict[str, Any]
"""The member `data` of an answer, without its statistics."""


def wants_categories(headers: Mapping[str, str]) -> bool:
    """Return whether the headers of a request ask that labels are told apart by where they come from."""
    return _CATEGORIZED in [flag.strip() for flag in headers.get(_FLAGS_HEADER, "").split(",")]


class LineAnswer:
    """Lines, grouped by their labels.

    Args:
        is_categorized: whether only the labels of the stream are those of a group, and each line has its others.
        max_bytes: largest number of bytes of lines.
    """

    def __init__(self, *, is_categorized: bool, max_bytes: int) -> None:
        self._is_categorized = is_categorized
        self._left = self._max_bytes = max_bytes
        self._values: dict[tuple[tuple[str, str], ...], list[list[Any]]] = {}
        self.lines = 0
        """Number of lines."""

    def add(self, time_ns: int, text: bytes, labels: Labels) -> None:
        """Add a line.

        Raises:
            Refusal: the answer is too large.
        """
        self._left -= len(text)
        if self._left < 0:
            raise Refusal(f"the lines have more than {self._max_bytes} bytes; ask for fewer with `limit`")
        value: list[Any] = [str(time_ns), text.decode("utf-8", "replace")]
        if self._is_categorized:
            everything = dict(labels.items())
            found = {
                name: all_value
                for name, all_value in everything.items()
                if name not in labels.stream and name not in labels.metadata
            }
            kinds = {"structuredMetadata": dict(labels.metadata), "parsed": found}
            value.append({kind: members for kind, members in kinds.items() if members})
            key = tuple(sorted(labels.stream.items()))
        else:
            key = tuple(sorted(labels.items()))
        self._values.setdefault(key, []).append(value)
        self.lines += 1

    def streams(self) -> list[dict[str, Any]]:
        """Return the groups."""
        return [{"stream": dict(key), "values": values} for key, values in self._values.items()]

    def as_json(self) -> Answer:
        """Return the answer."""
        flags = {"encodingFlags": [_CATEGORIZED]} if self._is_categorized else {}
        return {"resultType": "streams", "result": self.streams(), **flags}


def matrix_answer(result: Matrix | float, moments: Moments, max_series: int) -> Answer:
    """Return the answer to a query over a range.

    Raises:
        Refusal: it has too many series.
    """
    series: Mapping[LabelSet, list[float | None]]
    series = {(): [result] * moments.count} if isinstance(result, float) else result.series
    rows = [
        {
            "metric": dict(labels),
            "values": [
                [_seconds(moments.at(number)), number_text(value)]
                for number, value in enumerate(row)
                if value is not None
            ],
        }
        for labels, row in sorted(series.items())
    ]
    return {"resultType": "matrix", "result": _bounded([row for row in rows if row["values"]], max_series)}


def vector_answer(result: Matrix | float, moments: Moments, max_series: int) -> Answer:
    """Return the answer to a query at one moment; the series come in their order in the result.

    Raises:
        Refusal: it has too many series.
    """
    seconds = _seconds(moments.first_ns)
    if isinstance(result, float):
        return {"resultType": "scalar", "result": [seconds, number_text(result)]}
    values = [(labels, value) for labels, value in result.at(0)]
    rows = [{"metric": dict(labels), "value": [seconds, number_text(value)]} for labels, value in values]
    return {"resultType": "vector", "result": _bounded(rows, max_series)}


def _bounded(rows: list[dict[str, Any]], max_series: int) -> list[dict[str, Any]]:
    if len(rows) > max_series:
        raise Refusal(
            f"maximum number of series ({max_series}) reached for a single query: the answer has {len(rows)}. "
            "Aggregate with sum by (…) or topk, or choose fewer streams"
        )
    return rows


def number_text(value: float) -> str:
    """Return a number as Go writes it: all its digits, no exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")


def _seconds(time_ns: int) -> float | int:
    """Return a moment as seconds, with at most three decimals."""
    millis = time_ns // _NS_PER_MS
    return millis // 1000 if millis % 1000 == 0 else millis / 1000


def statistics(reads: Iterable[Stats], lines: int, seconds: float) -> dict[str, Any]:
    """Return the statistics of a query, as far as they mean anything here.

    Args:
        reads: counters of all readings.
        lines: number of lines in the answer.
        seconds: that it took.
    """
    counted = list(reads)
    read_bytes, records = sum(stats.bytes for stats in counted), sum(stats.records for stats in counted)
    per_second = 1 / seconds if seconds > 0 else 0.0
    return {
        "summary": {
            "bytesProcessedPerSecond": int(read_bytes * per_second),
            "linesProcessedPerSecond": int(records * per_second),
            "totalBytesProcessed": read_bytes,
            "totalLinesProcessed": records,
            "execTime": seconds,
            "queueTime": 0,
            "totalEntriesReturned": lines,
        }
    }
