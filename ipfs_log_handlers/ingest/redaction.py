"""Hide secret values in every part of an event, before the event reaches the disk.

Structured values have exact names (`redaction/values.py`): fields at any depth, arguments of the message, members of
a JSON message. `redaction/text.py` finds names in text: in the message, a traceback, a stack, the text in a field,
the `repr` of an object. A secret that is in a text without its name is found if it has a form that a detector knows
(`redaction/detectors.py`); else a function of the program can hide it. A value is hidden, or replaced by its pseudonym
(`pseudonyms.py`).
"""

from __future__ import annotations

import copy
import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.config.redact import RedactRules
from ipfs_log_handlers.format.values import Default, as_text, items_of, members_of
from ipfs_log_handlers.ingest.event import LoggedEvent
from ipfs_log_handlers.ingest.event_dict import is_wrapped, with_arguments, with_event
from ipfs_log_handlers.ingest.fields import json_members, rename_clashing
from ipfs_log_handlers.redaction.values import Rules, Search
from ipfs_log_handlers.redaction.words import HIDDEN, Replace, hide

if TYPE_CHECKING:
    from ipfs_log_handlers.ingest.pseudonyms import Pseudonyms

__all__ = ["HIDDEN", "Redaction", "redaction"]

_TEXTS: Final = ("event", "exception", "stack")
"""Texts of an event that a function gets besides the fields."""

_DIRECTIVE: Final = re.compile(r"%(?P<options>[#0 +.*\d-]*)[hlL]?(?P<conversion>[diouxXeEfFgGcrsa%])")
"""The place of an argument in a message."""
_NAME_BEFORE: Final = re.compile(r"""(?P<name>[\w.-]+)["']?\s*(?:=>|[=:])\s*["']?$""")
"""A name at the end of the text in front of an argument."""
_MAX_NAME_CHARACTERS: Final = 256
"""Characters in front of an argument that are searched for a name."""

Fields = dict[str, Any]


def redaction(
    rule: Callable[[Fields], Fields] | RedactRules | None,
    default: Default | None = None,
    make_pseudonyms: Callable[[], Pseudonyms] | None = None,
) -> Redaction | None:
    """Return the object that applies a `redact` setting; `None` if it hides no value.

    Args:
        rule: the setting.
        default: the setting `default`; its results are searched like other values.
        make_pseudonyms: makes the pseudonyms of the home; called if a rule asks for them.
    """
    if rule is None:
        return None
    if callable(rule):
        return _Function(rule)
    rules = Rules(rule, default)
    pseudonyms = make_pseudonyms() if make_pseudonyms is not None and rules.makes_pseudonyms else None
    return _Rules(rules, pseudonyms)


class Redaction(ABC):
    """Apply one `redact` setting. Objects of the program are never changed."""

    def hide_in_message(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a record whose message and arguments have no secrets that could not be found later in their text."""
        return record

    @abstractmethod
    def apply(self, logged: LoggedEvent, subsystem: str = "") -> LoggedEvent:
        """Return the event with all secret values hidden.

        Args:
            logged: the event.
            subsystem: its subsystem, whose pseudonyms it gets.
        """


class _Function(Redaction):
    """Apply a function of the program: it gets the event as one dict, and the dict that it returns is recorded.

    If the function raises, or does not return a dict, the whole event is hidden.
    """

    def __init__(self, rule: Callable[[Fields], Fields]) -> None:
        self._rule = rule

    def apply(self, logged: LoggedEvent, subsystem: str = "") -> LoggedEvent:
        given = {"event": logged.event, **logged.fields}
        if logged.from_json:
            del given["event"]
        texts = {"exception": logged.exception, "stack": logged.stack}
        given |= {name: text for name, text in texts.items() if text is not None}
        try:
            kept = self._rule(given)
        except Exception as error:  # noqa: BLE001 - the program's own code
            return _all_hidden(logged, type(error).__name__)
        if not isinstance(kept, dict):
            return _all_hidden(logged, f"returned {type(kept).__name__}")
        fields = {name: value for name, value in kept.items() if name not in _TEXTS}
        event, exception, stack = (_text(kept.get(name)) for name in _TEXTS)
        if logged.from_json:
            event = logged.event if _holds(fields, logged.event) else _as_json(fields)
        event = HIDDEN if event is None else event
        return logged._replace(event=event, fields=rename_clashing(fields), exception=exception, stack=stack)


class _Rules(Redaction):
    """Apply names, patterns and detectors."""

    def __init__(self, rules: Rules, pseudonyms: Pseudonyms | None) -> None:
        self._rules = rules
        self._pseudonyms = pseudonyms
        self._search = Search(rules)
        self._search_in_message = Search(rules, hide if pseudonyms is None else pseudonyms.postpone, detects=False)

    def hide_in_message(self, record: logging.LogRecord) -> logging.LogRecord:
        if not self._rules.has_names:
            return record
        search = self._search_in_message
        message, args = record.__dict__.get("msg"), record.__dict__.get("args")
        hidden = copy.copy(record)
        if isinstance(message, dict):
            if is_wrapped(record.__dict__):
                message = with_arguments(with_event(message), self.hide_in_message)
            hidden.msg = search.hide(message)
        if type(args) is dict:
            hidden.args = search.hide(args)
        elif isinstance(args, Mapping):
            hidden.args = _HiddenMapping(args, search)
        elif isinstance(args, tuple):
            named = _named_arguments(message, search) if isinstance(message, str) else {}
            hidden.args = tuple(
                search.replaced(arg, named[number]) if number in named else _hide_in_argument(arg, search)
                for number, arg in enumerate(args)
            )
        return hidden

    def apply(self, logged: LoggedEvent, subsystem: str = "") -> LoggedEvent:
        if self._pseudonyms is None:
            return _applied(logged, self._search)
        with self._pseudonyms.of(subsystem) as pseudonyms:
            search = Search(self._rules, pseudonyms, resolve=pseudonyms.resolve)
            return _applied(logged, search)


def _applied(logged: LoggedEvent, search: Search) -> LoggedEvent:
    return logged._replace(
        event=_hide_part("event", logged.event, search) or "",
        fields=search.hide_in_fields(logged.fields),
        exception=_hide_part("exception", logged.exception, search),
        stack=_hide_part("stack", logged.stack, search),
    )


def _hide_part(name: str, text: str | None, search: Search) -> str | None:
    return text if text is None else search.hide_value(name, text)


def _named_arguments(message: str, search: Search) -> dict[int, Replace]:
    """Return the numbers of the arguments that stand after a secret name in a message, as in `password=%s`.

    Such an argument is replaced completely, whatever its text; arguments that are formatted as numbers are found in the
    text.
    """
    named: dict[int, Replace] = {}
    number = 0
    for directive in _DIRECTIVE.finditer(message):
        if directive["conversion"] == "%":
            continue
        number += directive["options"].count("*")
        before = _NAME_BEFORE.search(message, max(0, directive.start() - _MAX_NAME_CHARACTERS), directive.start())
        if directive["conversion"] in "sra" and before is not None:
            replace = search.rule_of(before["name"])
            if replace is not None:
                named[number] = replace
        number += 1
    return named


def _hide_in_argument(arg: Any, search: Search) -> Any:
    """Hide secrets in an argument whose text would not show the names of its values; hide others as text."""
    try:
        structured = members_of(arg) is not None or items_of(arg) is not None
    except Exception:  # noqa: BLE001 - the value's own code
        return arg
    return search.hide(arg) if structured else arg


class _HiddenMapping(Mapping[str, Any]):
    """Arguments of a message by name; each is hidden when it is read.

    A mapping of the program may make its values on demand, also for names that it does not list.
    """

    def __init__(self, mapping: Mapping[str, Any], search: Search) -> None:
        self._mapping = mapping
        self._search = search

    def __getitem__(self, name: str) -> Any:
        return self._search.hide_value(name, self._mapping[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __repr__(self) -> str:
        return self._search.hide_in_text(repr(self._mapping))


def _all_hidden(logged: LoggedEvent, why: str) -> LoggedEvent:
    return logged._replace(event=HIDDEN, fields={"redact_failed": why}, exception=None, stack=None)


def _holds(fields: Fields, text: str) -> bool:
    """Return whether every member of a JSON message is still among the fields, unchanged."""
    members = json_members(text)
    return members is not None and all(name in fields and fields[name] == members[name] for name in members)


def _as_json(fields: Fields) -> str:
    try:
        return json.dumps(fields, default=as_text)
    except Exception:  # noqa: BLE001 - cycles, or the values' own code; the fields are kept
        return HIDDEN


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else HIDDEN
