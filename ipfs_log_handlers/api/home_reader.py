"""Read a home: its records, archives and health. No method in this module writes to the home."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ipfs_log_handlers.api.home_listing import HomeListing

if TYPE_CHECKING:  # imported by the methods that need it: `ipfs-logs status` loads no query engine
    from ipfs_log_handlers.maintenance.repair import Repair
    from ipfs_log_handlers.monitoring.health_check import HealthCheck
    from ipfs_log_handlers.query.dataset import Dataset
    from ipfs_log_handlers.reader.archive_content import OpenArchive
    from ipfs_log_handlers.reader.archives import Version
    from ipfs_log_handlers.reader.dataset import Gap
    from ipfs_log_handlers.reader.identities import Identities

__all__ = ["HomeReader"]


class HomeReader(HomeListing):
    """The methods of `Home` that read."""

    __slots__ = ()

    def record_at(
        self,
        cid: str,
        number: int,
        *,
        on_gap: Callable[[Gap], None] | None = None,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> tuple[str, bytes] | None:
        """Return one record of a batch, after all of the batch was verified: its subsystem and its stored JSON.

        Args:
            cid: CID of the manifest or of the payload, in any usual form.
            number: number of the record in the batch, from 0.
            on_gap: as for `dataset`.
            identity: as for `dataset`.
            key_directory: as for `dataset`.

        Returns:
            `None` if no batch has this CID, if the batch has fewer records, or after a gap.

        Raises:
            FormatError: the text is not a CID.
            VerificationError, StoreUnavailable: as for `dataset`.
        """
        found = None
        with self.dataset(on_gap=on_gap, identity=identity, key_directory=key_directory) as dataset:
            for at, record in enumerate(dataset.batch(cid) or ()):
                if at == number:
                    found = record
        return found

    def dataset(
        self,
        *,
        on_gap: Callable[[Gap], None] | None = None,
        verify: Literal["off", "batch", "chain"] = "batch",
        keys: Sequence[str] = (),
        stores: Sequence[str] = (),
        token: str | None = None,
        fetch: bool = False,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> Dataset:
        """Open the records for reading, as a context manager; each batch is verified before its records are returned.

        Args:
            on_gap: called for each batch, and each damaged part of the spool, that cannot be shown; then reading
                continues. Without it, a gap raises an error.
            verify: `chain` first verifies every log completely; see `open_dataset`.
            keys: the verifier keys to trust: one of them must have signed each batch that is read. Empty: signatures
                are checked only with `chain`, with the home's own key.
            stores: addresses that are asked for payloads which have left the home, beside those of `IPFS_LOGS_KUBO`
                and of handlers that are open in this process.
            token: credential of these stores.
            fetch: also ask stores whose address is only in the home's files. They get no credential: a home may come
                from another person.
            identity: files with identities that open encrypted batches, directly or through the key directory of the
                home; see `open_dataset`. `None`: the file in `IPFS_LOGS_IDENTITY`.
            key_directory: a key directory beside that of the home.

        Raises:
            VerificationError: while reading, without `on_gap`: a batch or a part of the spool is damaged.
            NoIdentityError: while reading, without `on_gap`: no identity opens a batch; or (`ErasedError`) nobody can.
            StoreUnavailable: while reading, without `on_gap`: no store has a payload that has left the home.
        """
        from ipfs_log_handlers.api.home import Home
        from ipfs_log_handlers.api.opening import open_dataset

        return open_dataset(
            Home(self.path), on_gap=on_gap, verify=verify, keys=keys, stores=stores, token=token, fetch=fetch,
            identity=identity, key_directory=key_directory,
        )  # fmt: skip

    def lines(
        self,
        subsystem: str,
        *,
        sealed_only: bool = False,
        on_gap: Callable[[Gap], None] | None = None,
        fetch: bool = False,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> Iterator[tuple[str | None, bytes]]:
        """Yield the JSON of all records of a subsystem in log order: first those of this home, then those of others.

        Args:
            subsystem: its name.
            sealed_only: leave out the records that are in no batch yet.
            on_gap: as for `dataset`.
            fetch: as for `dataset`.
            identity: as for `dataset`.
            key_directory: as for `dataset`.

        Yields:
            The name of the log where the home has logs of other homes, else `None`; and the JSON without `subsystem`.

        Raises:
            VerificationError, StoreUnavailable, NoIdentityError: as for `dataset`.
        """
        from ipfs_log_handlers.reader.home_parts import HomeSource

        with self.dataset(on_gap=on_gap, fetch=fetch, identity=identity, key_directory=key_directory) as dataset:
            source = dataset.sources[0]
            imported = source.imported if isinstance(source, HomeSource) else None
            shows_origin = imported is not None and imported.is_used
            if isinstance(source, HomeSource) and subsystem in source.own_subsystems():
                reading = source.reader.reading(subsystem, sealed_only=sealed_only)
                for line in reading:
                    yield (reading.cursor_log or None) if shows_origin else None, line
            for part in imported.parts(subsystem) if imported is not None and shows_origin else ():
                for line in part.lines():
                    yield part.log, line

    # -- archived files and directories

    def archives(
        self,
        name: str | None = None,
        subsystems: Sequence[str] | None = None,
        *,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> tuple[Version, ...]:
        """Return the archived files and directories, oldest first.

        Args:
            name: only the versions of this name; a CID selects the name that has a version with it.
            subsystems: only these.
            identity: as for `dataset`. An encrypted version that no identity opens has no name, and is `closed`.
            key_directory: as for `dataset`.
        """
        from ipfs_log_handlers.reader.archives import history_of, versions
        from ipfs_log_handlers.reader.identities import keyring_of

        names = None if subsystems is None else self.chosen(subsystems)
        every = versions(self._dir, names, keyring=keyring_of(identity, key_directory, self.path))
        return tuple(every if name is None else history_of(every, name))

    def archive_as_of(
        self,
        name: str,
        when: str | None = None,
        *,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> Version | None:
        """Find a version of an archived name.

        Args:
            name: the name.
            when: a version, else a CID, else a time in UTC (RFC 3339 or its beginning): the newest version at that
                time. `None`: the newest version.
            identity: as for `archives`.
            key_directory: as for `archives`.
        """
        from ipfs_log_handlers.reader.archives import as_of

        every = self.archives(identity=identity, key_directory=key_directory)
        return as_of([version for version in every if version.name == name], when)

    def archive_with_cid(
        self, cid: str, *, identity: Identities | None = None, key_directory: str | Path | None = None
    ) -> Version | None:
        """Find the newest archive whose content, encrypted bytes or manifest have a CID.

        Args:
            cid: the CID, in any usual form.
            identity: as for `archives`.
            key_directory: as for `archives`.

        Raises:
            FormatError: the text is not a CID.
        """
        from ipfs_log_handlers.format.cid import Cid
        from ipfs_log_handlers.reader.archives import find
        from ipfs_log_handlers.reader.identities import keyring_of

        return find(self._dir, Cid.from_user(cid), keyring=keyring_of(identity, key_directory, self.path))

    def open_archive(
        self,
        version: Version,
        *,
        stores: Sequence[str] = (),
        token: str | None = None,
        fetch: bool = False,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> AbstractContextManager[OpenArchive]:
        """Open an archive for reading; blocks that have left the home come from stores, as for `dataset`.

        Args:
            version: the archive.
            stores: addresses that are asked for blocks which have left the home, beside those of `IPFS_LOGS_KUBO`.
            token: credential of these stores.
            fetch: also ask stores whose address is only in the home's files; they get no credential.
            identity: as for `archives`; an encrypted archive is decrypted into a temporary file without a name.
            key_directory: as for `archives`.

        Raises:
            FileNotFoundError: the keeper has just moved its blocks: find the version again.
            StoreError: no store has a block that is not in the home.
            NoIdentityError: it is encrypted, and no identity opens it; `ErasedError`: its key was destroyed.
            VerificationError: it is damaged.
        """
        from ipfs_log_handlers.reader import archive_content
        from ipfs_log_handlers.reader.identities import keyring_of
        from ipfs_log_handlers.runtime.process import configured_stores

        return archive_content.open_archive(
            version, stores=stores, token=token, fetch=fetch, own=configured_stores(),
            keyring=keyring_of(identity, key_directory, self.path),
        )  # fmt: skip

    # -- the health of the home

    def health(
        self,
        stores: Sequence[str] = (),
        *,
        token: str | None = None,
        pins: Sequence[str] = (),
        pins_token: str | None = None,
        fetch: bool = False,
        repairs: Sequence[Repair] | None = None,
        every_batch: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[HealthCheck]:
        """Find out why records are not stored, sealed or shipped; look for damage, and ask the stores.

        Args:
            stores: addresses to ask in place of those that `ship` would use; each has 10 seconds to answer.
            token: credential of the stores that are named here, else of those in `IPFS_LOGS_KUBO`.
            pins: addresses of pin services to ask in place of those that `ship` would use.
            pins_token: credential of the pin services that are named here, else of those in `IPFS_LOGS_PINS`.
            fetch: also ask stores and pin services whose address is only in the home's files, without a credential.
            repairs: the outcomes of `repair`, for better hints; every batch is then read.
            every_batch: read every batch, not only the newest of each log and a sample of the others, and ask each
                store for every batch that it has confirmed, with all of its blocks, not only for a sample.
            progress: called with the subsystem or store, the number of checked batches, and of all batches to check.

        Raises:
            ConfigurationError: an address is malformed.
        """
        from ipfs_log_handlers.monitoring.health import check_health

        chosen = self._addresses(stores, pins)
        credentials = chosen.credentials(token, pins_token)
        return check_health(
            self._dir, chosen, credentials, repairs, fetch=fetch, every_batch=every_batch, progress=progress
        )


def _raise(error: Exception) -> None:
    raise error


def _ignore(*_: object) -> None:
    """Ignore progress, or that a store could not be asked."""
