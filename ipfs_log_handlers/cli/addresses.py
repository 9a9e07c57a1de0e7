"""Which stores a verb speaks to: those of `--kubo`, else the configured ones, else those of `IPFS_LOGS_KUBO`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.reading.logs import policy_of
from ipfs_log_handlers.stores.address import normalise

__all__ = ["NONE", "VARIABLE", "Addresses", "addresses_of", "given_addresses", "named_addresses"]

VARIABLE: Final = "IPFS_LOGS_KUBO"
NONE: Final = f"no store is configured (--kubo or {VARIABLE})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Addresses of stores, and where they come from."""

    all: tuple[str, ...]
    """Each once."""
    instead: tuple[str, ...] | None
    """What takes the place of the configured ones; `None`: nothing does."""
    variable: str | None = None
    """The variable that names them, when it is one."""


def addresses_of(home: Home, kubo: Iterable[str]) -> Addresses:
    """The stores of a home.

    Args:
        home: the home.
        kubo: what `--kubo` gives.

    Raises:
        ConfigurationError: one that counts is no address; says whether `--kubo` or the variable has it.
    """
    given = given_addresses(kubo)
    if given is not None:
        return Addresses(all=given, instead=given)
    configured = tuple(sorted({address for room in home.rooms() for address in policy_of(home, room).stores}))
    if configured:
        return Addresses(all=configured, instead=None)
    named = named_addresses()
    return Addresses(all=named, instead=named, variable=VARIABLE if named else None)


def given_addresses(kubo: Iterable[str]) -> tuple[str, ...] | None:
    """What `--kubo` gives, each once; `None` when it was not given.

    Raises:
        ConfigurationError: one of them is no address.
    """
    return _normalised(kubo, "--kubo") or None


def named_addresses() -> tuple[str, ...]:
    """What `IPFS_LOGS_KUBO` names, each once.

    Raises:
        ConfigurationError: one of them is no address.
    """
    return _normalised(os.environ.get(VARIABLE, "").replace(",", " ").split(), VARIABLE)


def _normalised(texts: Iterable[str], where: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(map(normalise, texts)))
    except ConfigurationError as error:
        error.where = where if error.where is None else f"{where}: {error.where}"
        raise
