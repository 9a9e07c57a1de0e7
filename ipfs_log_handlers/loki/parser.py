"""Read a query in LogQL: the grammar of queries for numbers; `pipeline_parser.py` has that of queries for lines.

The grammar is that of https://grafana.com/docs/loki/latest/query/. A part of LogQL that is not evaluated here is
refused with its name, and never read as something else.
"""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.loki.pipeline_parser import PipelineParser
from ipfs_log_handlers.loki.refusal import not_supported
from ipfs_log_handlers.loki.syntax import (
    Binary,
    Expression,
    Grouping,
    LogQuery,
    Matcher,
    RangeAggregation,
    Scalar,
    VectorAggregation,
    VectorOf,
)
from ipfs_log_handlers.loki.token_reader import TokenReader
from ipfs_log_handlers.loki.tokens import Kind, Token
from ipfs_log_handlers.loki.units import query_duration_of

__all__ = ["parse", "parse_log_query", "parse_selector"]

_RANGE_FUNCTIONS: Final = ("count_over_time", "rate", "bytes_over_time", "bytes_rate")
_VECTOR_FUNCTIONS: Final = ("sum", "avg", "min", "max", "count", "topk", "bottomk")
_OF_UNWRAP: Final = "It needs `unwrap`, which is not supported"
_REFUSED: Final = {
    "absent_over_time": "", "rate_counter": _OF_UNWRAP, "sum_over_time": _OF_UNWRAP, "avg_over_time": _OF_UNWRAP,
    "max_over_time": _OF_UNWRAP, "min_over_time": _OF_UNWRAP, "first_over_time": _OF_UNWRAP,
    "last_over_time": _OF_UNWRAP, "stdvar_over_time": _OF_UNWRAP, "stddev_over_time": _OF_UNWRAP,
    "quantile_over_time": _OF_UNWRAP, "stddev": "", "stdvar": "", "sort": "", "sort_desc": "", "approx_topk": "",
    "label_replace": "",
}  # fmt: skip
_LEVELS: Final = (("or",), ("and", "unless"), ("==", "!=", ">", ">=", "<", "<="), ("+", "-"), ("*", "/", "%"))
"""Operators, those that bind least first; `^` binds most."""
_COMPARISONS: Final = _LEVELS[2]
_MAX_K: Final = 1 << 31
"""Largest number of series that `topk` may ask for."""


def parse(query: str) -> LogQuery | Expression:
    """Read a query.

    Raises:
        Refusal: it is not LogQL, or has a part that is not evaluated here.
    """
    return _Parser(query).whole()


def parse_log_query(query: str) -> LogQuery:
    """Read a query that must be one for lines.

    Raises:
        Refusal: it is another one.
    """
    parser = _Parser(query)
    parsed = parser.whole()
    if not isinstance(parsed, LogQuery):
        raise parser.refused(parser.first, 'a query for lines is needed here, such as {subsystem="audit"}')
    return parsed


def parse_selector(query: str) -> tuple[Matcher, ...]:
    """Read a query that must be a selector of streams, such as `{subsystem="audit"}`.

    Raises:
        Refusal: it is another one.
    """
    parsed = parse_log_query(query)
    if parsed.stages:
        parser = _Parser(query)
        raise parser.refused(parser.first, 'only a selector is expected here, such as {subsystem="audit"}')
    return parsed.matchers


class _Parser(PipelineParser, TokenReader):
    """Read one query.

    Args:
        query: its text.
    """

    def whole(self) -> LogQuery | Expression:
        """Read all of the query."""
        if self.is_log_query():
            parsed: LogQuery | Expression = self.log_query()
        else:
            parsed = self.expression()
        self.expect_end()
        return parsed

    # -- operations

    def expression(self, level: int = 0) -> Expression:
        """Read an expression whose operators bind at least as much as those of a level."""
        with self.nested():
            if level == len(_LEVELS):
                return self._power()
            left = self.expression(level + 1)
            while (operator := self.take_any(*_LEVELS[level])) is not None:
                returns_bool = operator.text in _COMPARISONS and self.take("bool") is not None
                self._refuse_matching()
                left = self._joined(operator, left, self.expression(level + 1), returns_bool=returns_bool)
            return left

    def _power(self) -> Expression:
        base = self._operand()
        operator = self.take("^")
        if operator is None:
            return base
        self._refuse_matching()
        with self.nested():
            return self._joined(operator, base, self._power(), returns_bool=False)

    def _joined(self, operator: Token, left: Expression, right: Expression, *, returns_bool: bool) -> Expression:
        if operator.text in ("and", "or", "unless"):
            for side in (left, right):
                if isinstance(side, Scalar):
                    raise self.refused(operator, f"{operator.text!r} joins series; {side.value:g} is a number")
        elif operator.text in _COMPARISONS and isinstance(left, Scalar) and isinstance(right, Scalar):
            raise self.refused(operator, not_supported("a comparison of two numbers", "Use arithmetic"))
        self.count_operation()
        return Binary(operator.text, left, right, returns_bool)

    def _refuse_matching(self) -> None:
        word = self.peek
        if word.text in ("on", "ignoring", "group_left", "group_right") and word.kind is Kind.NAME:
            raise self.refused(word, not_supported(f"`{word.text}`", "Series with the same labels belong together"))

    def _operand(self) -> Expression:
        token = self.peek
        if token.kind is Kind.NUMBER:
            return Scalar(self.number())
        if token.text in ("+", "-") and token.kind is Kind.SIGN:
            self.next()
            sign = -1.0 if token.text == "-" else 1.0
            if self.peek.kind is not Kind.NUMBER:
                raise self.refused(token, f"a number is expected after {token.text!r}, found {self.peek}")
            return Scalar(sign * self.number())
        if self.take("(") is not None:
            inner = self.expression()
            self.expect(")")
            return inner
        if token.kind is Kind.NAME:
            return self._call()
        if token.text == "{":
            raise self.refused(
                token,
                "a query for lines cannot be part of an operation; count them first, such as "
                'count_over_time({subsystem="audit"}[5m])',
            )
        raise self.refused(token, f"a query is expected, found {token}")

    # -- functions

    def _call(self) -> Expression:
        name = self.next()
        if name.text in _RANGE_FUNCTIONS:
            return self._range_aggregation(name.text)
        if name.text in _VECTOR_FUNCTIONS:
            return self._vector_aggregation(name)
        if name.text == "vector":
            self.expect("(")
            sign = -1.0 if self.take("-") is not None else 1.0
            value = sign * self.number()
            self.expect(")")
            return VectorOf(value)
        if name.text in _REFUSED:
            raise self.refused(name, not_supported(f"`{name.text}`", _REFUSED[name.text]))
        known = ", ".join((*_RANGE_FUNCTIONS, *_VECTOR_FUNCTIONS, "vector"))
        raise self.refused(name, f"no function {name.text!r}; there are {known}")

    def _range_aggregation(self, function: str) -> RangeAggregation:
        self.expect("(")
        query, range_ns, offset_ns = self._log_range()
        self.expect(")")
        if self.peek.text in ("by", "without") and self.peek.kind is Kind.NAME:
            raise self.refused(
                self.peek,
                f"`{self.peek.text}` is not allowed for {function}; write sum {self.peek.text} (…) ({function}(…))",
            )
        return RangeAggregation(function, query, range_ns, offset_ns)

    def _log_range(self) -> tuple[LogQuery, int, int]:
        """Read `{…} | … [5m] offset 1h`; the range may also stand behind the braces, or behind parentheses."""
        with self.nested():
            if self.take("(") is not None:
                query, inner = self._log_range_parts()
                self.expect(")")
                bounds = inner or self._bounds()
                if bounds is None:
                    raise self.refused(self.peek, f"a range such as [5m] is expected, found {self.peek}")
                return query, *bounds
            query, bounds = self._log_range_parts()
            if bounds is None:
                raise self.refused(self.peek, f"a range such as [5m] is expected, found {self.peek}")
            return query, *bounds

    def _log_range_parts(self) -> tuple[LogQuery, tuple[int, int] | None]:
        if self.peek.text == "(":
            query, *bounds = self._log_range()
            return query, (bounds[0], bounds[1])
        matchers = self.selector()
        early = self._bounds()
        query = LogQuery(matchers, self.stages())
        return query, early if early is not None else self._bounds()

    def _bounds(self) -> tuple[int, int] | None:
        """Read a range and its offset, if there is one."""
        if self.take("[") is None:
            return None
        token = self.next()
        range_ns = query_duration_of(token.text) if token.kind is Kind.DURATION else None
        if not range_ns:
            raise self.refused(token, f"a range is a duration such as 5m, found {token}")
        if self.peek.text == ":":
            raise self.refused(self.peek, not_supported("a subquery, such as [1h:5m]"))
        self.expect("]")
        if self.peek.text == "@":
            raise self.refused(self.peek, not_supported("the modifier `@`"))
        if self.take("offset") is None:
            return range_ns, 0
        sign = -1 if self.take("-") is not None else 1
        token = self.next()
        offset = query_duration_of(token.text) if token.kind is Kind.DURATION else None
        if offset is None:
            raise self.refused(token, f"an offset is a duration such as 1h, found {token}")
        return range_ns, sign * offset

    def _vector_aggregation(self, name: Token) -> VectorAggregation:
        grouping = self._grouping()
        self.expect("(")
        parameter = 0
        if name.text in ("topk", "bottomk"):
            token = self.peek
            number = self.number()
            if number != int(number) or not 1 <= number <= _MAX_K:
                raise self.refused(token, f"{name.text} needs a whole number of series, at least 1")
            parameter = int(number)
            self.expect(",")
        if self.peek.text == "{":
            raise self.refused(
                self.peek,
                f"{name.text} needs series, not lines: count them first, such as "
                f'{name.text}(count_over_time({{subsystem="audit"}}[5m]))',
            )
        inner = self.expression()
        if isinstance(inner, Scalar):
            raise self.refused(name, f"{name.text} needs series, not a number")
        self.expect(")")
        return VectorAggregation(name.text, inner, grouping or self._grouping(), parameter)

    def _grouping(self) -> Grouping | None:
        word = self.take_any("by", "without")
        if word is None:
            return None
        self.expect("(")
        names: list[str] = []
        while self.take(")") is None:
            if names:
                self.expect(",")
                if self.take(")") is not None:
                    break
            names.append(self.name("a label"))
        return Grouping(tuple(names), word.text == "without")
