"""Elect another keeper: a candidate with the credential that a store needs becomes the keeper (docs/home.md 27).

A token is never in the home, so a store can deny the keeper and accept another process. The keeper writes the error
`denied`; a candidate with a credential for that address leaves an offer in `requests/`. If the store still denies the
keeper, the keeper removes the offer and releases the lock. A process that was denied as the keeper makes no offer for
that store for some time, so that each process with a wrong credential becomes the keeper only once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.home import delivery_state, disk, requests
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["HANDOVER_PAUSE_S", "Candidate", "accept"]

HANDOVER_PAUSE_S: Final = 3.0
"""Seconds after an accepted offer in which the former keeper does not take the lock."""
_DENIED_PAUSE_S: Final = 600.0
"""Seconds after a denial in which no offer is made for that store; later, the credential may be renewed."""


class Candidate:
    """Make the offers of a process that waits for the keeper's lock.

    Args:
        home: the home.
        token: returns the credential of the process for an address; `None` if it has none.
    """

    def __init__(self, home: HomeDir, token: Callable[[str], str | None]) -> None:
        self._home = home
        self._token = token
        self._denied_at: dict[str, float] = {}
        self._offers: dict[str, Path] = {}

    def offer(self) -> bool:
        """Offer to become the keeper for stores that deny the current one; return whether an offer is new."""
        wanted = self._wanted()
        for store in self._offers.keys() - wanted:
            requests.drop(self._offers.pop(store))
        new = [store for store in wanted if store not in self._offers or not disk.exists(self._offers[store])]
        for store in new:
            with contextlib.suppress(OSError):
                self._offers[store] = requests.offer(self._home.requests, store)
        return bool(new)

    def _wanted(self) -> set[str]:
        """Return the names of the stores that deny the keeper and may accept this process."""
        now = clock.monotonic()
        return {
            store
            for subsystem_dir in self._home.subsystem_dirs()
            for store, state in delivery_state.load_all(subsystem_dir.current.shipped).items()
            if state.last_error is not None
            and state.last_error.kind == "denied"
            and now - self._denied_at.get(store, -_DENIED_PAUSE_S) >= _DENIED_PAUSE_S
            and self._token(state.address) is not None
        }

    def withdraw(self) -> None:
        """Remove all offers, because this process is the keeper now, or ends."""
        while self._offers:
            requests.drop(self._offers.popitem()[1])

    def note_denied(self, stores: Iterable[str]) -> None:
        """Note that stores, given by name, denied this process too."""
        self._denied_at |= dict.fromkeys(stores, clock.monotonic())


def accept(home: HomeDir, pending: requests.Pending, denied_by: Iterable[str]) -> bool:
    """Accept the offers for stores, given by name, that deny this keeper; return whether there are any."""
    offers = pending.offers_for(frozenset(denied_by))
    for name in offers:
        requests.drop(home.requests / name)
    return bool(offers)
