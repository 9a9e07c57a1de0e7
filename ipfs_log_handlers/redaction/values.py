"""Hide secret values in structures: fields, arguments of a message, members of a JSON message.

A name belongs to a value in these structures: mappings and objects with attributes, also if the names are bytes; pairs
(`[(name, value), …]`, the usual form of headers); objects with a name and its value (`{"name": …, "value": …}`);
options of a command line (`["--name", value]`). If a value contains no secret, the same object is returned.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fnmatch
import itertools
import operator
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from ipfs_log_handlers.config.redact import DETECTOR_MARK, RedactAction
from ipfs_log_handlers.format.values import (
    MAX_DEPTH,
    MAX_REPR_CHARACTERS,
    Default,
    fit,
    items_of,
    members_of,
    shorten,
    unique_key,
    unwrap,
)
from ipfs_log_handlers.redaction.detectors import AWS_NAMES, DETECTORS, Detector
from ipfs_log_handlers.redaction.text import hide_in_text
from ipfs_log_handlers.redaction.words import (
    HIDDEN,
    NAME_KEYS,
    VALUE_KEYS,
    Replace,
    hide,
    named_option,
)

__all__ = ["Rules", "Search"]

HIDE: Final[RedactAction] = "hide"
"""What is done to most values; any other is replaced by its pseudonym."""
_NAMELESS: Final = (bool, int, float, type(None), dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID)
"""Types whose values contain no name."""
_MIN_NUMBER: Final = 10**11
"""Smallest number that is given to the detectors: no shorter one is a secret without a name."""


class Rules:
    """The rules of a setting: names and detectors, each with what is done to a value.

    Args:
        rules: names, patterns (`*`, `?`, `[…]`; case does not matter) and detectors in their order; the first that fits
            a name decides.
        default: the setting `default`; its results are searched like other values.
    """

    def __init__(self, rules: Sequence[str | tuple[str, RedactAction]], default: Default | None = None) -> None:
        self.default = default
        self.detectors: list[tuple[Detector, RedactAction]] = []
        """The detectors, each with what is done to a value that it finds."""
        self._patterns: list[tuple[re.Pattern[str], RedactAction]] = []
        named: list[tuple[str, RedactAction]] = []
        for rule in rules:
            name, action = rule if isinstance(rule, tuple) else (rule, HIDE)
            if name.startswith(DETECTOR_MARK):
                self.detectors.append((DETECTORS[name.removeprefix(DETECTOR_MARK)], action))
                named += [(secret, action) for secret in AWS_NAMES if name == f"{DETECTOR_MARK}aws_key"]
            else:
                named.append((name, action))
        for action, group in itertools.groupby(named, key=operator.itemgetter(1)):
            together = "|".join(f"(?:{fnmatch.translate(name)})" for name, _ in group)
            self._patterns.append((re.compile(together, re.IGNORECASE), action))

    @property
    def has_names(self) -> bool:
        """Whether a value can be secret because of its name."""
        return bool(self._patterns)

    @property
    def makes_pseudonyms(self) -> bool:
        """Whether a value can become a pseudonym."""
        return any(action != HIDE for _, action in (*self._patterns, *self.detectors))

    def of_name(self, name: str) -> RedactAction | None:
        """Return what is done to the value of a name; `HTTP_X_TOKEN`, as in a WSGI environment, is `X-Token`."""
        for pattern, action in self._patterns:
            if pattern.match(name) is not None:
                return action
        if name[:5] not in {"HTTP_", "http_"}:
            return None
        header = name[5:]
        for pattern, action in self._patterns:
            if any(pattern.match(form) is not None for form in (header, header.replace("_", "-"))):
                return action
        return None


class Search:
    """Hide the values of secret names, and what detectors find, in values of any kind.

    Args:
        rules: the names and detectors.
        pseudonym: makes the pseudonym of a text.
        resolve: puts the pseudonyms into a text that were postponed when the text was made.
        detects: whether the detectors are used.
    """

    def __init__(
        self,
        rules: Rules,
        pseudonym: Replace = hide,
        *,
        resolve: Callable[[str], str] | None = None,
        detects: bool = True,
    ) -> None:
        self._rules = rules
        self._pseudonym = pseudonym
        self._resolve = resolve
        self._detect = self._found if detects and rules.detectors else None

    def _matches(self, name: str) -> Replace | None:
        action = self._rules.of_name(name)
        return None if action is None else self._replace(action)

    def _replace(self, action: RedactAction) -> Replace:
        return hide if action == HIDE else self._pseudonym

    def _found(self, text: str) -> str:
        """Return a text without what the detectors find in it."""
        for detector, action in self._rules.detectors:
            text = detector(text, self._replace(action))
        return text

    def hide_in_text(self, text: str) -> str:
        """Return a text with the values of secret names hidden, and what a detector finds."""
        if self._resolve is not None:
            text = self._resolve(text)
        if self._rules.has_names:
            return hide_in_text(text, self._matches, self._detect)
        return text if self._detect is None else self._detect(text)

    def hide_value(self, name: object, value: Any) -> Any:
        """Return the value of a name with its secrets hidden."""
        replace = self.rule_of(name)
        return self.hide(value) if replace is None else self.replaced(value, replace)

    def hide(self, value: Any) -> Any:
        """Return a value with its secrets hidden; return the value itself if it has none.

        A value that cannot be searched is hidden completely. A value that is too deep, or contains itself, does not
        change: the record contains only its type.
        """
        return self._hide(value, frozenset(), 0)

    def hide_in_fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return fields with their secrets hidden."""
        return dict(self._hide_members(list(fields.items()), frozenset(), 0))

    def rule_of(self, name: object) -> Replace | None:
        """Return what replaces the value of a name of any type; gunicorn writes the name of a header as `{name}i`."""
        if isinstance(name, enum.Enum):
            name = name.value
        if isinstance(name, (bytes, bytearray, memoryview)):
            name = bytes(name).decode("latin-1")
        if not isinstance(name, str):
            return None
        replace = self._matches(name)
        if replace is None and name[:1] == "{":
            replace = self._matches(name[1:].partition("}")[0])
        return replace

    def replaced(self, value: Any, replace: Replace) -> Any:
        """Return what is kept of a secret value: of a structure, each text and number in it is replaced."""
        return HIDDEN if replace is hide else _each(fit(value, self._rules.default), replace)

    def _hide(self, value: Any, above: frozenset[int], depth: int) -> Any:
        try:
            if type(value) is str:
                return self.hide_in_text(value)
            if isinstance(value, _NAMELESS) and not isinstance(value, enum.Enum):
                if self._detect is not None and type(value) is int and value >= _MIN_NUMBER:
                    digits = str(value)
                    return value if (shown := self._detect(digits)) == digits else shown
                return value
            if isinstance(value, str) and not isinstance(value, enum.Enum):
                return self.hide_in_text(value)
            if isinstance(value, (bytes, bytearray, memoryview)):
                return self._hide_in_shown(value, bytes(value).decode("utf-8", "replace"))
            if depth > MAX_DEPTH + 1 or id(value) in above:
                return value
            around = above | {id(value)}
            if (members := members_of(value)) is not None:
                hidden = self._hide_members(members, around, depth + 1)
                return value if _same(members, hidden) else dict(hidden)
            if (items := items_of(value)) is not None:
                return self._hide_items(value, items, around, depth + 1)
            if (unwrapped := unwrap(value)) is not value:
                hidden_value = self._hide(unwrapped, around, depth + 1)
                return value if hidden_value is unwrapped else hidden_value
            return self._hide_in_other(value, around, depth + 1)
        except Exception:  # noqa: BLE001 - the value's own code
            return HIDDEN

    def _hide_members(self, members: list[tuple[Any, Any]], above: frozenset[int], depth: int) -> list[tuple[Any, Any]]:
        """Return names and values with secrets hidden; an object without secrets stays the same object."""
        if not self._rules.has_names:
            return [(self._name(name), self._hide(value, above, depth)) for name, value in members]
        names = [value for name, value in members if _is_key(name, NAME_KEYS)]
        of_value = next(filter(None, map(self.rule_of, names)), None)
        hidden: list[tuple[Any, Any]] = []
        for name, value in members:
            replace = self.rule_of(name)
            if replace is None and of_value is not None and _is_key(name, VALUE_KEYS):
                replace = of_value
            if replace is not None:
                hidden.append((name, self.replaced(value, replace)))
            else:
                hidden.append((self._name(name), self._hide(value, above, depth)))
        return hidden

    def _name(self, name: object) -> object:
        """Return a name with the secrets in it hidden; the name itself if it has none."""
        text = name if type(name) is str or isinstance(name, _NAMELESS) else unique_key(name, ())
        shown = self.hide_in_text(text) if type(text) is str else text
        return shown if shown != text else name

    def _hide_items(self, value: Any, items: list[Any], above: frozenset[int], depth: int) -> Any:
        names = getattr(value, "_fields", ()) if isinstance(value, tuple) else ()
        if len(names) == len(items) > 0:
            members = list(zip(names, items, strict=True))
            hidden = [inner for _, inner in self._hide_members(members, above, depth)]
        elif (replace := self._rule_of_pair(value, items)) is not None:
            hidden = [items[0], self.replaced(items[1], replace)]
        else:
            hidden = [self._hide(inner, above, depth) for inner in items]
            for number, item in enumerate(items[:-1]):
                if (replace := named_option(item, self._matches)) is not None:
                    hidden[number + 1] = self.replaced(items[number + 1], replace)
        if all(one is other for one, other in zip(items, hidden, strict=True)):
            return value
        return tuple(hidden) if type(value) is tuple else hidden

    def _rule_of_pair(self, value: Any, items: list[Any]) -> Replace | None:
        return self.rule_of(items[0]) if len(items) == 2 and not isinstance(value, AbstractSet) else None

    def _hide_in_other(self, value: Any, above: frozenset[int], depth: int) -> Any:
        """Return a value of another type: the record contains the result of `default` for it, else its `repr`."""
        replacement = value
        if self._rules.default is not None:
            try:
                replacement = self._rules.default(value)
            except Exception:  # noqa: BLE001 - the program's own code; the record will contain the `repr`
                replacement = value
        if replacement is not value:
            hidden = self._hide(replacement, above, depth)
            return value if hidden is replacement else hidden
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001 - the value's own code; the value will not be written
            return value
        return self._hide_in_shown(value, text)

    def _hide_in_shown(self, value: Any, text: str) -> Any:
        """Return a value that is written as this text; if a secret is hidden in the text, return the text."""
        shown = self.hide_in_text(text)
        return value if shown == text else shorten(shown, MAX_REPR_CHARACTERS)


def _is_key(name: object, keys: frozenset[str]) -> bool:
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    return isinstance(name, str) and name.lower().replace("-", "_") in keys


def _same(members: list[tuple[Any, Any]], others: list[tuple[Any, Any]]) -> bool:
    return all(
        name is other_name and value is other
        for (name, value), (other_name, other) in zip(members, others, strict=True)
    )


def _each(value: Any, replace: Replace) -> Any:
    """Return a JSON value with each text and number in it replaced; names and `null` stay."""
    if isinstance(value, dict):
        return {name: _each(inner, replace) for name, inner in value.items()}
    if isinstance(value, list):
        return [_each(inner, replace) for inner in value]
    return value if value is None else replace(value if isinstance(value, str) else str(value))
