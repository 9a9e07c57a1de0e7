"""Split the text of a query into tokens; each knows its place, which errors name."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.loki.refusal import Refusal
from ipfs_log_handlers.loki.units import BYTE_UNITS, DURATION_UNITS

__all__ = ["Kind", "Token", "bad_syntax", "tokens_of"]


class Kind(enum.Enum):
    """The kind of a token."""

    NAME = "a name"
    STRING = "a string"
    NUMBER = "a number"
    DURATION = "a duration"
    BYTES = "an amount of bytes"
    SIGN = "a sign"
    END = "the end of the query"


@dataclass(frozen=True, slots=True)
class Token:
    """One token."""

    kind: Kind
    text: str
    """As it is written; of a string, what it stands for."""
    line: int
    """Its line, from 1."""
    column: int
    """Its column, from 1."""

    def __str__(self) -> str:
        if self.kind is Kind.END:
            return str(self.kind.value)
        return f"the string {self.text!r}" if self.kind is Kind.STRING else f"{self.text!r}"


def bad_syntax(token: Token, reason: str) -> Refusal:
    """Return the error of a query that cannot be read at a token."""
    return Refusal(f"parse error at line {token.line}, col {token.column}: {reason}")


_DURATION: Final = "|".join(sorted(DURATION_UNITS, key=len, reverse=True))
_UNITS: Final = "|".join(sorted((unit for unit in BYTE_UNITS if unit.endswith("b")), key=len, reverse=True))
_PATTERN: Final = re.compile(
    r"(?P<space>\s+|\#[^\n]*)"
    rf"|(?P<duration>(?:\d+(?:\.\d+)?(?:{_DURATION}))+(?![\w.]))"
    rf"|(?P<bytes>\d+(?:\.\d+)?(?i:{_UNITS})(?![\w.]))"
    r"|(?P<number>0[xX][0-9a-fA-F]+(?![\w.])|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<raw>`[^`]*`)"
    r"|(?P<sign>\|=|\|~|\|>|!=|!~|!>|=~|==|>=|<=|[{}()\[\],=|<>+\-*/%^:@])",
    re.ASCII,
)
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.DOTALL
)
_LETTERS: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_KINDS: Final = {
    "duration": Kind.DURATION, "bytes": Kind.BYTES, "number": Kind.NUMBER, "name": Kind.NAME, "string": Kind.STRING,
    "raw": Kind.STRING, "sign": Kind.SIGN,
}  # fmt: skip


def tokens_of(query: str) -> Iterator[Token]:
    """Yield the tokens of a query, and the one for its end.

    Raises:
        Refusal: a character begins no token, a string has no end, or an escape is unknown.
    """
    at, line, line_began = 0, 1, 0
    while at < len(query):
        match = _PATTERN.match(query, at)
        place = Token(Kind.SIGN, query[at], line, at - line_began + 1)
        if match is None or match.lastgroup is None:
            unended = query[at] in '"`'
            raise bad_syntax(place, "the string has no end" if unended else f"{query[at]!r} is not expected here")
        text = match[0]
        if match.lastgroup != "space":
            kind = _KINDS[match.lastgroup]
            if kind is Kind.STRING:
                text = text[1:-1] if match.lastgroup == "raw" else _unescaped(text[1:-1], place)
            yield Token(kind, text, line, place.column)
        newlines = match[0].count("\n")
        if newlines:
            line += newlines
            line_began = at + match[0].rindex("\n") + 1
        at = match.end()
    yield Token(Kind.END, "", line, at - line_began + 1)


def _unescaped(text: str, place: Token) -> str:
    """Return what a string in double quotes stands for; the escapes are those of Go."""

    def meaning(escape: re.Match[str]) -> str:
        letter, byte, short, long, octal, _ = escape.groups()
        if letter is not None:
            return _LETTERS.get(letter, letter)
        digits, base = (octal, 8) if octal is not None else (byte or short or long, 16)
        number = int(digits, base) if digits is not None else -1
        is_byte = byte is not None or octal is not None
        if number < 0 or number > 0x10FFFF or 0xD800 <= number < 0xE000 or (is_byte and number > 0x7F):
            raise bad_syntax(place, f"the string has an escape that is not known: {escape[0]!r}")
        return chr(number)

    return _ESCAPE.sub(meaning, text) if "\\" in text else text
