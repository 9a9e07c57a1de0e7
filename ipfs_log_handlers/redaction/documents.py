"""Hide values in JSON documents inside text, by their structure: names are exact at any depth.

All other characters of a document stay unchanged. The time grows linearly with the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ipfs_log_handlers.redaction.words import (
    HIDDEN,
    NAME_KEYS,
    VALUE_KEYS,
    Matches,
    Replace,
    named_option,
)
from ipfs_log_handlers.redaction.words import hide as hide_whole

__all__ = ["hide_in_documents"]

_MAX_DEPTH: Final = 64
"""Levels of a JSON document; a deeper document is read as plain text."""
_MAX_FAILED_DOCUMENTS: Final = 16
"""Number of brackets that may begin no JSON document; after that the other text is read as plain text."""


@dataclass(slots=True)
class _Node:
    """A value of a JSON document, and its place in the text."""

    start: int
    end: int
    text: str | None = None
    """The value, if it is a string."""
    members: list[tuple[_Node, _Node]] | None = None
    """Names and values, if it is an object."""
    items: list[_Node] | None = None
    """The items, if it is an array."""


_DOCUMENT: Final = re.compile(r'[{\[](?=\s*["{\[])')
_BACKSLASH_AT_END: Final = re.compile(r'(?<!\\)(?:\\\\)+"')
"""The end of a JSON string that ends with a backslash; in the `repr` of JSON, a quote in the middle of a string."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR: Final = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null|NaN|-?Infinity")


def hide_in_documents(text: str, matches: Matches, hide: Callable[[str], str]) -> str:
    """Return a text with the values of matching names in its JSON documents hidden; the text itself if there are none.

    Args:
        text: any text.
        matches: function that decides whether a name is secret.
        hide: function that hides values in a string of a document.
    """
    parts, done, failed = [], 0, 0
    while failed < _MAX_FAILED_DOCUMENTS and (beginning := _DOCUMENT.search(text, done)) is not None:
        start = beginning.start()
        try:
            document = _parse(text, start, 0)
            if document.end - start < len(text) and _BACKSLASH_AT_END.search(text, start, document.end):
                raise ValueError("JSON, or the `repr` of JSON")
        except (ValueError, RecursionError):
            failed += 1
            parts.append(text[done : start + 1])
            done = start + 1
            continue
        editor = _Editor(text, matches, hide)
        editor.find(document)
        for first, end, replacement in editor.edits:
            parts += [text[done:first], replacement]
            done = end
        parts.append(text[done : document.end])
        done = document.end
    hidden = "".join((*parts, text[done:]))
    return text if hidden == text else hidden  # the very object where nothing is hidden


def _parse(text: str, start: int, depth: int) -> _Node:
    """Parse one JSON value.

    Raises:
        ValueError: it is not JSON, or too deep.
    """
    start = _after_space(text, start)
    first = text[start : start + 1]
    if first == '"':
        end = _end_of(_STRING, text, start)
        return _Node(start, end, text=str(json.loads(text[start:end], strict=False)))
    if first not in {"{", "["} or not first:
        return _Node(start, _end_of(_SCALAR, text, start))
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    members: list[tuple[_Node, _Node]] = []
    items: list[_Node] = []
    closing = "}" if first == "{" else "]"
    position = _after_space(text, start + 1)
    while text[position : position + 1] != closing:
        if members or items:
            position = _after(",", text, position)
        node = _parse(text, position, depth + 1)
        if first == "{":
            if node.text is None:
                raise ValueError("a name that is no string")
            value = _parse(text, _after(":", text, _after_space(text, node.end)), depth + 1)
            members.append((node, value))
            node = value
        else:
            items.append(node)
        position = _after_space(text, node.end)
    if first == "{":
        return _Node(start, position + 1, members=members)
    return _Node(start, position + 1, items=items)


def _after_space(text: str, position: int) -> int:
    return _end_of(_SPACE, text, position)


def _after(separator: str, text: str, position: int) -> int:
    if not text.startswith(separator, position):
        raise ValueError(f"no {separator}")
    return position + 1


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    if match is None:
        raise ValueError("no JSON")
    return match.end()


@dataclass(slots=True)
class _Editor:
    """Find the values of a document that must be replaced."""

    document_text: str
    matches: Matches
    hide: Callable[[str], str]
    edits: list[tuple[int, int, str]] = field(default_factory=list)
    """The replacements: start, end and new text, in the order of the text."""

    def find(self, node: _Node) -> None:
        """Append the replacements in a value."""
        if node.text is not None:
            shown = self.hide(node.text)
            if shown != node.text:
                self._edit(node, shown)
        for number, item in enumerate(node.items or ()):
            replace = self._rule_of_item(node.items or [], number)
            self.find(item) if replace is None else self._replace(item, replace)
        members = node.members or ()
        names = [value for name, value in members if (name.text or "").lower() in NAME_KEYS]
        of_value = next(filter(None, map(self._rule_of, names)), None)
        for name, value in members:
            key = name.text or ""
            self.find(name)
            replace = self.matches(key)
            if replace is None and key.lower() in VALUE_KEYS:
                replace = of_value
            self.find(value) if replace is None else self._replace(value, replace)

    def _replace(self, node: _Node, replace: Replace) -> None:
        """Replace the value of a secret name: hide all of it, or replace each text and number in it."""
        if replace is hide_whole:
            self._edit(node, HIDDEN)
            return
        for inner in (*(node.items or ()), *(value for _, value in node.members or ())):
            self._replace(inner, replace)
        if node.items is None and node.members is None:
            text = self.document_text[node.start : node.end] if node.text is None else node.text
            if text != "null" or node.text is not None:
                self._edit(node, replace(text))

    def _edit(self, node: _Node, text: str) -> None:
        self.edits.append((node.start, node.end, json.dumps(text, ensure_ascii=False)))

    def _rule_of(self, node: _Node) -> Replace | None:
        return None if node.text is None else self.matches(node.text)

    def _rule_of_item(self, items: list[_Node], number: int) -> Replace | None:
        """Return what replaces an item of an array because of the item before it: in a pair, or after an option."""
        if not number:
            return None
        before = items[number - 1]
        if len(items) == 2 and (replace := self._rule_of(before)) is not None:
            return replace
        return named_option(before.text, self.matches)
