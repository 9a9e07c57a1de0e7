"""The labels of one line: those of its stream, its structured metadata, and those that a step has found.

The names of the three are Loki's. A label that is found replaces one of the same name in the structured metadata; the
name of one that the stream has, too, gets the ending `_extracted`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

__all__ = ["ERROR", "ERROR_DETAILS", "Labels", "label_name", "name_characters"]

ERROR: Final = "__error__"
"""The label that says that a step could not read a line."""
ERROR_DETAILS: Final = "__error_details__"
_SPECIAL: Final = re.compile(r"[^A-Za-z0-9_]")


def label_name(text: str) -> str:
    """Return a text as the name of a label: only ASCII letters, digits and `_`, and no digit at its beginning."""
    name = name_characters(text.strip())
    return f"_{name}" if name[:1].isdigit() else name


def name_characters(text: str) -> str:
    """Return a text with `_` in place of each character that the name of a label may not have."""
    return _SPECIAL.sub("_", text)


class Labels:
    """The labels of one line, while it goes through the steps.

    Args:
        stream: the labels of its stream.
        metadata: its structured metadata.
    """

    __slots__ = ("_base", "error", "error_details", "found", "metadata", "stream")

    def __init__(self, stream: Mapping[str, str], metadata: Mapping[str, str]) -> None:
        self._base = stream
        self.stream = stream
        """What is left of the labels of the stream."""
        self.metadata = metadata
        """What is left of the structured metadata."""
        self.found: dict[str, str] = {}
        """The labels that steps have found."""
        self.error = self.error_details = ""

    def get(self, name: str) -> str | None:
        """Return the value of a label; `None` if there is none."""
        if name == ERROR:
            return self.error or None
        if name == ERROR_DETAILS:
            return self.error_details or None
        value = self.found.get(name)
        if value is None:
            value = self.metadata.get(name)
        return self.stream.get(name) if value is None else value

    def extract(self, name: str, value: str) -> None:
        """Add a label that a parser has found; of two with the same name, the first one stays."""
        if not name:
            return
        if name in self._base:
            name = f"{name}_extracted"
        if name not in self.found:
            self.found[name] = value
            if name in self.metadata:
                self.metadata = {key: kept for key, kept in self.metadata.items() if key != name}

    def fail(self, error: str, details: str) -> None:
        """Say that a step could not read the line."""
        self.error, self.error_details = error, details

    def keep_only(self, keeps: Callable[[str, str], bool]) -> None:
        """Keep the labels for which a function of name and value says so."""
        self.stream = {name: value for name, value in self.stream.items() if keeps(name, value)}
        self.metadata = {name: value for name, value in self.metadata.items() if keeps(name, value)}
        self.found = {name: value for name, value in self.found.items() if keeps(name, value)}
        if self.error and not keeps(ERROR, self.error):
            self.error = ""
        if self.error_details and not keeps(ERROR_DETAILS, self.error_details):
            self.error_details = ""

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield the labels that have a value."""
        for name, value in {**self.stream, **self.metadata, **self.found}.items():
            if value:
                yield name, value
        if self.error:
            yield ERROR, self.error
        if self.error_details:
            yield ERROR_DETAILS, self.error_details
