"""Define Cursor, the position of a reading of one subsystem, as a value that can be printed and resumed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ipfs_log_handlers.errors import FormatError

__all__ = ["Cursor"]

_WRITER: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_MAX_TEXT: Final = 1 << 20
"""Characters of a cursor above which it is refused: some 30,000 writers."""
_KEYS: Final = ("log", "index", "offset", "seqs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the records of one subsystem; the place before the first record is `Cursor()`.

    `str(cursor)` is one line of JSON, `Cursor.parse` reads it back.
    """

    log: str = ""
    """Name of the log; empty before the first batch."""
    index: int = 0
    """Number of the next batch in that log. All earlier batches, and all older logs, were read."""
    offset: int = 0
    """Number of records of that batch that were read already."""
    seqs: Mapping[str, int] = field(default_factory=dict)
    """By writer: the last sequence number that was read from the spool, and that may still be sealed into a batch."""

    def __post_init__(self) -> None:
        if type(self.log) is not str or not isinstance(self.seqs, Mapping):
            raise FormatError("not a cursor", expected="log as text, seqs as a map", found=ascii(self.log)[:80])
        for writer, seq in self.seqs.items():
            if type(writer) is not str or _WRITER.fullmatch(writer) is None:
                raise FormatError("a cursor names a writer by 16 hex digits", found=ascii(writer)[:80])
            _check_number("seqs", seq)
        _check_number("index", self.index)
        _check_number("offset", self.offset)

    def __str__(self) -> str:
        members = {name: getattr(self, name) for name in _KEYS} | {"seqs": dict(sorted(self.seqs.items()))}
        return json.dumps(members, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor from its text.

        Raises:
            FormatError: the text is not a cursor.
        """
        try:
            members = json.loads(text) if len(text) <= _MAX_TEXT else None
        except (ValueError, RecursionError) as error:
            raise FormatError("not a cursor", expected="the text that str(cursor) gave", found=text[:80]) from error
        if not isinstance(members, dict) or sorted(members) != sorted(_KEYS):
            raise FormatError("not a cursor", expected=f"a JSON object with {', '.join(_KEYS)}", found=text[:80])
        return cls(**members)


def _check_number(name: str, number: object) -> None:
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise FormatError("a number of a cursor is out of range", expected="0 to 2^64 - 1", found=number, where=name)
