"""Evaluate functions of several series, and operations on two expressions, at each moment."""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable, Sequence
from typing import Final

from ipfs_log_handlers.loki.matrix import LabelSet, Matrix, grouped
from ipfs_log_handlers.loki.syntax import Grouping, VectorAggregation

__all__ = ["COMPARISONS", "aggregated", "arithmetic", "joined", "set_operation", "with_number"]

COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": operators.eq, "!=": operators.ne, ">": operators.gt, ">=": operators.ge, "<": operators.lt, "<=": operators.le
}  # fmt: skip
"""The comparisons of numbers, also those of labels with numbers."""


# -- functions of several series


def aggregated(wanted: VectorAggregation, inner: Matrix) -> Matrix:
    """Evaluate `sum`, `avg`, `min`, `max`, `count`, `topk` or `bottomk`."""
    result = inner.like()
    grouping = wanted.grouping or Grouping(())
    for number in range(inner.moments.count):
        groups: dict[LabelSet, list[tuple[LabelSet, float]]] = {}
        for labels, value in inner.at(number):
            groups.setdefault(grouped(labels, grouping), []).append((labels, value))
        for group, members in groups.items():
            if wanted.function in ("topk", "bottomk"):
                for labels, value in _extremes(members, wanted.parameter, largest=wanted.function == "topk"):
                    result.row(labels)[number] = value
            else:
                result.row(group)[number] = _REDUCE[wanted.function]([value for _, value in members])
    return result


def _extremes(members: Sequence[tuple[LabelSet, float]], k: int, *, largest: bool) -> list[tuple[LabelSet, float]]:
    """Return the `k` series with the largest or smallest values; of equal ones, those first by their labels."""

    def rank(member: tuple[LabelSet, float]) -> tuple[bool, float, LabelSet]:
        labels, value = member
        return math.isnan(value), -value if largest else value, labels

    return sorted(members, key=rank)[:k]


def _smallest(values: Sequence[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.nan)


def _largest(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


_REDUCE: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "min": _smallest,
    "max": _largest,
    "count": lambda values: float(len(values)),
}


# -- operations


def arithmetic(operator: str, left: float, right: float) -> float:
    """Return the result of `+ - * / % ^`; a division by zero gives NaN, as in Loki."""
    try:
        if operator in ("/", "%"):
            if right == 0:
                return math.nan
            return left / right if operator == "/" else math.fmod(left, right)
        if operator == "^":
            return math.pow(left, right)
        if operator == "*":
            return left * right
        return left + right if operator == "+" else left - right
    except OverflowError:
        return math.inf
    except ValueError:  # such as (-1) ^ 0.5
        return math.nan


def with_number(operator: str, matrix: Matrix, number: float, *, number_is_left: bool, returns_bool: bool) -> Matrix:
    """Apply an operation to each value of a matrix and a number."""
    result = matrix.like()
    for labels, row in matrix.series.items():
        made: list[float | None] = []
        for value in row:
            if value is None:
                made.append(None)
                continue
            left, right = (number, value) if number_is_left else (value, number)
            made.append(_operated(operator, left, right, kept=value, returns_bool=returns_bool))
        if any(value is not None for value in made):
            result.series[labels] = made
    return result


def joined(operator: str, left: Matrix, right: Matrix, *, returns_bool: bool) -> Matrix:
    """Apply an operation to the series of both matrices that have the same labels."""
    result = left.like()
    for labels, row in left.series.items():
        other = right.series.get(labels)
        if other is None:
            continue
        made = [
            None if one is None or two is None else _operated(operator, one, two, kept=one, returns_bool=returns_bool)
            for one, two in zip(row, other, strict=True)
        ]
        if any(value is not None for value in made):
            result.series[labels] = made
    return result


def _operated(operator: str, left: float, right: float, *, kept: float, returns_bool: bool) -> float | None:
    if operator not in COMPARISONS:
        return arithmetic(operator, left, right)
    holds = COMPARISONS[operator](left, right)
    if returns_bool:
        return 1.0 if holds else 0.0
    return kept if holds else None


def set_operation(operator: str, left: Matrix, right: Matrix) -> Matrix:
    """Evaluate `and`, `or` and `unless` for series with the same labels."""
    result = left.like()
    for labels, row in left.series.items():
        other = right.series.get(labels, [None] * left.moments.count)
        result.series[labels] = [
            one if operator == "or" or (two is not None) is (operator == "and") else None
            for one, two in zip(row, other, strict=True)
        ]
    if operator == "or":
        for labels, row in right.series.items():
            made = result.row(labels)
            for number, value in enumerate(row):
                if made[number] is None:
                    made[number] = value
    result.series = {labels: row for labels, row in result.series.items() if any(value is not None for value in row)}
    return result
