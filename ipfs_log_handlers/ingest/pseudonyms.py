"""Replace values by pseudonyms: an HMAC under the key of the subsystem and month, so that equal values stay equal.

A pseudonym is one word, `pseudonym_<period>_<32 hex digits>`: the first half of HMAC-SHA-256 over the value as text.
`home/pseudonym_keys.py` has the keys. Without the key nobody can tell the value; who has it can compute the pseudonym
of a value that he guesses.

The message of a record is made before its subsystem, and so its key, is known. Until then a placeholder stands for the
value; it says nothing of it, also if a format cuts it off.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from types import TracebackType
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import pseudonym_keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.redaction.words import HIDDEN

__all__ = ["OfRecord", "Pseudonyms"]

_KEPT_TEXTS: Final = frozenset({"", "None", "null", HIDDEN})
"""Texts that stand for no value, or are hidden already: they get no pseudonym."""
_MAX_POSTPONED: Final = 4096
"""Values that are kept for their placeholders; if a record is never stored, they are given up one day."""
_CHECK_AGAIN_S: Final = 1.0
"""Seconds after which the file of a key is read again: it may have been erased."""


class Pseudonyms:
    """The pseudonyms of one handler. It may be used by several threads, and in a fork.

    Args:
        home: the home; its keys are made when they are first needed.
        failed: called with what failed and the error when a key cannot be read or made; the value is hidden then.
    """

    def __init__(self, home: HomeDir, failed: Callable[[str, Exception], None]) -> None:
        self._home = home
        self._failed = failed
        self._keys: dict[str, tuple[str, bytes | None, float]] = {}
        """By subsystem: period, key (`None`: there is none any more), and when it was read."""
        self._postponed: dict[str, str] = {}
        """Values by placeholder."""
        self._beginning = f"[pseudonym#{os.urandom(8).hex()}-"
        self._placeholder = re.compile(rf"{re.escape(self._beginning)}[0-9]+\]")
        self._numbers = itertools.count()

    def postpone(self, text: str) -> str:
        """Return a placeholder for the pseudonym of a text."""
        while len(self._postponed) >= _MAX_POSTPONED:
            self._postponed.pop(next(iter(self._postponed)), None)
        placeholder = f"{self._beginning}{next(self._numbers)}]"
        self._postponed[placeholder] = text
        return placeholder

    def of(self, subsystem: str) -> OfRecord:
        """Return what makes the pseudonyms of one record of a subsystem."""
        return OfRecord(self, subsystem)

    def postponed_in(self, text: str) -> list[str]:
        """Return the placeholders in a text."""
        return self._placeholder.findall(text) if self._beginning in text else []

    def value_of(self, placeholder: str) -> str | None:
        """Return the value that a placeholder stands for; `None` if it is none, or was given up."""
        return self._postponed.get(placeholder)

    def forget(self, placeholder: str) -> None:
        """Forget the value of a placeholder."""
        self._postponed.pop(placeholder, None)

    def key_of(self, subsystem: str) -> tuple[str, bytes | None]:
        """Return the current period of a subsystem and its key; `None` if the key was erased, or cannot be had now."""
        period = pseudonym_keys.period_of(clock.wall())
        known = self._keys.get(subsystem)
        if known is not None and known[0] == period and clock.monotonic() - known[2] < _CHECK_AGAIN_S:
            return period, known[1]
        try:
            key = pseudonym_keys.load_or_make(self._home, subsystem, period)
        except (OSError, HomeError) as error:
            self._failed("the key of a pseudonym", error)
            key = known[1] if known is not None and known[0] == period else None
        self._keys[subsystem] = (period, key, clock.monotonic())
        return period, key


class OfRecord:
    """Make the pseudonyms of one record.

    Args:
        pseudonyms: those of the handler.
        subsystem: the subsystem of the record.
    """

    def __init__(self, pseudonyms: Pseudonyms, subsystem: str) -> None:
        self._pseudonyms = pseudonyms
        self._subsystem = subsystem
        self._made: set[str] = set()
        self._resolved: set[str] = set()
        self._key: tuple[str, bytes | None] | None = None

    def __enter__(self) -> OfRecord:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for placeholder in self._resolved:
            self._pseudonyms.forget(placeholder)

    def __call__(self, text: str) -> str:
        """Return the pseudonym of a value or of its placeholder; one that this record already has stays."""
        if text in self._made or text in _KEPT_TEXTS:
            return text
        postponed = self._pseudonyms.value_of(text)
        if postponed is not None:
            self._resolved.add(text)
            return self(postponed)
        if self._key is None:
            self._key = self._pseudonyms.key_of(self._subsystem)
        period, key = self._key
        if key is None:
            return HIDDEN
        made = pseudonym_keys.pseudonym(key, period, text)
        self._made.add(made)
        return made

    def resolve(self, text: str) -> str:
        """Return a text with pseudonyms in place of their placeholders."""
        for placeholder in self._pseudonyms.postponed_in(text):
            text = text.replace(placeholder, self(placeholder))
        return text
