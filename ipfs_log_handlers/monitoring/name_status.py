"""Tell what a home has published under its name, from the home alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ipfs_log_handlers.errors import FormatError, LogStoreError
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import name_key, name_state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.name_state import NameState
from ipfs_log_handlers.home.os_errors import explain_any

__all__ = ["NameStatus", "name_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NameStatus:
    """The name of a home, and what is published under it."""

    name: str | None
    """The IPNS name, `k51…`; `None` before the first publication."""
    cid: str | None
    """CID of the published home head: a resolve has given it back; `None` before that."""
    age: float | None
    """Seconds since then; `None` before the first publication."""
    until: str | None
    """End of the record of the published home head, RFC 3339."""
    last_error: str | None
    """Why the newest home head is not published; `None` if it is."""
    next_retry: str | None
    """When it is tried again, RFC 3339; `None` without an error."""
    through: Mapping[str, int] = field(default_factory=dict)
    """By log: number of the newest batch that is published."""

    def as_json(self) -> dict[str, Any]:
        """Return it as `ipfs-logs status` prints it under `name`."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "through"}


def name_status(home: HomeDir) -> NameStatus | None:
    """Read what a home has published; `None` if it never tried to.

    Raises:
        OSError: the home cannot be read.
    """
    try:
        state = name_state.load(home)
    except FormatError as error:
        return _troubled(str(error))
    if state == NameState():
        return None
    problem, retry = _problem(home, state)
    confirmed = state.confirmed
    if confirmed is None:
        return NameStatus(name=state.name or None, cid=None, age=None, until=None, last_error=problem, next_retry=retry)
    return NameStatus(
        name=state.name or None,
        cid=confirmed.cid,
        age=max(0.0, round(time.time() - confirmed.at, 3)),
        until=rfc3339(confirmed.until),
        last_error=problem,
        next_retry=retry,
        through=confirmed.through,
    )


def _problem(home: HomeDir, state: NameState) -> tuple[str | None, str | None]:
    """Return why the newest home head is not published, and when it is tried again."""
    error = state.last_error
    if error is not None:
        return error.message, rfc3339(int(error.next_retry * 1e6)) if error.next_retry > error.at else None
    if state.name:
        try:
            key = name_key.load(home)
        except LogStoreError as problem:
            return explain_any(problem), None
        if key is None or key.name != state.name:
            return "name.key is missing, or is another key: the next publication is under another name", None
    confirmed = state.confirmed
    if confirmed is not None and confirmed.until / 1e6 < time.time():
        return f"the record of the name ended at {rfc3339(confirmed.until)}: nobody has renewed it", None
    return None, None


def _troubled(problem: str) -> NameStatus:
    return NameStatus(name=None, cid=None, age=None, until=None, last_error=problem, next_retry=None)
