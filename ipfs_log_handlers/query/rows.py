"""Decode all records of a text of lines at once, when each is a JSON object: whole, or only some of their fields.

A mapping for each record takes most of the time of a query in SQL; most queries need two or three fields. Every answer
is that of `reader.lines.record_of`, or `None`: then the caller decodes the lines one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from ipfs_log_handlers.query.comparison import MISSING

__all__ = ["columns_in", "mappings_in"]

_decode_mapping: Final = msgspec.json.Decoder(dict[str, Any]).decode
_REFUSED: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the decoder raises for a line that `record_of` reads in another way."""
_NOT_IN_NAMES: Final = frozenset('"\\')
"""Characters that the name of a member of a decoded row cannot have."""
_RENAMED: Final = ("subsystem", "subsystem_")
"""A field of the first name that a program logged has the second name in a record."""
_RENAMED_TOO: Final = ("origin", "origin_")
"""The same, where records show their origin."""


def mappings_in(text: bytes, origin: str | None = None) -> list[dict[str, Any]] | None:
    """Return the records of a text as mappings, without their subsystem and origin; `None` if a line needs a look.

    Args:
        text: the records, each ended by LF.
        origin: their origin; `None`: they show none.
    """
    if b'"subsystem"' in text or b"\\u" in text or (origin is not None and b'"origin"' in text):
        return None
    try:
        return list(map(_decode_mapping, _lines_of(text)))
    except _REFUSED:
        return None


def columns_in(
    text: bytes, subsystem: str, names: Sequence[str], origin: str | None = None
) -> tuple[int, Mapping[str, list[Any]]] | None:
    """Return the number of records in a text, and the values of some fields, `MISSING` where a record has none.

    Args:
        text: the records, each ended by LF.
        subsystem: their subsystem.
        names: the fields.
        origin: their origin; `None`: they show none.

    Returns:
        `None` if a line, or the name of a field, needs a look of its own.
    """
    if _RENAMED[1] in names or any(set(name) & _NOT_IN_NAMES for name in names):
        return None
    if origin is not None and _RENAMED_TOO[1] in names:
        return None
    labels = {_RENAMED[0]: subsystem, **({} if origin is None else {_RENAMED_TOO[0]: origin})}
    columns: dict[str, list[Any]] = {}
    fields = tuple(name for name in names if name not in labels)
    if not fields:
        count = text.count(b"\n")
    else:
        decode, getters = _reader_of(fields)
        try:
            rows = list(map(decode, _lines_of(text)))
        except _REFUSED:
            return None
        count = len(rows)
        columns = {name: list(map(get, rows)) for name, get in zip(fields, getters, strict=True)}
    columns |= {name: [label] * count for name, label in labels.items() if name in names}
    return count, columns


def _lines_of(text: bytes) -> list[bytes]:
    lines = text.split(b"\n")
    lines.pop()
    return lines


@lru_cache(maxsize=64)
def _reader_of(fields: tuple[str, ...]) -> tuple[Callable[[bytes], Any], Sequence[Callable[[Any], Any]]]:
    """Return what decodes these fields of a line, and what takes each of them."""
    members = [f"value_{number}" for number in range(len(fields))]
    row = msgspec.defstruct(
        "Row",
        [(member, Any, MISSING) for member in members],
        rename=dict(zip(members, fields, strict=True)),
        gc=False,
    )
    return msgspec.json.Decoder(row).decode, [attrgetter(member) for member in members]
