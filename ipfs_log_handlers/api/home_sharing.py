"""Share the logs of a home: publish them, give one CID or one file for a log, take in files of other homes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_log_handlers.api.home_reader import HomeReader
from ipfs_log_handlers.concurrency import clock

if TYPE_CHECKING:  # imported by the methods that need it
    from ipfs_log_handlers.keeper.publish_now import HomeHeadFile, Published
    from ipfs_log_handlers.keeper.run import Stop
    from ipfs_log_handlers.query.times import Moment
    from ipfs_log_handlers.sharing.car_export import CarExport
    from ipfs_log_handlers.sharing.car_import import ImportedLog
    from ipfs_log_handlers.sharing.mirror import MirroredLog
    from ipfs_log_handlers.sharing.sealed_log import OnRead
    from ipfs_log_handlers.sharing.snapshot import LogSnapshot
    from ipfs_log_handlers.sharing.tile_export import TileExport

__all__ = ["HomeSharing"]


class HomeSharing(HomeReader):
    """The methods of `Home` that let others read its logs."""

    __slots__ = ()

    def publish(self, stores: Sequence[str] = (), *, token: str | None = None, timeout: float = 30.0) -> Published:
        """Publish the home once, now: pin its home head, hand out the record of its name, and resolve the name.

        The home head links the newest shipped head of each log. If another process is the keeper, that process is asked
        to do it. Nothing is shipped by this method, and the record ends after 48 hours: the setting `publish` of a
        handler, or `follow` with `publish`, renews it.

        Args:
            stores: addresses in place of the configured ones. Empty: the configured ones, else those of
                `IPFS_LOGS_KUBO`.
            token: credential of the stores in `stores`, else of those in `IPFS_LOGS_KUBO`.
            timeout: seconds after which this method gives up; each store is tried at least once.

        Returns:
            What a store has given back for the name.

        Raises:
            ConfigurationError: nothing is shipped, there is no store, or an address is malformed.
            StoreError: no store has given the home head back for the name.
            HomeError: a key of the home cannot be used.
        """
        from ipfs_log_handlers.keeper.publish_now import publish_now

        chosen = self._addresses(stores)
        return publish_now(self._dir, chosen.all, chosen.credentials(token), timeout=timeout)

    def write_home_head(self, path: str | Path, stores: Sequence[str] = (), *, timeout: float = 30.0) -> HomeHeadFile:
        """Write the home head of what is shipped now to a file, for readers who have no IPNS; no store is asked.

        The file is replaced in one step: a reader follows it, as others follow the name.

        Args:
            path: the file.
            stores: addresses in place of the configured ones, as for `publish`.
            timeout: seconds that another process gets which is the keeper.

        Raises:
            ConfigurationError: nothing is shipped, there is no store, or an address is malformed.
            StoreUnavailable: another process is the keeper, and has not made the home head in time.
            HomeError: the key of the home cannot be used.
            OSError: the file cannot be written.
        """
        from ipfs_log_handlers.keeper.publish_now import make_head_file
        from ipfs_log_handlers.query.export import replacing

        made = make_head_file(self._dir, self._addresses(stores).all, timeout=timeout)
        with replacing(Path(path)) as stream:
            stream.write(made.content)
        return made

    def snapshot(
        self,
        subsystems: Sequence[str] | None = None,
        *,
        stores: Sequence[str] = (),
        token: str | None = None,
        progress: OnRead | None = None,
    ) -> Iterator[LogSnapshot]:
        """Make a snapshot of each log: one CID that links all of its batches, for `ipfs pin add` on another node.

        The same log up to the same batch always has the same CID. Records that are not sealed yet are not in it. Each
        store that has all batches of the log pins the snapshot, too, and confirms it; without a store, only the CID is
        computed. A kill at any moment leaves the home as it was, or with the new snapshot remembered.

        Args:
            subsystems: only these.
            stores: addresses of stores in place of the configured ones; empty: those, else those of `IPFS_LOGS_KUBO`.
            token: credential of these stores.
            progress: called with the subsystem, the number of batches that were read, and the number of all batches.

        Yields:
            A `LogSnapshot` for each log, when the stores have answered; a store that did not pin it is in `problems`.

        Raises:
            ConfigurationError: an address is malformed.
            FormatError, FileNotFoundError: a manifest is damaged or missing.
            VerificationError: the manifests are not those that the head has signed.
        """
        from ipfs_log_handlers.sharing.snapshot import make_snapshots

        chosen = self._addresses(stores)
        return make_snapshots(
            self._dir,
            self._chosen(subsystems),
            stores=chosen.all,
            credentials=chosen.credentials(token),
            on_read=progress,
        )

    def export_car(
        self,
        file: str | Path,
        subsystems: Sequence[str] | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        timezone: dt.tzinfo | None = None,
        stores: Sequence[str] = (),
        token: str | None = None,
        fetch: bool = False,
        progress: OnRead | None = None,
    ) -> CarExport:
        """Write logs to one CAR file, which `ipfs dag import` and `open_dataset` take. Only sealed batches are written.

        The file gets its name when it is complete and on the disk: a kill at any moment leaves the older file, or none.

        Args:
            file: the file; an older one is replaced.
            subsystems: only these.
            since: leave out all batches of a log before the first one that has a record of this time or later.
            until: leave out all batches of a log after the last one that has a record before this time.
            timezone: the timezone of times without one; `None`: that of this machine.
            stores: addresses that are asked for payloads which have left the home, beside those of `IPFS_LOGS_KUBO`.
            token: credential of these stores.
            fetch: also ask stores whose address is only in the home's files; they get no credential.
            progress: called with the subsystem, the number of batches that were written, and the number of all batches.

        Raises:
            ConfigurationError: a time or an address is malformed.
            FormatError, VerificationError: a batch is damaged, or more than 20,000 do not begin with the first one.
            StoreError: no store has a payload that has left the home.
        """
        from ipfs_log_handlers.query.times import moment_of
        from ipfs_log_handlers.reader.fetch import Fetcher
        from ipfs_log_handlers.runtime.process import configured_stores
        from ipfs_log_handlers.sharing.car_export import export_car

        now = clock.wall()
        fetcher = Fetcher(stores, token=token, fetch=fetch, own=configured_stores())
        try:
            return export_car(
                self._dir,
                self._chosen(subsystems),
                Path(file),
                fetcher=fetcher,
                since=None if since is None else moment_of(since, now=now, timezone=timezone),
                until=None if until is None else moment_of(until, now=now, timezone=timezone),
                on_written=progress,
            )
        finally:
            fetcher.close()

    def import_car(
        self, file: str | Path, *, keys: Sequence[str] = (), progress: Callable[[int], None] | None = None
    ) -> tuple[ImportedLog, ...]:
        """Copy a CAR file with logs of other homes into this one, verified; return these logs. A missing home is made.

        Every block is hashed, the chain of each log is compared with its signed head, and the records with their
        manifests, before the file gets its name in `imported-logs/`, where it never changes: a kill at any moment
        leaves nothing that a reader sees. The methods that read the home show these logs, with their origin.

        Args:
            file: the file: of `export_car`, or of `ipfs dag export` of a snapshot.
            keys: verifier keys to trust, now and in later imports. The home's own key is always trusted.
            progress: called with the bytes of each block that was copied.

        Raises:
            FormatError, VerificationError: the file was changed, is not such a file, or has another history of a log.
            ConfigurationError: no key is known for a log, or this home has written the log itself.
            HomeError: the home cannot be used, or another process imports into it.
        """
        from ipfs_log_handlers.format.checkpoint import VerifierKey
        from ipfs_log_handlers.sharing.car_import import import_car

        return import_car(self._dir, Path(file), given=[VerifierKey.parse(text) for text in keys], on_bytes=progress)

    def mirror(
        self,
        sources: Sequence[str | Path],
        *,
        keys: Sequence[str] = (),
        kubo: str | None = None,
        gateway: str | None = None,
        token: str | None = None,
        fetch: bool = False,
        pin: Sequence[str] = (),
        stop: Stop | None = None,
        progress: OnRead | None = None,
    ) -> Iterator[MirroredLog]:
        """Copy the logs of other homes into this one, verified, and keep up with the names that lead to them.

        A trusted key must have signed the head of a log, and the head must continue the one that was accepted last.
        Each batch is verified on the disk before it counts: a kill at any moment leaves whole batches that a signed
        head proves, and the next call goes on after them. A copy never changes and never shrinks. A missing home is
        made.

        Args:
            sources: names `/ipns/…`, files of home heads, CIDs, CAR files or directories of them, other homes.
            keys: verifier keys to trust, now and in later calls. The home's own key is always trusted.
            kubo: address of the daemon that is asked for the blocks of a CID or name; it gives only what it has.
            gateway: address of the HTTP gateway that is asked for them.
            token: credential of the daemon of `kubo`, and of those of `pin`.
            fetch: of another home, also ask stores whose address is only in its files for payloads that have left it.
            pin: addresses of daemons that pin what was copied: each batch, the newest head of each log, and the home
                head, so that they give it to others when the first home is lost.
            stop: look at names and homes again every second until this is requested, and yield what has changed;
                `None`: look once.
            progress: called with the subsystem, the number of batches that were copied, and the number of new ones.

        Yields:
            A `MirroredLog` for each log, when it is copied; its `result` says what is wrong, and then nothing of the
            log has changed here but batches that are whole.

        Raises:
            ConfigurationError: no key is known, a source is malformed, or this home has written a log itself.
            HomeError: the home cannot be used, or another process mirrors the same log.
            OSError: the disk refuses.
        """
        from functools import partial

        from ipfs_log_handlers.format.checkpoint import VerifierKey
        from ipfs_log_handlers.sharing.mirror import mirror
        from ipfs_log_handlers.sharing.mirror_pins import MirrorPins
        from ipfs_log_handlers.sharing.mirror_sources import open_mirror_source
        from ipfs_log_handlers.stores.credentials import Credentials, normalised_addresses

        opening = [
            partial(open_mirror_source, source, kubo=kubo, gateway=gateway, token=token, fetch=fetch)
            for source in sources
        ]
        given = [VerifierKey.parse(text) for text in keys]
        pinned = normalised_addresses(pin, "pin")
        pinner = MirrorPins(pinned, Credentials.named(pinned, token)) if pinned else None
        return mirror(self._dir, opening, given=given, stop=stop, on_batch=progress, pinner=pinner)

    def export_tiles(
        self, directory: str | Path, subsystems: Sequence[str] | None = None, *, progress: OnRead | None = None
    ) -> Iterator[TileExport]:
        """Write each log as C2SP tlog-tiles below a directory, in one with the name of the log.

        Files that are there stay; the checkpoint is written last, so that a kill at any moment leaves a whole log.

        Args:
            directory: the directory; made if it is missing.
            subsystems: only these.
            progress: called with the subsystem, the number of batches that were read, and the number of all batches.

        Yields:
            A `TileExport` for each log, when it is written.

        Raises:
            FormatError, VerificationError: a log is damaged, or the directory has another history or more of it.
        """
        from ipfs_log_handlers.sharing.tile_export import export_tiles

        return export_tiles(self._dir, self._chosen(subsystems), Path(directory), progress)
