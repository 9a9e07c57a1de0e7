"""Define the parts of a query in LogQL as values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Binary",
    "Comparison",
    "DropOrKeep",
    "Either",
    "Expression",
    "Grouping",
    "JsonParser",
    "LabelFilter",
    "LineFilter",
    "LineFormat",
    "LogQuery",
    "LogfmtParser",
    "Matcher",
    "RangeAggregation",
    "Scalar",
    "Stage",
    "VectorAggregation",
    "VectorOf",
    "Wholly",
]


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on a label: `level="error"`. A label that is missing is empty."""

    name: str
    operator: str
    """`=`, `!=`, `=~`, `!~`; an expression must match the whole value."""
    value: str


@dataclass(frozen=True, slots=True)
class LineFilter:
    """A condition on the line: `|= "timeout" or "refused"`."""

    operator: str
    """`|=`, `!=`, `|~`, `!~`."""
    texts: tuple[str, ...]
    """A line must contain one of them, or none of them."""


@dataclass(frozen=True, slots=True)
class JsonParser:
    """`| json`: each field of the line becomes a label."""


@dataclass(frozen=True, slots=True)
class LogfmtParser:
    """`| logfmt`: each `name=value` of the line becomes a label."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of a label with a number: `status >= 500`, `latency > 10ms`, `size < 1MB`."""

    name: str
    operator: str
    """`==`, `!=`, `>`, `>=`, `<`, `<=`."""
    number: float
    """The number; of a duration, ns; of an amount, bytes."""
    unit: str
    """`number`, `duration` or `bytes`: how the value of the label is read."""


@dataclass(frozen=True, slots=True)
class Either:
    """Two conditions on labels, one of which must be met."""

    left: LabelFilter
    right: LabelFilter


@dataclass(frozen=True, slots=True)
class Wholly:
    """Two conditions on labels, both of which must be met."""

    left: LabelFilter
    right: LabelFilter


LabelFilter = Matcher | Comparison | Either | Wholly
"""A condition on labels."""


@dataclass(frozen=True, slots=True)
class DropOrKeep:
    """`| drop a, b="x"` or `| keep a, b="x"`: which labels a line keeps."""

    keeps: bool
    labels: tuple[str | Matcher, ...]


@dataclass(frozen=True, slots=True)
class LineFormat:
    """`| line_format "{{.event}} {{.user}}"`: a new text for the line."""

    parts: tuple[tuple[str, str], ...]
    """Each is a text, and the name of the label that comes after it; the last name is empty."""


Stage = LineFilter | JsonParser | LogfmtParser | LabelFilter | DropOrKeep | LineFormat
"""A step through which each line goes."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A query for lines: which streams, and the steps."""

    matchers: tuple[Matcher, ...]
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class RangeAggregation:
    """A function of the lines of some time: `rate({subsystem="audit"}[5m] offset 1h)`."""

    function: str
    """`count_over_time`, `rate`, `bytes_over_time`, `bytes_rate`."""
    query: LogQuery
    range_ns: int
    offset_ns: int = 0


@dataclass(frozen=True, slots=True)
class Grouping:
    """Labels by which series are grouped: `by (level)`, `without (origin)`."""

    names: tuple[str, ...]
    without: bool = False


@dataclass(frozen=True, slots=True)
class VectorAggregation:
    """A function of several series: `sum by (level) (…)`, `topk(3, …)`."""

    function: str
    """`sum`, `avg`, `min`, `max`, `count`, `topk`, `bottomk`."""
    inner: Expression
    grouping: Grouping | None = None
    parameter: int = 0
    """How many series `topk` and `bottomk` keep."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number."""

    value: float


@dataclass(frozen=True, slots=True)
class VectorOf:
    """`vector(1)`: a series without labels."""

    value: float


@dataclass(frozen=True, slots=True)
class Binary:
    """An operation on two expressions."""

    operator: str
    """`+ - * / % ^ == != > >= < <= and or unless`."""
    left: Expression
    right: Expression
    returns_bool: bool = False
    """Whether a comparison gives 0 or 1 instead of leaving series out."""


Expression = RangeAggregation | VectorAggregation | Scalar | VectorOf | Binary
"""A query for numbers."""
