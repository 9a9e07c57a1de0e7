"""Read the conditions on fields that people write: `{"status": 500}`, `{"latency_ms": {">": 100}}`, `"status>=500"`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query.comparison import Comparison, Test, number_of, plain_number_of

__all__ = ["Where", "comparisons", "compiled"]

Where = Mapping[str, Any] | str | Callable[[dict[str, Any]], object] | Sequence[Any]
"""Conditions on fields: a mapping, a text, a function of the record, or a list of these; all must be met."""

_OPERATORS: Final = ("=", "!=", ">", ">=", "<", "<=", "~", "!~")
_TEXT: Final = re.compile(r"([^=<>!~]+?)\s*(!=|!~|>=|<=|==|=|>|<|~)\s*(.*)", re.DOTALL)
_ALIASES: Final = {
    "==": "=", "eq": "=", "ne": "!=", "gt": ">", "ge": ">=", "gte": ">=", "lt": "<", "le": "<=", "lte": "<=",
    "not in": "not_in", "match": "~", "matches": "~",
}  # fmt: skip
_WORDS: Final = {"true": True, "false": False, "null": None}


def comparisons(where: Where) -> Iterator[Comparison | Test]:
    """Read the conditions that a user gives; see `Where`.

    Raises:
        ConfigurationError: one is not a condition.
    """
    if isinstance(where, str):
        yield _of_text(where)
    elif isinstance(where, Mapping):
        for path, value in where.items():
            yield from _of_item(path, value)
    elif callable(where):
        yield Test(where)
    elif isinstance(where, Sequence) and not isinstance(where, (bytes, bytearray)):
        for condition in where:
            yield from comparisons(condition)
    else:
        raise _refused(where)


def _of_item(path: Any, value: Any) -> Iterator[Comparison]:
    if not isinstance(path, str) or not path:
        raise _refused(path)
    if isinstance(value, Mapping):
        if not value:
            raise _refused({path: value})
        for operator, operand in value.items():
            yield _made(path, operator, operand)
    elif isinstance(value, re.Pattern):
        yield _made(path, "~", value)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield _made(path, "in", value)
    else:
        yield _made(path, "=", value)


def _made(path: str, operator: Any, value: Any) -> Comparison:
    plain = _ALIASES.get(operator, operator) if isinstance(operator, str) else None
    if plain in ("in", "not_in"):
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise ConfigurationError("membership needs a list of values", where=path, found=ascii(value)[:80])
        return Comparison(path, plain, tuple(_checked(path, item) for item in value))
    if plain in ("~", "!~"):
        return Comparison(path, plain, compiled(value, path))
    if plain not in _OPERATORS:
        raise ConfigurationError(
            "no such comparison", where=path, expected=", ".join((*_OPERATORS, "in", "not_in")), found=ascii(operator)
        )
    _checked(path, value)
    if plain in ("<", "<=", ">", ">=") and (isinstance(value, bool) or not isinstance(value, (int, float, str))):
        raise ConfigurationError("< <= > >= compare only numbers and texts", where=path, found=ascii(value)[:80])
    return Comparison(path, plain, value)


def _checked(path: str, value: Any) -> Any:
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise ConfigurationError(
            "a field is compared with a text, a number, true, false or none", where=path, found=ascii(value)[:80]
        )
    return value


def _of_text(text: str) -> Comparison:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise _refused(text)
    path, operator, right = match.groups()
    operator = "=" if operator == "==" else operator
    right = right.strip()
    if len(right) >= 2 and right[0] == right[-1] == '"':
        value: Any = right[1:-1]
        return Comparison(path, operator, compiled(value, path) if operator in ("~", "!~") else value)
    if operator in ("~", "!~"):
        return Comparison(path, operator, compiled(right, path))
    number = plain_number_of(right) if operator in ("=", "!=") else number_of(right)
    if number is not None:
        return Comparison(path, operator, number, loose=True)
    if operator in ("=", "!=") and right in _WORDS:
        return Comparison(path, "in" if operator == "=" else "not_in", (right, _WORDS[right]))
    return Comparison(path, operator, right)


def compiled(pattern: Any, where: str) -> re.Pattern[str]:
    """Compile a regular expression.

    Raises:
        ConfigurationError: it is not a regular expression.
    """
    if isinstance(pattern, re.Pattern):
        if isinstance(pattern.pattern, bytes):
            raise ConfigurationError(
                "a regular expression for text is needed, not for bytes", where=where, found=ascii(pattern)
            )
        return pattern
    try:
        return re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise ConfigurationError(
            f"not a regular expression: {error}", where=where, found=ascii(pattern)[:80]
        ) from error


def _refused(condition: object) -> ConfigurationError:
    return ConfigurationError(
        "not a condition on a field",
        where="where",
        expected="{'status': 500}, {'status': {'>=': 500}}, or text such as status>=500, user=mira, path~^/api",
        found=ascii(condition)[:80],
    )
