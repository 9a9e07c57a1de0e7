"""Hold the answer of SQL: rows of plain values, as JSON has them. This module does not need DuckDB."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

__all__ = ["SqlAnswer", "SqlLimits", "SqlSession", "answer_of"]


@dataclass(frozen=True, slots=True)
class SqlAnswer:
    """The rows of an answer."""

    columns: tuple[str, ...]
    """The names of the columns; a repeated name gets a number: `status`, `status_1`."""
    rows: list[list[Any]]
    """The values as JSON has them: a time as RFC 3339 text in UTC, a value of type JSON as what it is, any other that
    JSON does not have as text."""
    moments: frozenset[int] = frozenset()
    """Positions of the columns that hold moments, the first one being 0."""
    truncated: bool = False
    """Whether the answer had more rows, which are left out."""
    kernel_limits: frozenset[str] = frozenset()
    """Of `sql_untrusted`: the means by which the kernel refused the process of the query files, network, programs and
    other processes: `landlock`, `seccomp`, both, or none where the kernel has none."""

    def as_objects(self) -> Iterable[dict[str, Any]]:
        """Yield each row as a mapping from the names of the columns."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlLimits:
    """The limits of a query that another person has written."""

    rows: int = 1000
    """Largest number of rows of the answer; `SqlAnswer.truncated` tells whether rows were left out."""
    seconds: float = 10.0
    """Seconds until the child is killed."""
    memory_bytes: int = 512 << 20
    """Bytes of memory that DuckDB may use."""
    address_space_bytes: int = 4 << 30
    """Bytes of address space of the child; DuckDB does not start with much less than 3 GiB."""
    answer_bytes: int = 16 << 20
    """Bytes of the answer as JSON."""
    threads: int = 2
    """Threads of DuckDB."""


class SqlSession(Protocol):
    """Answers SQL over the records that were durable when the session began. A context manager.

    A later statement sees the tables that an earlier statement made.
    """

    def __enter__(self) -> SqlSession: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def names(self) -> Sequence[str]:
        """The names of the tables."""

    def schema(self, name: str) -> Sequence[tuple[str, str]]:
        """Return each column of a table with its type; this reads all records."""

    def is_complete(self, text: str) -> bool:
        """Say whether a text ends with the `;` of a statement, and not inside a text or a comment."""

    def answer(self, query: str) -> SqlAnswer | None:
        """Run SQL; return the answer of the last statement, `None` for a statement without one.

        Args:
            query: one statement, or several.

        Raises:
            ConfigurationError: the SQL is wrong, or it cannot be answered; the message is DuckDB's.
            VerificationError, StoreUnavailable: as for iteration over the dataset.
        """


def answer_of(relation: Any) -> SqlAnswer | None:
    """Read a relation of DuckDB; `None` for a statement without an answer."""
    if relation is None:
        return None
    table = relation.to_arrow_table()
    kinds = [str(kind) for kind in relation.types]
    columns = [_values(kind, column) for kind, column in zip(kinds, table.columns, strict=True)]
    moments = {number for number, kind in enumerate(kinds) if kind == "TIMESTAMP WITH TIME ZONE"}
    rows = [list(row) for row in zip(*columns, strict=True)]
    return SqlAnswer(_distinct(table.schema.names), rows, frozenset(moments))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    taken: dict[str, None] = {}
    for name in names:
        distinct, number = name, 0
        while distinct in taken:
            number += 1
            distinct = f"{name}_{number}"
        taken[distinct] = None
    return tuple(taken)


def _values(kind: str, column: Any) -> list[Any]:
    values = column.to_pylist()
    if kind == "JSON":
        return [None if text is None else _decoded(text) for text in values]
    return [_plain(value) for value in values]


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo is None else value.astimezone(dt.timezone.utc).replace(tzinfo=None)
        return moment.isoformat(timespec="microseconds") + ("" if value.tzinfo is None else "Z")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _of_decimal(value: Decimal) -> int | float | str:
    """Return a decimal as a number where that is exact enough to give the same decimal again."""
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else str(value)
