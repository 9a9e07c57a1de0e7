"""Check the addresses of stores and pin services in settings, and the tokens for them.

The modules that know the forms of an address are imported only where an address is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, Literal

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["VARIABLES", "own_token", "pin_services", "store_addresses"]

VARIABLES: Final = {
    "home": "IPFS_LOGS_HOME",
    "kubo": "IPFS_LOGS_KUBO",
    "token": "IPFS_LOGS_TOKEN",
    "pins": "IPFS_LOGS_PINS",
    "pins_token": "IPFS_LOGS_PINS_TOKEN",
    "publish": "IPFS_LOGS_PUBLISH",
}
"""The environment variable that holds the default of a setting."""


def store_addresses(value: object, where: str) -> tuple[str, ...]:
    """Check the addresses of stores: one, a text with several, or a list."""
    from ipfs_log_handlers.stores.address import normalise

    return _normalised(normalise, value, where, "a store", "a URL, a multiaddr, 'auto', or a list of them")


def pin_services(stores: Sequence[str], value: object, where: str) -> tuple[str, ...]:
    """Check the addresses of pin services; those of the environment are only for handlers that have a store."""
    if value is None or (where == VARIABLES["pins"] and not stores):
        return ()
    from ipfs_log_handlers.stores.pin_address import normalise_pin_service

    expected = "cluster+http://HOST:9094, remote:SERVICE, or a list of them"
    services = _normalised(normalise_pin_service, value, where, "a pin service", expected)
    if services and not stores:
        raise ConfigurationError(
            "pin services without a store",
            where=where,
            found=", ".join(services),
            hint="Set kubo, too: a pin service fetches the blocks from a store that has confirmed them.",
        )
    return services


def _normalised(
    normalise: Callable[[str], str], value: object, where: str, kind: str, expected: str
) -> tuple[str, ...]:
    """Normalise one address, a text with several, or a list."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, Sequence) or not all(isinstance(address, str) and address for address in value):
        raise ConfigurationError(f"not the address of {kind}", where=where, expected=expected, found=repr(value))
    try:
        addresses = tuple(normalise(address) for address in value)
    except ConfigurationError as error:
        error.where = f"{where}: {error.where}" if error.where else where
        raise
    if len(set(addresses)) != len(addresses):
        raise ConfigurationError(f"{kind} is twice in the list", where=where, found=", ".join(addresses))
    return addresses


def own_token(of: Literal["kubo", "pins"], addresses: Sequence[str], value: object, where: str) -> str | None:
    """Check a token; the token of the environment is only for the addresses of the environment."""
    from ipfs_log_handlers.stores.address import normalise_token

    if value == "":
        raise ConfigurationError("empty", where=where, hint="Leave it out if no token is needed.")
    token = normalise_token(value, where)
    if where in VARIABLES.values():
        from ipfs_log_handlers.stores import credentials

        named = credentials.named_by_environment() if of == "kubo" else credentials.pins_named_by_environment()
        if os.environ.get(VARIABLES[of]) and not set(addresses) <= set(named):
            return None
    return token
