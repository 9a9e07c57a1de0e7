"""Compare the levels of records by name: `warning` and above."""

from __future__ import annotations

import logging
import re
from typing import Final

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["level_number", "threshold"]

_USUAL: Final = {
    "notset": 0, "trace": 5, "spam": 5, "verbose": 15, "debug": 10, "info": 20, "notice": 25, "success": 25, "warn": 30,
    "warning": 30, "error": 40, "err": 40, "exception": 40, "fatal": 50, "critical": 50, "alert": 60, "emergency": 70,
}  # fmt: skip
"""Levels of logging, structlog and the usual additions to them."""
_UNNAMED: Final = re.compile(r"level (-?\d{1,9})", re.ASCII)
"""The name that logging gives a level without a name."""


def level_number(name: object) -> int | None:
    """Return the number of a level of a record; `None` for a name that is neither in logging nor in this table."""
    if not isinstance(name, str):
        return None
    word = name.lower()
    registered = _registered().get(word, _USUAL.get(word))
    if registered is not None:
        return registered
    unnamed = _UNNAMED.fullmatch(word)
    return int(unnamed[1]) if unnamed is not None else None


def _registered() -> dict[str, int]:
    """Return the levels that logging has in this process, by their names in lower case."""
    names: dict[str, int] = vars(logging)["_nameToLevel"]  # getLevelNamesMapping, which copies it, came with 3.11
    return {name.lower(): number for name, number in names.copy().items() if isinstance(name, str)}


def threshold(level: str | int) -> int:
    """Return the number of a level that a user gives by name or number.

    Raises:
        ConfigurationError: no such level is known.
    """
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    if isinstance(level, str):
        word = level.strip()
        if word.isascii() and word.isdecimal() and len(word) < 10:
            return int(word)
        number = level_number(word)
        if number is not None:
            return number
    raise ConfigurationError(
        "no such level",
        where="level",
        expected="debug, info, warning, error, critical, or a number",
        found=ascii(level)[:80],
        hint="A level of your own needs its number, such as 25.",
    )
