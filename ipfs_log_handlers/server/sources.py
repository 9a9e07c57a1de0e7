"""Say what a server shows, and how each of its threads opens it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ipfs_log_handlers.errors import StoreUnavailable

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Gap, Home, LogState, Match, Step

__all__ = ["Options", "Source", "Sources", "Steps"]

_GIVEN_UP: Final = frozenset(("pruned", "erased"))
"""Kinds of gaps that a signed act in the log explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source, for people."""

    name: str
    """What the user gave: a directory, a file, a CID or a name."""
    kind: Literal["home", "other"]
    """Whether it is a home."""

    def as_json(self) -> dict[str, Any]:
        """Return the source as JSON values."""
        return {"name": self.name, "kind": self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All that a server shows."""

    open: Callable[[Callable[[Gap], None]], Dataset]
    """Opens the sources as one dataset; takes the function that is called for gaps. Each thread has a dataset of its
    own."""
    listed: tuple[Source, ...]
    """The sources, in the order in which the user gave them."""
    homes: tuple[Home, ...] = ()
    """Those that are homes."""
    keys: tuple[str, ...] = ()
    """The verifier keys to trust; empty: the key of a home, for its own logs."""
    verify: Literal["off", "batch", "chain"] = "batch"
    """How much of a batch is verified before its records are shown."""

    def open_complete(self) -> Dataset:
        """Open the sources for answers that must be complete.

        A batch that cannot be read ends the reading with `StoreUnavailable`, unless it was given up or erased.
        """
        return self.open(_refuse)

    def log_states(self) -> tuple[LogState, ...]:
        """Return how far each log of the homes has come."""
        return tuple(state for home in self.homes for state in home.logs())

    def steps(self) -> Steps:
        """Return how far the records have come now; ask before a reading, so that no record is said to be further."""
        return Steps(self.log_states(), has_homes=bool(self.homes))

    def trusted_keys(self) -> tuple[str, ...]:
        """Return the verifier keys by which a proof is checked: those that were given, else those of the homes."""
        if self.keys:
            return self.keys
        found: list[str] = []
        for home in self.homes:
            key = home.public_key()
            found += [] if key is None else [key.verifier]
            found += [earlier.key.verifier for earlier in home.earlier_keys()]
        return tuple(dict.fromkeys(found))


def _refuse(gap: Gap) -> None:
    if gap.kind not in _GIVEN_UP:
        raise StoreUnavailable(str(gap))


class Steps:
    """How far the records of the logs have come.

    Args:
        states: the state of each log of the homes.
        has_homes: whether there is a home; without one, every record is in a batch.
    """

    def __init__(self, states: Sequence[LogState], *, has_homes: bool) -> None:
        self._states = {state.log: state for state in states}
        self._has_homes = has_homes

    def of(self, match: Match) -> Step:
        """Return how far a record has come."""
        state = self._states.get(match.log)
        if state is not None:
            return state.step(match.batch)
        return "spool" if self._has_homes and not match.log else "sealed"

    def log(self, name: str) -> LogState | None:
        """Return the state of a log of the homes."""
        return self._states.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a server listens, and to whom it answers."""

    address: str = "127.0.0.1"
    """The IP address that it binds."""
    port: int = 8600
    """The port; 0: any free one."""
    token: str | None = None
    """What a browser or program must show; `None`: nothing."""
    names: tuple[str, ...] = ()
    """Names of hosts under which a proxy is reached that passes requests on to this server."""
    sql: bool = False
    """Whether queries in SQL are answered."""

    def __repr__(self) -> str:  # the token must not get into a log
        shown = {"address": self.address, "port": self.port, "names": self.names, "sql": self.sql}
        return f"Options({shown}, token={'given' if self.token else None})"
