"""Answer queries in LogQL: over a range and at one moment. These functions read files; they run in threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ipfs_log_handlers.api import Dataset, Stats
from ipfs_log_handlers.loki.answers import Answer, LineAnswer, matrix_answer, statistics, vector_answer
from ipfs_log_handlers.loki.evaluation import Evaluation
from ipfs_log_handlers.loki.labels import Labels
from ipfs_log_handlers.loki.limits import Deadline, Limits
from ipfs_log_handlers.loki.matrix import Matrix, Moments
from ipfs_log_handlers.loki.parser import parse
from ipfs_log_handlers.loki.pipeline import Pipeline
from ipfs_log_handlers.loki.refusal import Refusal
from ipfs_log_handlers.loki.requests import Parameters
from ipfs_log_handlers.loki.streams import Line, Streams
from ipfs_log_handlers.loki.syntax import Expression, LogQuery, RangeAggregation

__all__ = ["query", "query_range"]

_CHECKED_EVERY: Final = 1_024
"""Lines between two looks at the deadline."""


def query_range(dataset: Dataset, given: Parameters, deadline: Deadline, *, is_categorized: bool) -> dict[str, Any]:
    """Answer `/loki/api/v1/query_range`.

    Args:
        dataset: the records.
        given: the parameters of the request.
        deadline: when to give up.
        is_categorized: whether labels are told apart by where they come from.

    Raises:
        Refusal: the query cannot be answered.
    """
    running = _Running(dataset, given.limits, deadline)
    parsed = parse(given.query())
    if isinstance(parsed, LogQuery):
        if given.duration("interval"):
            raise Refusal("the parameter interval is not supported here: leave it out")
        lines = running.lines(parsed, given, is_categorized=is_categorized)
        return running.answer(lines.as_json(), lines.lines)
    moments = given.moments
    result = running.evaluated(parsed, moments)
    return running.answer(matrix_answer(result, moments, given.limits.max_series))


def query(dataset: Dataset, given: Parameters, deadline: Deadline) -> dict[str, Any]:
    """Answer `/loki/api/v1/query`.

    Args:
        dataset: the records.
        given: the parameters of the request.
        deadline: when to give up.

    Raises:
        Refusal: the query cannot be answered.
    """
    running = _Running(dataset, given.limits, deadline)
    parsed = parse(given.query())
    if isinstance(parsed, LogQuery):
        raise Refusal(
            "log queries are not supported as an instant query type, please change your query to a range query type"
        )
    moments = Moments(first_ns=given.time_ns)
    return running.answer(vector_answer(running.evaluated(parsed, moments), moments, given.limits.max_series))


class _Running:
    """One query that runs.

    Args:
        dataset: the records.
        limits: bounds.
        deadline: when to give up.
    """

    def __init__(self, dataset: Dataset, limits: Limits, deadline: Deadline) -> None:
        self._dataset = dataset
        self._limits = limits
        self._deadline = deadline
        self._reads: list[Stats] = []

    def _read(self) -> Stats:
        self._reads.append(Stats())
        return self._reads[-1]

    def lines(self, parsed: LogQuery, given: Parameters, *, is_categorized: bool) -> LineAnswer:
        """Return the lines of a query."""
        span, limit = given.span, given.limit
        streams, pipeline = Streams(self._dataset, parsed.matchers, parsed.stages), Pipeline(parsed.stages)
        answer = LineAnswer(is_categorized=is_categorized, max_bytes=self._limits.max_answer_bytes)
        lines = streams.lines(
            span.since_us,
            span.until_us,
            newest_first=given.direction == "backward",
            stats=self._read(),
        )
        for number, line in enumerate(lines):
            if number % _CHECKED_EVERY == 0:
                self._deadline.check()
            if not pipeline.keeps(line.text):
                continue
            labels = Labels(line.stream, line.metadata)
            text = pipeline.passed(line.text, labels)
            if text is not None:
                answer.add(line.time_us * 1000, text, labels)
                if answer.lines == limit:
                    break
        return answer

    def evaluated(self, parsed: Expression, moments: Moments) -> Matrix | float:
        """Return the result of a query for numbers."""
        return Evaluation(Matrix(moments, self._limits), self._lines_of, self._deadline).of(parsed)

    def _lines_of(self, wanted: RangeAggregation, since_us: int, until_us: int) -> Iterator[Line]:
        streams = Streams(self._dataset, wanted.query.matchers, wanted.query.stages)
        return streams.lines(since_us, until_us, stats=self._read())

    def answer(self, data: Answer, lines: int = 0) -> dict[str, Any]:
        """Return the whole answer."""
        stats = statistics(self._reads, lines, self._deadline.spent_seconds)
        return {"status": "success", "data": {**data, "stats": stats}}
