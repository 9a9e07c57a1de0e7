"""Evaluate a query for numbers."""

from __future__ import annotations

from ipfs_log_handlers.loki.limits import Deadline
from ipfs_log_handlers.loki.matrix import Matrix
from ipfs_log_handlers.loki.syntax import (
    Binary,
    Expression,
    Grouping,
    RangeAggregation,
    Scalar,
    VectorAggregation,
    VectorOf,
)
from ipfs_log_handlers.loki.vectors import aggregated, arithmetic, joined, set_operation, with_number
from ipfs_log_handlers.loki.windows import LineReader, evaluate_range

__all__ = ["Evaluation"]


class Evaluation:
    """One evaluation.

    Args:
        empty: gives the moments and the bounds.
        read: reads lines.
        deadline: when to give up.
    """

    def __init__(self, empty: Matrix, read: LineReader, deadline: Deadline) -> None:
        self._empty = empty
        self._read = read
        self._deadline = deadline

    def of(self, wanted: Expression) -> Matrix | float:
        """Return the series of an expression, or its number.

        Raises:
            Refusal: it has too many series, takes too long, or a step could not read a line.
        """
        self._deadline.check()
        if isinstance(wanted, Scalar):
            return wanted.value
        if isinstance(wanted, VectorOf):
            return self._empty.like({(): [wanted.value] * self._empty.moments.count})
        if isinstance(wanted, RangeAggregation):
            return evaluate_range(wanted, self._empty, self._read, self._deadline)
        if isinstance(wanted, VectorAggregation):
            return self._aggregation(wanted)
        return self._binary(wanted)

    def _aggregation(self, wanted: VectorAggregation) -> Matrix:
        if wanted.function == "sum" and isinstance(wanted.inner, RangeAggregation):
            # Lines of all streams of a group are counted at once: a stream of each trace makes no series of its own.
            return evaluate_range(
                wanted.inner, self._empty, self._read, self._deadline, wanted.grouping or Grouping(())
            )
        return aggregated(wanted, self._as_series(self.of(wanted.inner)))

    def _as_series(self, inner: Matrix | float) -> Matrix:
        """Return an expression as series: a number is one without labels."""
        return self._empty.like({(): [inner] * self._empty.moments.count}) if isinstance(inner, float) else inner

    def _binary(self, wanted: Binary) -> Matrix | float:
        left, right = self.of(wanted.left), self.of(wanted.right)
        operator, returns_bool = wanted.operator, wanted.returns_bool
        if isinstance(left, float) and isinstance(right, float):
            return arithmetic(operator, left, right)
        if operator in ("and", "or", "unless"):
            return set_operation(operator, self._as_series(left), self._as_series(right))
        if isinstance(left, float):
            return with_number(operator, self._as_series(right), left, number_is_left=True, returns_bool=returns_bool)
        if isinstance(right, float):
            return with_number(operator, left, right, number_is_left=False, returns_bool=returns_bool)
        return joined(operator, left, right, returns_bool=returns_bool)
