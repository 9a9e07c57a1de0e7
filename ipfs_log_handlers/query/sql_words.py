"""Find the words of a SQL statement that may be names of columns. This module needs DuckDB."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import duckdb

__all__ = ["called_words", "column_words", "ends_a_statement", "without_end", "words"]

_WORD: Final = re.compile(rb'"((?:[^"]|"")*)"|([\w$\x80-\xff]+)')
_BEFORE_TABLES: Final = ("from", "join")
_TYPES: Final = frozenset({"date", "interval", "time", "timestamp", "timestamptz"})
"""Words that, before a text, are the type of a constant."""


class _Token(NamedTuple):
    kind: Any
    """The class that DuckDB gives it."""
    start: bytes
    """The rest of the statement, from this token on."""
    word: str
    """The name, with its case folded; empty for a token of another kind."""
    quoted: bool


def words(statement: str) -> frozenset[str]:
    """Return all words of a statement outside texts and comments, with their case folded."""
    return frozenset(token.word for token in _tokens(statement) if token.word)


def called_words(statement: str) -> frozenset[str]:
    """Return the words before a `(`, comments aside, with their case folded: functions, and some keywords."""
    tokens = [token for token in _tokens(statement) if token.kind != duckdb.token_type.comment]
    pairs = itertools.pairwise(tokens)
    return frozenset(token.word for token, following in pairs if token.word and following.start[:1] == b"(")


def column_words(statement: str, connection: Any) -> frozenset[str]:
    """Return the words at places where a statement may name a column, with their case folded.

    Left out are words that cannot name one there: reserved words, functions, types before a constant, units of an
    interval, names of tables after FROM and JOIN, aliases after AS, and columns of a table that is named before a dot.

    Args:
        statement: one statement that DuckDB can parse.
        connection: knows the keywords of its version of DuckDB.
    """
    # Keywords of these categories can be the name of a column only in quotes.
    query = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
    keywords = frozenset(name for (name,) in connection.execute(query).fetchall())
    tokens = [token for token in _tokens(statement) if token.kind != duckdb.token_type.comment]
    found = set()
    for number, token in enumerate(tokens):
        if not token.word or (token.word in keywords and not token.quoted):
            continue
        before = [earlier.word if not earlier.quoted else "" for earlier in tokens[max(0, number - 2) : number]]
        before = ["", ""][len(before) :] + before
        after_dot = number > 0 and tokens[number - 1].start[:1] == b"."
        following = tokens[number + 1] if number + 1 < len(tokens) else None
        is_function = following is not None and following.start[:1] == b"("
        is_type = token.word in _TYPES and following is not None and following.kind in _CONSTANTS
        is_alias = before[0] in _BEFORE_TABLES and before[1] != ""
        is_unit = before[0] == "interval" and tokens[number - 1].kind in _CONSTANTS
        if not (
            after_dot
            or is_function
            or is_type
            or is_unit
            or before[1] in _BEFORE_TABLES
            or before[1] == "as"
            or is_alias
        ):
            found.add(token.word)
    return frozenset(found)


def without_end(statement: str) -> str:
    """Return one statement without its `;` and without the text after the `;`."""
    data = statement.encode("utf-8", "replace")
    ends = (len(data) - len(token.start) for token in _tokens(statement) if token.start[:1] == b";")
    return data[: next(ends, len(data))].decode("utf-8", "replace")


def ends_a_statement(text: str) -> bool:
    """Say whether the last token of a text, comments aside, is `;`."""
    tokens = [token for token in _tokens(text) if token.kind != duckdb.token_type.comment]
    return bool(tokens) and tokens[-1].start[:1] == b";"


_CONSTANTS: Final = (duckdb.token_type.numeric_const, duckdb.token_type.string_const)


def _tokens(statement: str) -> Iterator[_Token]:
    data = statement.encode("utf-8", "replace")
    for offset, kind in duckdb.tokenize(statement):
        start = data[offset:]
        match = _WORD.match(start) if kind in (duckdb.token_type.identifier, duckdb.token_type.keyword) else None
        if match is None:
            yield _Token(kind, start, "", quoted=False)
        else:
            name = match[1].replace(b'""', b'"') if match[1] is not None else match[2]
            yield _Token(kind, start, name.decode("utf-8", "replace").casefold(), quoted=match[1] is not None)
