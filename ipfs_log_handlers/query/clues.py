"""Find the lines of a batch that can meet a condition, by words in its text, before any line is decoded.

A clue is a word that the JSON of each matching record contains. To search a text for a word is some hundred times
faster than to decode its lines. JSON may write a character as an escape, so a line with an escape is always a
candidate. Each candidate is then decoded and compared exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ipfs_log_handlers.accelerator.state import ACCELERATOR

__all__ = ["Clue", "Clues", "best_clues", "key_word", "lines_with", "plain_bytes", "value_word"]

_ESCAPE: Final = b"\\u"
_MAX_EXACT_CHARACTERS: Final = 15
"""Characters of a number that a float represents exactly; a longer one is only compared exactly later."""


class Clue(NamedTuple):
    """A word in a line."""

    word: bytes
    bounds: tuple[float, float] | None = None
    """Least and greatest number that may follow the word; `None`: anything may. The accelerator reads it, too."""

    def places_in(self, text: bytes) -> Iterator[int]:
        """Yield where the clue holds in a text of lines: at least one place in each line that can match."""
        if self.bounds is not None:
            yield from self._numbers_in(text, *self.bounds)
            return
        at = text.find(self.word)
        while at >= 0:
            yield at
            at = text.find(self.word, text.find(b"\n", at))

    def _numbers_in(self, text: bytes, least: float, greatest: float) -> Iterator[int]:
        for match in _number_after(self.word, _digits_of(least)).finditer(text):
            token = match[1]
            try:
                if len(token) > _MAX_EXACT_CHARACTERS or least <= float(token) <= greatest:
                    yield match.start()
            except ValueError:  # such as 1.2.3, which is a number for nobody
                continue


@lru_cache(maxsize=256)
def _number_after(word: bytes, least: int) -> re.Pattern[bytes]:
    """Return a pattern that finds each number, or text of a number, after the name of a key.

    Args:
        word: the name of the key.
        least: digits before the point of each number that is searched; smaller numbers need not be found.
    """
    number = rb"[-+]?[.0-9][-+.0-9eE]*"
    if least > 1:  # a number with an exponent can be large with fewer digits, and a long one can be rounded up
        number = rb"(?=\+?(?:[0-9]{%d}|[.0-9]+[eE])|[-+.0-9eE]{%d})" % (least, _MAX_EXACT_CHARACTERS + 1) + number
    return re.compile(re.escape(word) + rb'\s*:\s*"?\s*(' + number + rb")")


def _digits_of(least: float) -> int:
    """Return how many digits before its point each number has that is not below another one."""
    return len(str(int(least))) if 1 <= least < 1e15 else 1


Clues = tuple[Clue, ...]
"""One of these is met in each matching line, unless the line escapes a character."""


def lines_with(text: bytes, clues: Iterable[Clue]) -> list[tuple[int, int]]:
    """Return begin and end of the lines that meet a clue or escape a character, in their order.

    Args:
        text: the lines, each ended by LF.
        clues: conditions, of which a line meets one.

    Returns:
        For each line the offset of its first byte and of its LF.
    """
    if ACCELERATOR is not None:
        return ACCELERATOR.lines_with(text, tuple(clues))  # type: ignore[no-any-return]
    spans = dict(_escaping(text))
    for clue in clues:
        end = -1
        for at in clue.places_in(text):
            if at > end:
                end = text.find(b"\n", at)
                spans[text.rfind(b"\n", 0, at) + 1] = end
    return sorted(spans.items())


def _escaping(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the lines that escape a character; the search for a backslash is fast, and few lines have one."""
    at = text.find(b"\\")
    while at >= 0:
        end = text.find(b"\n", at)
        if text.find(_ESCAPE, at, end) >= 0:
            yield text.rfind(b"\n", 0, at) + 1, end
        at = text.find(b"\\", end)


def best_clues(conditions: Iterable[Clues | None]) -> Clues | None:
    """Choose the clues that probably find the fewest lines: those whose shortest word is the longest."""
    known = [clues for clues in conditions if clues is not None]
    return max(known, key=_selectivity, default=None)


def _selectivity(clues: Sequence[Clue]) -> tuple[bool, int]:
    return all(clue.bounds is None for clue in clues), min((len(clue.word) for clue in clues), default=0)


def plain_bytes(text: str) -> bytes | None:
    """Return the bytes of a text in JSON; `None` for a text that JSON may write in several ways."""
    if not text or not text.isascii() or not text.isprintable() or set(text) & set('"\\/'):
        return None
    return text.encode()


def value_word(text: str) -> bytes | None:
    """Return the word of lines in which this text is a value."""
    plain = plain_bytes(text)
    return None if plain is None else b'"%b"' % plain


def key_word(path: str) -> bytes | None:
    """Return the word of lines in which this field, or the last field of a dotted path, is a key.

    `None` if there is no such word: for an item of a list, subsystem and origin, which a reader adds, and keys that
    mark a line that is not JSON.
    """
    if path.partition(".")[0] in ("subsystem", "subsystem_", "origin", "origin_", "!", "repr"):
        return None
    name = plain_bytes(path.rpartition(".")[2])
    return None if name is None or name.isdigit() else name + b'"'
