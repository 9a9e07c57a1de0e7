"""Decide which store gets which credential: a token belongs to the addresses that were configured together with it.

Addresses come from three places: the configuration of a program, the command line or environment of a user, and the
home itself (settings, delivery states, requests). A home may come from a stranger, so an address that comes only from
the home never gets a credential (docs/security.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.stores.address import normalise
from ipfs_log_handlers.stores.pin_address import normalise_pin_service

__all__ = [
    "KUBO_VARIABLE",
    "PINS_TOKEN_VARIABLE",
    "PINS_VARIABLE",
    "TOKEN_VARIABLE",
    "Credentials",
    "environment_addresses",
    "environment_pins",
    "named_by_environment",
    "normalised_addresses",
    "normalised_pins",
    "pins_named_by_environment",
]

KUBO_VARIABLE: Final = "IPFS_LOGS_KUBO"
"""Environment variable with the addresses of the user's stores."""
TOKEN_VARIABLE: Final = "IPFS_LOGS_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable with the credential for these stores."""
PINS_VARIABLE: Final = "IPFS_LOGS_PINS"
"""Environment variable with the addresses of the user's pin services."""
PINS_TOKEN_VARIABLE: Final = "IPFS_LOGS_PINS_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable with the credential for the clusters among them."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that a process has, by address."""

    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The token of every address that has a token."""

    @classmethod
    def named(cls, addresses: Sequence[str] = (), token: str | None = None) -> Credentials:
        """Collect the credentials of a user: the given token, else the token of the environment.

        A given token is for the given addresses, else for those of `IPFS_LOGS_KUBO`. The token of the environment is
        for the addresses of `IPFS_LOGS_KUBO`, else for the given addresses.

        Args:
            addresses: the addresses that the user gave together with the token, normalised.
            token: the credential that the user gave for them; `None`: that in `IPFS_LOGS_TOKEN`, if there is one.

        Raises:
            ConfigurationError: a token was given without an address.
        """
        if token is None:
            token = os.environ.get(TOKEN_VARIABLE)
            owners = named_by_environment() if os.environ.get(KUBO_VARIABLE) else addresses
            return cls(dict.fromkeys(owners, token)) if token else cls()
        owners = addresses or named_by_environment()
        if not owners:
            raise ConfigurationError(
                "a token was given without the address of its store",
                where="token",
                hint=f"Give the address, too (stores=, --kubo), or set {KUBO_VARIABLE}.",
            )
        return cls(dict.fromkeys(owners, token))

    def with_pins(self, addresses: Sequence[str] = (), token: str | None = None) -> Credentials:
        """Add the credential of pin services, by the rules of `named` and with the variables of pin services.

        Raises:
            ConfigurationError: a token was given without an address.
        """
        owners: Sequence[str] = addresses or pins_named_by_environment()
        if token is None:
            token = os.environ.get(PINS_TOKEN_VARIABLE)
            owners = pins_named_by_environment() if os.environ.get(PINS_VARIABLE) else addresses
        elif not owners:
            raise ConfigurationError(
                "a token was given without the address of its pin service",
                where="pins_token",
                hint=f"Give the address, too (pins=, --pin), or set {PINS_VARIABLE}.",
            )
        return Credentials({**self.tokens, **dict.fromkeys(owners, token)}) if token else self

    def with_own(self, own: Mapping[str, str | None]) -> Credentials:
        """Add the tokens of stores that this process has configured, by address; existing tokens stay."""
        return Credentials({**{address: token for address, token in own.items() if token}, **self.tokens})

    def token(self, address: str) -> str | None:
        """Return the credential for an address; `None` when there is none."""
        return self.tokens.get(address)


def environment_addresses() -> tuple[str, ...]:
    """Read the addresses in `IPFS_LOGS_KUBO`, without repeated ones.

    Raises:
        ConfigurationError: one of them is malformed.
    """
    return normalised_addresses(os.environ.get(KUBO_VARIABLE, "").replace(",", " ").split(), KUBO_VARIABLE)


def named_by_environment() -> tuple[str, ...]:
    """Read the addresses in `IPFS_LOGS_KUBO`; return none if one of them is malformed."""
    try:
        return environment_addresses()
    except ConfigurationError:
        return ()


def environment_pins() -> tuple[str, ...]:
    """Read the addresses in `IPFS_LOGS_PINS`, as `environment_addresses` does."""
    return normalised_pins(os.environ.get(PINS_VARIABLE, "").replace(",", " ").split(), PINS_VARIABLE)


def pins_named_by_environment() -> tuple[str, ...]:
    """Read the addresses in `IPFS_LOGS_PINS`; return none if one of them is malformed."""
    try:
        return environment_pins()
    except ConfigurationError:
        return ()


def normalised_pins(texts: Iterable[str], where: str) -> tuple[str, ...]:
    """Normalise addresses of pin services, as `normalised_addresses` does those of stores."""
    return _normalised(normalise_pin_service, texts, where)


def normalised_addresses(texts: Iterable[str], where: str) -> tuple[str, ...]:
    """Normalise addresses and drop repeated ones.

    Args:
        texts: the addresses.
        where: the name of the setting or variable, for the error.

    Raises:
        ConfigurationError: one of them is malformed.
    """
    return _normalised(normalise, texts, where)


def _normalised(how: Callable[[str], str], texts: Iterable[str], where: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(map(how, texts)))
    except ConfigurationError as error:
        error.where = where if error.where is None else f"{where}: {error.where}"
        raise
