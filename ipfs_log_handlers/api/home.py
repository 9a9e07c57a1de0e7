"""Work with a home: the methods that archive, seal, ship and repair, beside those that read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers import subsystems as registered_subsystems
from ipfs_log_handlers.api.home_data_keys import HomeDataKeys
from ipfs_log_handlers.api.home_keys import HomeKeys
from ipfs_log_handlers.api.home_proofs import HomeProofs
from ipfs_log_handlers.api.home_retention import HomeRetention
from ipfs_log_handlers.api.home_sharing import HomeSharing
from ipfs_log_handlers.config import Settings, encrypt_setting
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.stores.credentials import (
    environment_addresses,
    environment_pins,
    normalised_addresses,
    normalised_pins,
)

if TYPE_CHECKING:  # imported by the methods that need it: `ipfs-logs status` loads no query engine
    from ipfs_log_handlers.keeper.recheck import LostBatch, OnChecked
    from ipfs_log_handlers.keeper.run import OnKeeper, OnProgress, OnShipped, ShipResult, Stop
    from ipfs_log_handlers.maintenance.repair import Repair
    from ipfs_log_handlers.reader.archives import Version

__all__ = ["Home", "pin_addresses", "store_addresses"]

_SEAL_TIMEOUT_S: Final = 30.0
"""Seconds that sealing an archive may take. After that the archive stays durable, and the next keeper seals it."""


@dataclass(frozen=True, slots=True)
class Home(HomeKeys, HomeDataKeys, HomeProofs, HomeSharing, HomeRetention):
    """A home directory. Made by `open_home`; holds no file open.

    All methods raise `OSError` when the home cannot be read. `subsystems=None` means all subsystems of the home; a name
    that the home does not have is a `ConfigurationError`.
    """

    def archive(
        self,
        path: str | Path,
        *,
        subsystem: str = registered_subsystems.DEFAULT,
        name: str | None = None,
        version: str | None = None,
        component: str | None = None,
        metadata: dict[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Version:
        """Archive a file or a directory as a batch of its own, with the CID that `ipfs add` would give.

        The archive is durable when this method returns. It is also sealed, unless another process is the keeper. The
        home is made if needed. With `IPFS_LOGS_RECIPIENTS`, or if the records of the subsystem are encrypted, the
        archive is, too: its CID is then that of the encrypted bytes. The names of older encrypted archives are known
        only with the identity in `IPFS_LOGS_IDENTITY`; without it, the version counts all that are in the subsystem.

        Args:
            path: the file or directory.
            subsystem: the subsystem to store it in.
            name: the name that all its versions share; `None`: the last part of the path.
            version: the version; `None`: the next number.
            component: the part of a program that it comes from.
            metadata: extra metadata, JSON.
            progress: called with the number of bytes that were read since the last call.

        Raises:
            HomeError: it must be encrypted, and no key was issued for this time.
            ConfigurationError: the subsystem does not exist; the path contains an entry that is not a file, directory
                or symbolic link; the path contains the home; or this version already exists with another content.
            FormatError: a name is not UTF-8, a directory has too many names, or the metadata is too long.
            OSError: the path cannot be read, or the home cannot be written. No part of the archive is left in the home.
        """
        from ipfs_log_handlers.keeper.host import Standalone
        from ipfs_log_handlers.keeper.thread import run_keeper_now
        from ipfs_log_handlers.reader import archives
        from ipfs_log_handlers.reader.identities import keyring_of
        from ipfs_log_handlers.spool.archiver import Archiver

        path = Path(path)
        name = name or path.resolve().name
        owner = registered_subsystems.get(subsystem)
        known = []
        if self.path.is_dir():
            known = archives.versions(self._dir, [subsystem], keyring=keyring_of(None, None, self.path))
        history = [stored for stored in known if stored.name == name]
        closed = sum(stored.closed is not None for stored in known)
        described = archives.next_version(
            history, name, version=version, component=component, metadata=metadata, closed=closed
        )
        archiver = Archiver(self._dir, owner, Settings(home=self.path, encrypt=encrypt_setting(None)), lambda: None)
        made = archiver.put(
            path, described, progress, lambda root: archives.refuse_used_version(history, described, root)
        )
        run_keeper_now(self._dir, Standalone(), timeout=_SEAL_TIMEOUT_S, stores=(), wait_for_lock=False)
        versions = archives.versions(self._dir, [subsystem])
        stored = next(
            stored
            for stored in versions
            if stored.archive == str(made.name) or (stored.closed is not None and stored.root == made.root)
        )
        return replace(stored, meta={"type": owner.type, **stored.meta, **made.meta}, size=made.size, closed=None)

    # -- seal and ship

    def ship(
        self,
        stores: Sequence[str] = (),
        *,
        token: str | None = None,
        pins: Sequence[str] = (),
        pins_token: str | None = None,
        timeout: float = 30.0,
        on_shipped: OnShipped | None = None,
        on_progress: OnProgress | None = None,
        on_keeper: OnKeeper | None = None,
        stop: Stop | None = None,
    ) -> ShipResult:
        """Seal the waiting records and ship all batches; if another process is the keeper, ask that process to do it.

        Pin services are asked for each batch that a store has confirmed. What they have pinned within three seconds
        is confirmed; this method waits longer only for pin services that are named here, or that `replicas` needs.

        Args:
            stores: addresses in place of the configured ones. Empty: the configured ones, else those of
                `IPFS_LOGS_KUBO`. If there are none either, this method only seals.
            token: credential of the stores in `stores`, else of those in `IPFS_LOGS_KUBO`.
            pins: addresses of pin services in place of the configured ones; each of them must confirm each batch.
                Empty: the configured ones, else those of `IPFS_LOGS_PINS`.
            pins_token: credential of the clusters in `pins`, else of those in `IPFS_LOGS_PINS`.
            timeout: seconds without success after which this method gives up.
            on_shipped: called for each batch that a store confirmed.
            on_progress: called with the number of batches that are shipped and that are left, at most twice a second.
            on_keeper: called with `{host, pid}` of the other process that is the keeper and is asked to ship.
            stop: ends this method early, from another thread or a signal handler.

        Raises:
            ConfigurationError: an address is malformed, or the timeout is not a number of seconds.
            HomeError: the home cannot be used.
        """
        from ipfs_log_handlers.keeper.run import ship_all

        if not timeout >= 0:
            raise ConfigurationError("not a time", where="timeout", expected="seconds, 0 or more", found=timeout)
        chosen = self._addresses(stores, pins)
        return ship_all(
            self._dir,
            stores=chosen.override,
            pins=chosen.pins_override,
            timeout=timeout,
            credentials=chosen.credentials(token, pins_token),
            on_shipped=on_shipped,
            on_progress=on_progress,
            on_keeper=on_keeper,
            stop=stop,
        )

    def follow(
        self,
        stores: Sequence[str] = (),
        *,
        token: str | None = None,
        pins: Sequence[str] = (),
        pins_token: str | None = None,
        publish: bool = False,
        on_shipped: OnShipped | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Run the keeper until `stop` is set; while another process is the keeper, or the home is missing, wait.

        Args:
            stores: addresses in place of the configured ones. Empty: those that programs configure, also during this
                call; as long as no program has configured one, those of `IPFS_LOGS_KUBO`.
            token: credential of the stores that are named here, else of those in `IPFS_LOGS_KUBO`.
            publish: also publish the home after shipping, whatever the settings of its programs.
            pins: addresses of pin services in place of the configured ones. Empty: those that programs configure; as
                long as no program has configured one, those of `IPFS_LOGS_PINS`.
            pins_token: credential of the clusters that are named here, else of those in `IPFS_LOGS_PINS`.
            on_shipped: called for each batch that a store or a pin service confirmed.
            stop: ends it from another thread or a signal handler.

        Raises:
            ConfigurationError: an address is malformed.
            HomeError: the home cannot be used.
        """
        from ipfs_log_handlers.keeper import follow

        override = normalised_addresses(stores, "stores") or None
        fallback = () if override else environment_addresses()
        pins_override = normalised_pins(pins, "pins") or None
        credentials = self._addresses(stores, pins).credentials(token, pins_token)
        follow.follow(
            self._dir,
            stores=override,
            fallback_stores=fallback,
            pins=pins_override,
            fallback_pins=() if pins_override else environment_pins(),
            credentials=credentials,
            publish=publish,
            on_shipped=on_shipped,
            stop=stop,
        )

    def retry_set_aside(self, stores: Sequence[str] = ()) -> None:
        """Let the next run of `ship` send batches again that stores have set aside.

        Args:
            stores: only at these addresses.

        Raises:
            ConfigurationError: an address is malformed.
            HomeError: another process is the keeper.
        """
        from ipfs_log_handlers.keeper.run import retry_set_aside

        if self.path.is_dir():
            retry_set_aside(self._dir, normalised_addresses(stores, "stores") or None)

    def send_again(
        self,
        stores: Sequence[str] = (),
        *,
        token: str | None = None,
        pins: Sequence[str] = (),
        pins_token: str | None = None,
        on_checked: OnChecked | None = None,
    ) -> tuple[LostBatch, ...]:
        """Check every confirmed batch at the stores, and let the next run of `ship` send lost batches again.

        A lost batch that the home does not have any more is set aside, with the reason. Pin services are asked, too;
        the next run of `ship` asks them again for batches that they have lost.

        Args:
            stores: addresses to ask in place of all stores and pin services that `ship` would use.
            token: credential of the stores that are named here, else of those in `IPFS_LOGS_KUBO`.
            pins: addresses of pin services to ask in place of all of these.
            pins_token: credential of the clusters that are named here, else of those in `IPFS_LOGS_PINS`.
            on_checked: called with the address of a store, the number of checked batches, and the number of all batches
                to check.

        Returns:
            The batches that a store has confirmed and lost.

        Raises:
            ConfigurationError: an address is malformed.
            HomeError: another process is the keeper.
            StoreError: a store does not answer.
        """
        from ipfs_log_handlers.keeper import recheck

        chosen = self._addresses(stores, pins)
        credentials = chosen.credentials(token, pins_token)
        asked = (*(chosen.all if stores or not pins else ()), *(chosen.pins if pins or not stores else ()))
        return recheck.send_again(self._dir, asked, through=chosen.all, credentials=credentials, on_checked=on_checked)

    # -- repair

    def repair(self, stores: Sequence[str] = (), *, token: str | None = None) -> tuple[Repair, ...]:
        """Rebuild damaged files from the rest of the home, from the stores and from the key.

        Each file that is replaced stays in `quarantine/`.

        Args:
            stores: addresses to ask in place of those that `ship` would use.
            token: credential of the stores that are named here, else of those in `IPFS_LOGS_KUBO`.

        Raises:
            ConfigurationError: an address is malformed.
            HomeError: another process is the keeper.
        """
        from ipfs_log_handlers.maintenance.repair import repair_home

        chosen = self._addresses(stores)
        return tuple(repair_home(self._dir, chosen.all, chosen.credentials(token)))


def pin_addresses(texts: Sequence[str], where: str = "pins") -> tuple[str, ...]:
    """Normalise addresses of pin services (`cluster+http://…` or `remote:…`), and drop repeated ones.

    Args:
        texts: the addresses.
        where: the name of the option or argument, for the error.

    Raises:
        ConfigurationError: one of them is malformed.
    """
    return normalised_pins(texts, where)


def store_addresses(texts: Sequence[str], where: str = "stores") -> tuple[str, ...]:
    """Normalise addresses of stores (URL, multiaddr or `auto`) and drop repeated ones.

    Args:
        texts: the addresses.
        where: the name of the option or argument, for the error.

    Raises:
        ConfigurationError: one of them is malformed.
    """
    return normalised_addresses(texts, where)
