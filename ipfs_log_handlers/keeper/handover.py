"""Handover: a candidate that has the credential a store wants takes the keeper's place (docs/home.md 27).

A token never lies in the home, so a keeper can be refused by a store that another process may use. The keeper's mark
says `denied`; a candidate with a credential for that address leaves an offer in `requests/`; the keeper, still denied,
removes the offer and gives the lock back. Who was denied as the keeper makes no offer for that store for a while, so
that processes whose credentials are all wrong take turns once and no more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import requests, shipped
from ipfs_log_handlers.home.layout import Home

__all__ = ["PAUSE", "Candidate", "accept"]

PAUSE: Final = 3.0
"""Seconds for which a keeper that handed over leaves the lock to others."""
_NOT_AGAIN: Final = 600.0
"""Seconds after a refusal in which no offer is made for that store: the credential may be renewed by then."""


class Candidate:
    """What a process that waits for the keeper's lock offers.

    Args:
        home: the home.
        token: the credential that the process has for an address, if any.
    """

    def __init__(self, home: Home, token: Callable[[str], str | None]) -> None:
        self._home = home
        self._token = token
        self._refused: dict[str, float] = {}
        self._offers: dict[str, Path] = {}

    def offer(self) -> bool:
        """Offer to take over where it would help; whether an offer stands that was not there before."""
        wanted = self._wanted()
        for store in self._offers.keys() - wanted:
            requests.drop(self._offers.pop(store))
        fresh = [store for store in wanted if store not in self._offers or not self._offers[store].exists()]
        for store in fresh:
            with contextlib.suppress(OSError):
                self._offers[store] = requests.offer(self._home.requests, store)
        return bool(fresh)

    def _wanted(self) -> set[str]:
        """The stores that refuse the keeper, by name, and that may take what we have."""
        now = time.monotonic()
        return {
            store
            for room in self._home.rooms()
            for store, mark in shipped.load_all(room.current.shipped).items()
            if mark.trouble is not None
            and mark.trouble.kind == "denied"
            and now - self._refused.get(store, -_NOT_AGAIN) >= _NOT_AGAIN
            and self._token(mark.address) is not None
        }

    def withdraw(self) -> None:
        """Take the offers back: we are the keeper, or leave."""
        while self._offers:
            requests.drop(self._offers.popitem()[1])

    def was_refused(self, stores: Iterable[str]) -> None:
        """Note that these stores, given by name, refused us too."""
        self._refused |= dict.fromkeys(stores, time.monotonic())


def accept(home: Home, pending: requests.Pending, refused: Iterable[str]) -> bool:
    """Whether somebody offers to take over for a store, given by name, that refuses this keeper; such offers go."""
    offers = pending.offers_for(frozenset(refused))
    for name in offers:
        requests.drop(home.requests / name)
    return bool(offers)
