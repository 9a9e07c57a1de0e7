"""Name what the redaction of values, of documents and of other text share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["HIDDEN", "NAME_KEYS", "VALUE_KEYS", "Detect", "Matches", "Replace", "hide", "named_option"]

HIDDEN: Final = "[redacted]"
"""Text that replaces a hidden value."""
_NAMED_THINGS: Final = (
    "argument", "attribute", "column", "env", "field", "header", "option", "param", "parameter", "property", "setting",
    "variable",
)  # fmt: skip
"""Things with a name and a value, in an object such as `{"header": …, "value": …}`."""
NAME_KEYS: Final = frozenset({
    "name", "key", "k", *_NAMED_THINGS, *(f"{thing}{end}" for thing in _NAMED_THINGS for end in ("name", "_name")),
})  # fmt: skip
"""Keys, in lower case, for a name in an object: `{"name": …, "value": …}`."""
VALUE_KEYS: Final = frozenset({
    "value", "values", "val", "v", "content",
    *(f"{thing}{end}" for thing in _NAMED_THINGS for end in ("value", "_value")),
})  # fmt: skip
"""Keys, in lower case, for the value of that name."""

Replace = Callable[[str], str]
"""Function that returns what is kept in place of the text of a value: `hide`, or one that makes pseudonyms."""
Matches = Callable[[str], "Replace | None"]
"""Function that returns what replaces the value of a name; `None` if the name is not secret."""
Detect = Callable[[str], str]
"""Function that replaces the values in a text that are found without a name; the text itself if it has none."""


def hide(_: str) -> str:
    """Return the text that replaces a hidden value."""
    return HIDDEN


def named_option(text: object, matches: Matches) -> Replace | None:
    """Return what replaces the argument of a command line after an option with a secret value: `--password`."""
    return matches(text.lstrip("-")) if type(text) is str and text[:1] == "-" else None
