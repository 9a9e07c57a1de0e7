"""Hide secret values in the stored JSON of records, for a reader that must not see them.

A handler hides values before a record reaches the disk; this module hides them when stored records are read. Most lines
have no secret. So a text of many lines is first searched for what a secret cannot be without: a part of a secret name,
or a value that a detector finds. Only the lines that have one are decoded.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from ipfs_log_handlers.config.redact import DETECTOR_MARK, RedactRules
from ipfs_log_handlers.redaction.detectors import AWS_NAMES, DETECTORS
from ipfs_log_handlers.redaction.values import Rules, Search
from ipfs_log_handlers.redaction.words import hide

__all__ = ["LineRedaction"]

_CHARACTERS: Final = re.compile(r"\[.[^\]]*\]")
"""A part of a pattern that stands for one of some characters."""
_ESCAPE: Final = re.compile(r'\\[nrtbf"/\\]')
"""A character that JSON writes as two."""
_ENCODED: Final = (b"\\u", b"%")
"""What begins an encoded character, which can be a part of a secret name."""


class LineRedaction:
    """Hide the values of secret names, and what detectors find, in lines of JSON.

    Args:
        rules: names, patterns and detectors, as the setting `redact` has them. What a handler replaces by a pseudonym
            is hidden: only the home has the keys of pseudonyms.
    """

    def __init__(self, rules: RedactRules) -> None:
        names = [rule if isinstance(rule, str) else rule[0] for rule in rules]
        patterns = [name for name in names if not name.startswith(DETECTOR_MARK)]
        if f"{DETECTOR_MARK}aws_key" in names:
            patterns += AWS_NAMES
        self._rules = Rules(rules)
        self._search = Search(self._rules)
        self._detectors = [
            DETECTORS[name.removeprefix(DETECTOR_MARK)] for name in names if name.startswith(DETECTOR_MARK)
        ]
        parts = [_longest_part(pattern) for pattern in patterns]
        self._parts = None if None in parts else [part for part in parts if part is not None]
        """A part of each secret name; `None`: a name may have any form."""

    def hides_name(self, name: str) -> bool:
        """Say whether the values of a field are hidden because of its name, or the name of an object around it."""
        return any(self._rules.of_name(part) is not None for part in (name, *name.split(".")))

    def in_value(self, value: Any) -> Any:
        """Return a JSON value with its secrets hidden; the value itself if it has none."""
        return self._search.hide(value)

    def in_record(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the members of a record with their secrets hidden."""
        return self._search.hide_in_fields(record)

    def in_text(self, text: bytes) -> bytes:
        """Return lines, each ended by LF, with their secrets hidden; the text itself if they have none."""
        if not self._may_have_secret(text):
            return text
        lines = text.split(b"\n")
        hidden = [self.in_line(line) for line in lines]
        return text if all(map(bytes.__eq__, lines, hidden)) else b"\n".join(hidden)

    def in_line(self, line: bytes) -> bytes:
        """Return the JSON of one record with its secrets hidden; the line itself if it has none."""
        if not self._may_have_secret(line):
            return line
        text = line.decode("utf-8", "surrogateescape")
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            hidden = self._search.hide_in_text(text)  # it is shown as text
            return line if hidden == text else hidden.encode("utf-8", "backslashreplace")
        shown = self._search.hide_in_fields(record) if isinstance(record, dict) else self._search.hide(record)
        if shown == record:
            return line
        return json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")

    def _may_have_secret(self, text: bytes) -> bool:
        if self._parts is None or (self._parts and any(mark in text for mark in _ENCODED)):
            return True
        lowered = text.lower().replace(b"-", b"_")
        if any(part.is_in(lowered) for part in self._parts):
            return True
        if not self._detectors:
            return False
        shown = _ESCAPE.sub(" ", text.decode("utf-8", "replace"))
        return any(detector(shown, hide) != shown for detector in self._detectors)


class _Part(NamedTuple):
    """A part of a secret name, in lower case with `_` for `-`."""

    word: bytes
    """Its longest piece without a wildcard, which is quick to find."""
    whole: re.Pattern[bytes] | None
    """All of the part, if it has wildcards for single characters."""

    def is_in(self, text: bytes) -> bool:
        """Say whether a text in this form has the part."""
        return self.word in text and (self.whole is None or self.whole.search(text) is not None)


def _longest_part(pattern: str) -> _Part | None:
    """Return the longest part of a pattern between two `*`; `None` if none is sure to be in a text."""
    plain = _CHARACTERS.sub("?", pattern).lower().replace("-", "_")
    part = max(plain.split("*"), key=len)
    words = part.split("?")
    word = max(words, key=len)
    if len(word) < 2 or not word.isascii():
        return None
    whole = b".{1,4}".join(re.escape(piece.encode()) for piece in words)  # a character has up to four bytes
    return _Part(word.encode(), re.compile(whole, re.DOTALL) if len(words) > 1 else None)
