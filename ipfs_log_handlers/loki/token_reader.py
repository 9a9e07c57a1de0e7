"""Go through the tokens of one query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ipfs_log_handlers.loki.refusal import Refusal
from ipfs_log_handlers.loki.tokens import Kind, Token, bad_syntax, tokens_of

__all__ = ["TokenReader"]

_MAX_DEPTH: Final = 300
"""Largest depth of the grammar's rules, so that no query exhausts Python's stack."""


_MAX_OPERATIONS: Final = 200
"""Largest number of operations that join two expressions or conditions: each is a call inside another one."""


class TokenReader:
    """The tokens of a query, and which one is next.

    Args:
        query: its text.
    """

    def __init__(self, query: str) -> None:
        self._tokens = list(tokens_of(query))
        self._at = self._depth = self._operations = 0

    @property
    def first(self) -> Token:
        """The first token."""
        return self._tokens[0]

    @property
    def peek(self) -> Token:
        """The next token, which stays the next one."""
        return self._tokens[self._at]

    def peek_after(self) -> Token:
        """Return the token after the next one."""
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def next(self) -> Token:
        """Return the next token, and go on."""
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def take(self, text: str) -> Token | None:
        """Go on if the next token is this sign or word; return it."""
        return self.take_any(text)

    def take_any(self, *texts: str) -> Token | None:
        """Go on if the next token is one of these signs or words; return it."""
        token = self.peek
        if token.text in texts and token.kind in (Kind.SIGN, Kind.NAME):
            self._at += 1
            return token
        return None

    def expect(self, text: str) -> None:
        """Take this sign.

        Raises:
            Refusal: the next token is another one.
        """
        if self.take(text) is None:
            raise self.refused(self.peek, f"{text!r} is expected, found {self.peek}")

    def expect_end(self) -> None:
        """Raise an error if a token is left.

        Raises:
            Refusal: one is.
        """
        if self.peek.kind is not Kind.END:
            raise self.refused(self.peek, f"{self.peek} is not expected here")

    def name(self, what: str) -> str:
        """Take a name.

        Raises:
            Refusal: the next token is none.
        """
        token = self.next()
        if token.kind is not Kind.NAME:
            raise self.refused(token, f"{what} is expected, found {token}")
        return token.text

    def string(self, what: str) -> str:
        """Take a string.

        Raises:
            Refusal: the next token is none.
        """
        token = self.next()
        if token.kind is not Kind.STRING:
            raise self.refused(token, f"{what} in double quotes or backticks is expected, found {token}")
        return token.text

    def number(self) -> float:
        """Take a number.

        Raises:
            Refusal: the next token is none.
        """
        token = self.next()
        if token.kind is not Kind.NUMBER:
            raise self.refused(token, f"a number is expected, found {token}")
        return float(int(token.text, 16)) if token.text[:2].lower() == "0x" else float(token.text)

    @staticmethod
    def refused(token: Token, reason: str) -> Refusal:
        """Return the error of a query that cannot be read at a token."""
        return bad_syntax(token, reason)

    def count_operation(self) -> None:
        """Count an operation that joins two expressions or conditions.

        Raises:
            Refusal: the query has too many.
        """
        self._operations += 1
        if self._operations > _MAX_OPERATIONS:
            raise self.refused(self.peek, f"the query has more than {_MAX_OPERATIONS} operations")

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Count the depth of the rules.

        Raises:
            Refusal: the query is nested too deeply.
        """
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self.refused(self.peek, "the query is nested too deeply")
        try:
            yield
        finally:
            self._depth -= 1
