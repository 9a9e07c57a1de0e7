"""Choose the stores and pin services of a command: the given ones, else the configured ones, else the environment's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.stores.credentials import (
    KUBO_VARIABLE,
    Credentials,
    environment_addresses,
    environment_pins,
    named_by_environment,
    normalised_addresses,
    normalised_pins,
    pins_named_by_environment,
)

__all__ = ["Addresses", "addresses_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Addresses of stores and pin services, and their sources."""

    all: tuple[str, ...]
    """Each address once."""
    override: tuple[str, ...] | None
    """The addresses that replace the configured ones; `None`: the configured ones are used."""
    variable: str | None = None
    """The environment variable with the addresses; `None` if they come from another source."""
    named: frozenset[str] = frozenset()
    """The addresses that the user named; all other addresses come only from the home, which may be a stranger's."""
    own: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    """Addresses that this process has configured, with the token of each."""
    pins: tuple[str, ...] = ()
    """Addresses of pin services, each once."""
    pins_override: tuple[str, ...] | None = None
    """Those that replace the configured ones; `None`: the configured ones are used."""

    def credentials(self, token: str | None, pins_token: str | None = None) -> Credentials:
        """Collect the credentials of the user: a token is for the stores that the user named together with it.

        Args:
            token: the given credential of the stores; `None`: that of the environment.
            pins_token: the same for the pin services.

        Raises:
            ConfigurationError: a token was given, but the address of the store comes only from the home.
        """
        try:
            named = Credentials.named(self.override or (), token)
            return named.with_pins(self.pins_override or (), pins_token).with_own(self.own)
        except ConfigurationError as error:
            addresses = self.all if error.where == "token" else self.pins
            if error.where in ("token", "pins_token") and addresses:
                error.found = f"only addresses from the home: {', '.join(addresses)}"
            raise


def addresses_of(
    home: HomeDir,
    given: Iterable[str] = (),
    *,
    where: str = "stores",
    pins: Iterable[str] = (),
    own: Mapping[str, str | None] | None = None,
) -> Addresses:
    """Choose the stores and the pin services of a home.

    Args:
        home: the home.
        given: addresses that replace the configured ones; empty: none were given.
        where: the option or argument that gave them, for the error.
        pins: addresses of pin services that replace the configured ones; empty: none were given.
        own: addresses that this process has configured, with the token of each.

    Raises:
        ConfigurationError: a chosen address is malformed; the error names its option or variable.
    """
    own = own or {}
    return _with_pins(home, normalised_pins(pins, "pins"), _stores_of(home, given, where, own))


def _with_pins(home: HomeDir, given: tuple[str, ...], stores: Addresses) -> Addresses:
    """Add the pin services, chosen by the rule of the stores."""
    if given:
        return replace(stores, pins=given, pins_override=given, named=stores.named.union(given))
    configured = {address for subsystem_dir in home.subsystem_dirs() for address in policy_of(subsystem_dir).pins}
    if configured:
        named = configured.intersection((*stores.own, *pins_named_by_environment()))
        return replace(stores, pins=tuple(sorted(configured)), named=stores.named.union(named))
    variable = environment_pins()
    return replace(stores, pins=variable, pins_override=variable or None, named=stores.named.union(variable))


def _stores_of(home: HomeDir, given: Iterable[str], where: str, own: Mapping[str, str | None]) -> Addresses:
    override = normalised_addresses(given, where) or None
    if override is not None:
        return Addresses(all=override, override=override, named=frozenset(override), own=own)
    configured = tuple(
        sorted({address for subsystem_dir in home.subsystem_dirs() for address in policy_of(subsystem_dir).stores})
    )
    if configured:
        named = frozenset(configured).intersection((*own, *named_by_environment()))
        return Addresses(all=configured, override=None, named=named, own=own)
    variable = environment_addresses()
    return Addresses(
        all=variable,
        override=variable,
        variable=KUBO_VARIABLE if variable else None,
        named=frozenset(variable),
        own=own,
    )
