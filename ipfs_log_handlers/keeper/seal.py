"""Seal: make the lines of one subsystem's segments, a waiting archive, or an act, the next batch of its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format import encryption
from ipfs_log_handlers.format.act import EXT_KEY, Act
from ipfs_log_handlers.format.encoding import UNIXFS, UNIXFS_AGE
from ipfs_log_handlers.format.kid import Kid, bounds
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import acts, disk, keys, pending_archives, volume
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.lock import KeeperLock
from ipfs_log_handlers.home.pending_archives import Archive
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.keeper import log_writer, preload
from ipfs_log_handlers.keeper.batch_builder import BatchBuilder, BatchLimits
from ipfs_log_handlers.keeper.chain import BatchContent
from ipfs_log_handlers.keeper.due import BatchSchedule, DueBatch
from ipfs_log_handlers.keeper.log_writer import LogWriter, list_logs
from ipfs_log_handlers.keeper.new_log import LogState, resume_or_end
from ipfs_log_handlers.keeper.seal_records import RecordSealer
from ipfs_log_handlers.spool.scan import Backlog, Spool

__all__ = ["Sealer"]


class Sealer:
    """Seal the batches of one subsystem, for as long as this process is the keeper. Made by `open`."""

    def __init__(
        self, lock: KeeperLock, subsystem_dir: SubsystemDir, state: LogState, spool: Spool, consumed: Mapping[str, int]
    ) -> None:
        self.subsystem_dir = subsystem_dir
        self.spool = spool
        self.schedule = BatchSchedule(lock.home, subsystem_dir)
        self._writer = LogWriter(lock, subsystem_dir, state, spool, consumed)
        self._records = RecordSealer(self._writer, spool, self.schedule)

    @classmethod
    def open(cls, lock: KeeperLock, subsystem_dir: SubsystemDir) -> Sealer:
        """Check the files of a subsystem, end its log if it cannot be continued, and return the sealer of its log.

        Ending a log moves its files to `former/` (`new_log.resume_or_end`). Leftovers of a killed keeper are removed.

        Args:
            lock: the home's lock, held.
            subsystem_dir: the directory of the subsystem.

        Raises:
            HomeError: the home is on a network mount, where locks cannot be trusted; or a directory in it is a link or
                belongs to another user.
            UnsettledError: the log must end, and a backup may be copied over the home just now.
            OSError: the disk refuses.
        """
        _check_mount(subsystem_dir)
        _check_owners(subsystem_dir)
        for directory in (lock.home.path, subsystem_dir.path, subsystem_dir.current.shipped):
            disk.sweep(directory)
        for log_dir in subsystem_dir.log_dirs():
            Batches(log_dir.batches).sweep()
        acts.sweep(subsystem_dir)
        key = keys.load(lock.home)
        state = resume_or_end(subsystem_dir, key.name if key else None)
        if state.sealed is not None:
            Batches(subsystem_dir.current.batches).remove_above(state.sealed.index)
            list_logs(lock.home, subsystem_dir, state.sealed.log, key)
        disk.sync_directory(lock.home.path)  # the directory entry of the subsystem, which its writer need not sync
        for directory in (subsystem_dir.spool, subsystem_dir.archived):
            with suppress(FileNotFoundError):
                disk.sync_directory(directory)  # sync removals that a dead keeper did not sync
        spool = Spool(subsystem_dir)
        consumed: dict[str, int] = dict.fromkeys(state.archived, 1)
        if state.sealed_through:
            consumed |= spool.offsets_after(state.sealed_through)
        return cls(lock, subsystem_dir, state, spool, consumed)

    @property
    def state(self) -> LogState:
        """Return the state of the log."""
        return self._writer.chain.state

    @property
    def sealed(self) -> HeadState | None:
        """Return the newest head of the current log; `None` before its first batch."""
        return self._writer.chain.sealed

    @property
    def policy(self) -> Policy:
        """Return the current policy."""
        return self.schedule.policy

    @property
    def consumed(self) -> Mapping[str, int]:
        """Return the offset in each segment up to which its lines are in batches, and 1 for each sealed archive."""
        return self._writer.offsets.current()

    def backlog(self, now: float) -> Backlog:
        """Count the waiting lines, and use the policy of new segments.

        Args:
            now: the keeper's monotonic clock, seconds.
        """
        self.schedule.read_new_headers()
        self._writer.offsets.correct()
        return self.spool.backlog(self.consumed, now)

    def seal(self, due: DueBatch, *, urgent: bool) -> Iterator[None]:
        """Seal one batch or group of records; see `RecordSealer.seal`."""
        return self._records.seal(due, urgent=urgent)

    def check_head(self) -> None:
        """Check whether another program has replaced the head file; see `LogWriter.check_head`."""
        self._writer.check_head()

    # -- an archive

    def next_archive(self) -> Archive | None:
        """Return the oldest waiting archive; damaged ones before it are moved to the quarantine."""
        archived, quarantine = self.subsystem_dir.archived, self.subsystem_dir.quarantine
        return pending_archives.oldest(archived, self.consumed, quarantine)

    def seal_archive(self, archive: Archive) -> Iterator[None]:
        """Seal an archive as a batch of its own; its CAR gets a second name, and is not read.

        Raises:
            LostLockError, OSError: as `seal`.
            ConfigurationError: it is encrypted, and the library for age is not installed.
        """
        self.schedule.adopt(archive.settings)
        ciphertext = archive.ciphertext
        if ciphertext is not None:
            preload.load_for_encryption()
        key, log, gathered = self._writer.begin()
        now = log_writer.now_us()
        if ciphertext is not None:  # the clock may have been set back since it was encrypted
            now = max(now, bounds(Kid.parse(ciphertext.kid).period)[0])
        common_meta = {"type": self.policy.type, "version": self.policy.version, **archive.meta}
        content = BatchContent(
            sealed=now,
            first=now,
            last=now,
            payload=archive.root,
            size=archive.size if ciphertext is None else ciphertext.size,
            raw=archive.size if ciphertext is None else ciphertext.raw,
            encoding=UNIXFS if ciphertext is None else UNIXFS_AGE,
            meta={**common_meta, "timestamp": rfc3339(now), "record_count": 0, "archive": str(archive.name)},
        )
        manifest = self._writer.chain.manifest(log, content)
        if ciphertext is not None:
            manifest = encryption.hide(manifest, Kid.parse(ciphertext.kid), ciphertext.recipient)
        yield
        gathered.consumed[str(archive.name)] = 1
        path = pending_archives.car_file(self.subsystem_dir.archived, archive.name)
        yield from self._writer.write(manifest, key, (), path, gathered)

    # -- an act

    def next_act(self) -> Act | None:
        """Return the oldest act that waits; damaged ones are moved to the quarantine."""
        return acts.oldest(self.subsystem_dir, self.consumed)

    def seal_act(self, act: Act) -> Iterator[None]:
        """Seal an act as a batch of its own, without records.

        Raises:
            LostLockError, OSError: as `seal`.
            FormatError: the batch with the act before it is damaged.
        """
        key, log, gathered = self._writer.begin()
        builder = BatchBuilder(log, self._writer.chain.next_index, BatchLimits(1, 1, 1))
        payload = builder.payload()
        content = builder.content(payload, self.policy, log_writer.now_us())
        meta = {**content.meta, "act": act.words}
        before = self._writer.newest_act()
        ext = {EXT_KEY: act.encode(before if before >= 0 else None)}
        yield
        gathered.consumed[acts.consumed_name(act.id)] = 1
        manifest = self._writer.chain.manifest(log, replace(content, meta=meta, ext=ext))
        yield from self._writer.write(manifest, key, payload.blocks, None, gathered)

    def delete_consumed(self) -> None:
        """Delete segments, archives and acts that are in batches, and that no process writes."""
        self.spool.retire(self.consumed)
        pending_archives.retire(self.subsystem_dir.archived, self.consumed)
        pending_archives.sweep(self.subsystem_dir.archived)
        acts.retire(self.subsystem_dir, self.consumed)


def _check_mount(subsystem_dir: SubsystemDir) -> None:
    kind = volume.network_mount(subsystem_dir.path)
    if kind is not None:
        raise HomeError(
            "signing is refused on a network mount",
            where=subsystem_dir.path,
            found=kind,
            hint="Two machines could sign two different batches with the same number. Put the home on a local disk.",
        )


def _check_owners(subsystem_dir: SubsystemDir) -> None:
    """Refuse a directory that is a link or belongs to another user, so that no foreign file is deleted."""
    log_dir = subsystem_dir.current
    for directory in (
        subsystem_dir.path,
        subsystem_dir.spool,
        subsystem_dir.archived,
        subsystem_dir.quarantine,
        subsystem_dir.former,
        log_dir.batches,
        log_dir.shipped,
    ):
        with suppress(FileNotFoundError):
            disk.check_owner(directory)
