"""Find labels in a line: `| json` and `| logfmt`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from ipfs_log_handlers.loki.labels import Labels, label_name, name_characters

__all__ = ["parse_json", "parse_logfmt"]

_MAX_DEPTH: Final = 100
"""Largest depth of objects in each other; deeper ones give no labels."""


class _Object(list[tuple[str, Any]]):
    """The members of an object, in their order, also those whose names are equal."""


def _constant(_: str) -> str:
    raise ValueError("not JSON")


_decode: Final = json.JSONDecoder(
    object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=_constant, strict=False
).decode


def parse_json(line: str, labels: Labels) -> None:
    """Make a label of each member of the object that a line is; `a.b` and `{"a": {"b": …}}` become `a_b`.

    Lists are left out, and null gives no label. A line that is not a JSON object gets the label `__error__`.
    """
    try:
        members = _decode(line)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, _Object):
        labels.fail("JSONParserErr", "the line is not a JSON object")
        return
    for name, value in _leaves(members, "", 0):
        labels.extract(name, value)


def _leaves(members: _Object, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, value in members:
        name = f"{prefix}_{name_characters(key)}" if prefix else label_name(key)
        if isinstance(value, _Object):
            if depth < _MAX_DEPTH:
                yield from _leaves(value, name, depth + 1)
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, str):
            yield name, value


_NAME: Final = re.compile(r'([^\x00-\x20="]+)(?:(=)|(?=[\x00-\x20]|$))')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD: Final = re.compile(r"[^\x00-\x20]+")
_REST: Final = re.compile(r"[^\x00-\x20]*")


def parse_logfmt(line: str, labels: Labels) -> None:
    """Make a label of each `name=value` of a line; what has another form is left out, as is a name without a value.

    What follows a quoted value up to the next space is left out; after a quote that is not closed nothing is found.
    """
    at = 0
    while (word := _WORD.search(line, at)) is not None:
        name = _NAME.match(line, word.start())
        if name is None or name[2] is None:
            at = word.end() if name is None else name.end()
            continue
        at = name.end()
        if line.startswith('"', at):
            quoted = _QUOTED.match(line, at)
            if quoted is None:
                return
            value, end = _unquoted(quoted[1]), _end_of(line, quoted.end())
        else:
            end = _end_of(line, at)
            value = line[at:end]
            if "=" in value or '"' in value:
                value = ""
        if value:
            labels.extract(label_name(name[1]), value)
        at = end


def _end_of(line: str, at: int) -> int:
    rest = _REST.match(line, at)
    return at if rest is None else rest.end()


def _unquoted(text: str) -> str:
    """Return what a quoted value stands for; its escapes are those of JSON."""
    try:
        return str(json.loads(f'"{text}"', strict=False)) if "\\" in text else text
    except ValueError:
        return ""
