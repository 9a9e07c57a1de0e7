"""Choose the stores that each subsystem of a home ships to, or the pin services that it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.keeper.seal import Sealer

__all__ = ["StoreChoice"]


class StoreChoice:
    """Choose the stores that a keeper ships to: the configured or given ones, and those in requests.

    The pin services are chosen in the same way.

    Args:
        home: the home.
        sealers: the keeper's sealers by subsystem; a subsystem without a sealer has no stores yet.
        given: addresses to ship to in place of the configured ones; `()`: the keeper seals only.
        fallback: addresses to ship to as long as no subsystem has a configured store.
        configured: returns the addresses in a policy.
    """

    def __init__(
        self,
        home: HomeDir,
        sealers: Mapping[str, Sealer],
        given: tuple[str, ...] | None,
        fallback: tuple[str, ...],
        configured: Callable[[Policy], tuple[str, ...]] = lambda policy: policy.stores,
    ) -> None:
        self._home = home
        self._sealers = sealers
        self._given = given
        self._fallback = fallback
        self._configured = configured
        self.requested: tuple[str, ...] = ()
        """Addresses of further stores in the requests of other processes."""

    def addresses(self, subsystem_dir: SubsystemDir) -> tuple[str, ...]:
        """Return the addresses of the stores of one subsystem."""
        own = self._own(subsystem_dir)
        return own if self._given == () else tuple(dict.fromkeys((*own, *self.requested)))

    def all_addresses(self) -> list[str]:
        """Return the addresses of the stores of all subsystems, each once."""
        dirs = self._home.subsystem_dirs()
        return list(dict.fromkeys(address for subsystem_dir in dirs for address in self.addresses(subsystem_dir)))

    def own_addresses(self) -> list[str]:
        """Return the addresses of all subsystems that are configured or given, each once; not those of requests."""
        dirs = self._home.subsystem_dirs()
        return list(dict.fromkeys(address for subsystem_dir in dirs for address in self._own(subsystem_dir)))

    def foreign(self) -> frozenset[str]:
        """Return the addresses that come only from a request: they are not configured, and get no credential."""
        own = {address for subsystem_dir in self._home.subsystem_dirs() for address in self._own(subsystem_dir)}
        return frozenset(self.requested) - own

    def subsystem_dirs_of(self, address: str) -> list[SubsystemDir]:
        """Return the directories of the subsystems that ship to a store."""
        dirs = self._home.subsystem_dirs()
        return [subsystem_dir for subsystem_dir in dirs if address in self.addresses(subsystem_dir)]

    def _own(self, subsystem_dir: SubsystemDir) -> tuple[str, ...]:
        if self._given is not None:
            return self._given
        sealer = self._sealers.get(subsystem_dir.name)
        if sealer is None:
            return ()
        any_configured = any(self._configured(other.policy) for other in self._sealers.values())
        return self._configured(sealer.policy) if any_configured else self._fallback
