"""Seal: make the lines of one subsystem's segments, a waiting archive, or an act, the next batch of its log.

No record is lost, because the steps have this order (docs/home.md 7):

1. Make the manifest and sign the checkpoint. No signature leaves the process before step 3 is done.
2. Write and sync the CAR. After a crash here no reader sees it, and the lines are sealed again.
3. Replace and sync the head file: the batch is sealed. The head file names the offset up to which each segment is in
   batches, and the archives that are. So the next keeper seals nothing twice after a crash here.
4. Delete the segments and archives.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format import encryption
from ipfs_log_handlers.format.act import EXT_KEY, Act
from ipfs_log_handlers.format.checkpoint import SecretKey, key_name_of, log_name
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.encoding import UNIXFS, UNIXFS_AGE
from ipfs_log_handlers.format.kid import Kid, bounds
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import (
    acts,
    data_keys,
    disk,
    head,
    keys,
    log_list,
    pending_archives,
    reserve,
    segments,
    volume,
)
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.data_keys import DataKey
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.lock import KeeperLock, LostLockError
from ipfs_log_handlers.home.logs import LogDir, logs_of
from ipfs_log_handlers.home.pending_archives import Archive
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.keeper import preload
from ipfs_log_handlers.keeper.batch_builder import BatchBuilder, BatchLimits, Payload
from ipfs_log_handlers.keeper.chain import BatchContent, Chain, Link
from ipfs_log_handlers.keeper.consumed import ConsumedOffsets
from ipfs_log_handlers.keeper.disk_limits import DiskLimits
from ipfs_log_handlers.keeper.due import BatchSchedule, DueBatch
from ipfs_log_handlers.keeper.gather import Gathered, gather
from ipfs_log_handlers.keeper.lines_by_scope import LinesByScope
from ipfs_log_handlers.keeper.new_log import (
    LogState,
    UnsettledError,
    changed_batches,
    has_settled,
    note_sealed,
    resume_or_end,
)
from ipfs_log_handlers.spool.scan import Backlog, Spool
from ipfs_log_handlers.stats.summary import shrink_to_block

__all__ = ["Sealer"]

_T = TypeVar("_T")

_BACKGROUND_READ_BYTES: Final = 12 << 10
"""Bytes of lines in one step while the program runs: a step holds the GIL for about a millisecond."""
_URGENT_READ_BYTES: Final = 48 << 10
"""Bytes of lines in one step while a flush request waits: fewer, longer steps take less time in all."""


class Sealer:
    """Seal the batches of one subsystem, for as long as this process is the keeper. Made by `open`."""

    def __init__(
        self, lock: KeeperLock, subsystem_dir: SubsystemDir, state: LogState, spool: Spool, consumed: Mapping[str, int]
    ) -> None:
        self.subsystem_dir = subsystem_dir
        self.spool = spool
        self.schedule = BatchSchedule(lock.home, subsystem_dir)
        self._lock = lock
        self._batches = Batches(subsystem_dir.current.batches)
        self._chain = Chain(self._batches, state)
        self._offsets = ConsumedOffsets(subsystem_dir, spool, self._chain, consumed)
        self._disk_limits = DiskLimits(lock.home.reserve)
        self._head_stamp = head.stamp(subsystem_dir.current.head)
        self._has_leftovers = False
        """Whether batches of a group were written, and no head file names them."""

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
            _list_logs(lock.home, subsystem_dir, state.sealed.log, key)
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
        return self._chain.state

    @property
    def sealed(self) -> HeadState | None:
        """Return the newest head of the current log; `None` before its first batch."""
        return self._chain.sealed

    @property
    def policy(self) -> Policy:
        """Return the current policy."""
        return self.schedule.policy

    @property
    def consumed(self) -> Mapping[str, int]:
        """Return the offset in each segment up to which its lines are in batches, and 1 for each sealed archive."""
        return self._offsets.current()

    def backlog(self, now: float) -> Backlog:
        """Count the waiting lines, and use the policy of new segments.

        Args:
            now: the keeper's monotonic clock, seconds.
        """
        self.schedule.read_new_headers()
        self._offsets.correct()
        return self.spool.backlog(self.consumed, now)

    # -- records

    def seal(self, due: DueBatch, *, urgent: bool) -> Iterator[None]:
        """Seal one batch, and yield after each short step.

        Args:
            due: the batch.
            urgent: a flush request waits for the batch: longer steps.

        Raises:
            LostLockError: another process has become the keeper; no batch was sealed.
            OSError: the disk refuses; no batch was sealed, and no state has changed.
        """
        limits = self._disk_limits.fit(due.limits, urgent=urgent)
        try:
            yield from self._seal_within(limits, due.min_records, urgent=urgent)
        except OSError as error:
            if error.errno in disk.NO_ROOM:
                self._disk_limits.halve(limits)
            raise
        self._disk_limits.reset()

    def _seal_within(self, limits: BatchLimits, min_records: int, *, urgent: bool) -> Iterator[None]:
        scope = self._scope()
        if scope is not None:
            yield from self._seal_by_scope(scope, limits, min_records, urgent=urgent)
            return
        if self._data_key(_now()) is not None:  # without a key nothing is gathered: the lines wait
            limits = replace(limits, stored_bytes=max(1, limits.stored_bytes - encryption.MAX_GROWTH))
        key, log, gathered = self._begin()
        builder = BatchBuilder(log, self._chain.next_index, limits, self.policy.rules)
        yield from gather(self.spool, builder, gathered, _URGENT_READ_BYTES if urgent else _BACKGROUND_READ_BYTES)
        too_few = builder.records < min_records and builder.raw < limits.raw_bytes and not builder.full
        if too_few or not (builder.records or builder.dropped or gathered.damaged):
            self.spool.correct_counts(gathered.lines)
            return
        yield from builder.hash_records()
        self.schedule.read_new_headers()  # a segment that was begun since then may want its lines to be encrypted
        if self._scope() is not None:
            return  # the lines are gathered again, by their values
        now = _now()
        data_key = self._data_key(now) if builder.records else None  # a batch without records holds no secret
        payload = builder.payload(None if data_key is None else data_key.recipient)
        yield
        manifest = self._manifest(log, builder, payload, data_key, now)
        yield from self._write(manifest, key, payload.blocks, None, gathered)
        for name, count in gathered.lines.items():
            self.spool.note_sealed(name, count)

    def _seal_by_scope(self, scope: str, limits: BatchLimits, min_records: int, *, urgent: bool) -> Iterator[None]:
        """Seal a group of batches: one for the records with each value of a field, one for those without it.

        All lines of a stretch of the spool get into the group, and one head file makes all its batches valid: so a
        crash leaves all of them or none, and what the head says of consumed lines is as for one batch.
        """
        preload.load_for_encryption()
        key, log, gathered = self._begin()
        lines = LinesByScope(scope, limits)
        yield from gather(self.spool, lines, gathered, _URGENT_READ_BYTES if urgent else _BACKGROUND_READ_BYTES)
        too_few = lines.records < min_records and lines.raw < limits.raw_bytes and not lines.full
        if too_few or not (lines.records or lines.dropped or gathered.damaged):
            self.spool.correct_counts(gathered.lines)
            return
        self.schedule.read_new_headers()
        if self._scope() != scope:
            return  # the lines are gathered again, by the values of another field, or of none
        now = _now()
        keys = self._keys_of_values(now, lines.values)
        first = self._chain.next_index
        builders: list[tuple[BatchBuilder, DataKey | None, Payload]] = []
        for data_key, runs in lines.by_key(keys):
            for builder in lines.builders(runs, log, first + len(builders), limits.level, self.policy.rules):
                if builder is None:
                    yield
                    continue
                yield from builder.hash_records()
                payload = builder.payload(None if data_key is None else data_key.recipient)
                builders.append((builder, data_key, payload))
                yield
        builders[0][0].note_dropped(lines.dropped)
        with self._all_or_none():
            for number, (builder, data_key, payload) in enumerate(builders, 1):
                group = (number, len(builders)) if len(builders) > 1 else None
                self._put(self._manifest(log, builder, payload, data_key, now, group), key, payload.blocks)
                yield
            self._commit(key, gathered)
        for name, count in gathered.lines.items():
            self.spool.note_sealed(name, count)

    def _scope(self) -> str | None:
        return None if self.policy.encrypt is None else self.policy.encrypt.scope

    def _manifest(
        self,
        log: str,
        builder: BatchBuilder,
        payload: Payload,
        data_key: DataKey | None,
        now: int,
        group: tuple[int, int] | None = None,
    ) -> Manifest:
        """Return the manifest of the next batch, encrypted if its payload is."""
        manifest = self._chain.manifest(log, builder.content(payload, self.policy, now))
        if data_key is None:
            return shrink_to_block(manifest)
        manifest = shrink_to_block(manifest, encryption.MAX_CLEAR_BLOCK)
        expose = self.policy.encrypt.expose if self.policy.encrypt else ()
        return encryption.hide(manifest, Kid.parse(data_key.kid), data_key.recipient, expose, group=group)

    def _keys_of_values(self, now: int, values: Collection[str | None]) -> dict[str | None, DataKey]:
        """Return the key for the records with each value; raises as `data_keys.keys_for`."""
        encrypt = self.policy.encrypt
        if encrypt is None:
            return {}
        home, name = self._lock.home, self.subsystem_dir.name
        return self._with_reserve(lambda: data_keys.keys_for(home, name, encrypt, now, values))

    def _data_key(self, now: int) -> DataKey | None:
        """Return the key to which a batch is encrypted that is sealed now; it is made if there is none.

        Its wrapped secret is on the disk before anything is encrypted to it, so no crash leaves a batch that nobody can
        open.

        Args:
            now: the time of sealing, µs since 1970.

        Returns:
            `None`: the lines in the spool need not be encrypted.

        Raises:
            MissingKeyError: the settings name no recipient, and no key was issued for this time.
            ConfigurationError: the library for age is not installed.
            OSError: the disk refuses.
        """
        encrypt = self.policy.encrypt
        if encrypt is None:
            return None
        preload.load_for_encryption()
        home, name = self._lock.home, self.subsystem_dir.name
        return self._with_reserve(lambda: data_keys.key_for(home, name, encrypt, now))

    def _begin(self) -> tuple[SecretKey, str, Gathered]:
        """Return the key and the log of the next batch, and the consumed offsets of the files that still exist."""
        if self.sealed is not None and changed_batches(self._batches, self.sealed) is not None:
            raise LostLockError  # a backup was copied over the log: the next keeper ends it
        if self._has_leftovers:
            self._check_lock()
            self._batches.remove_above(self._chain.next_index - 1)
            self._has_leftovers = False
        key = self._with_reserve(lambda: keys.load_or_make(self._lock.home))
        log = self.sealed.log if self.sealed else log_name(key.name, self.subsystem_dir.name, os.urandom(4).hex())
        if key_name_of(log) != key.name:
            raise LostLockError  # the key was replaced: the next keeper begins a new log
        self.spool.sync_removals()
        present = {
            *map(str, segments.listing(self.subsystem_dir.spool)),
            *map(str, pending_archives.listing(self.subsystem_dir.archived)),
            *acts.names(self.subsystem_dir),
        }
        return key, log, Gathered({name: offset for name, offset in self.consumed.items() if name in present})

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
        key, log, gathered = self._begin()
        now = _now()
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
        manifest = self._chain.manifest(log, content)
        if ciphertext is not None:
            manifest = encryption.hide(manifest, Kid.parse(ciphertext.kid), ciphertext.recipient)
        yield
        gathered.consumed[str(archive.name)] = 1
        path = pending_archives.car_file(self.subsystem_dir.archived, archive.name)
        yield from self._write(manifest, key, (), path, gathered)

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
        key, log, gathered = self._begin()
        builder = BatchBuilder(log, self._chain.next_index, BatchLimits(1, 1, 1))
        payload = builder.payload()
        content = builder.content(payload, self.policy, _now())
        meta = {**content.meta, "act": act.words}
        before = self._newest_act()
        ext = {EXT_KEY: act.encode(before if before >= 0 else None)}
        yield
        gathered.consumed[acts.consumed_name(act.id)] = 1
        manifest = self._chain.manifest(log, replace(content, meta=meta, ext=ext))
        yield from self._write(manifest, key, payload.blocks, None, gathered)

    def _newest_act(self) -> int:
        """Return the number of the newest batch of this log with an act; `NO_ACT` if there is none."""
        if self.sealed is None:
            return head.NO_ACT
        known = self.sealed.act != head.ACT_UNKNOWN
        return self.sealed.act if known else acts.newest_act(LogDir.current_of(self.subsystem_dir))

    # -- the disk

    def _write(
        self,
        manifest: Manifest,
        key: SecretKey,
        payload: Iterable[tuple[Cid, bytes]],
        archive: Path | None,
        gathered: Gathered,
    ) -> Iterator[None]:
        """Write the batch, then the head file that names it."""
        with self._all_or_none():
            self._put(manifest, key, payload, archive)
            yield
            self._commit(key, gathered)

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Forget the batches that were written, if an error comes before the head file names them.

        Those of a group are removed before the next batch is begun: that one may be the last one for some time. After a
        crash, the next keeper removes them (`Sealer.open`).
        """
        try:
            yield
        finally:
            self._has_leftovers |= len(self._chain.staged) > 1
            self._chain.unstage()

    def _put(
        self, manifest: Manifest, key: SecretKey, payload: Iterable[tuple[Cid, bytes]], archive: Path | None = None
    ) -> None:
        """Write a batch that no head file names yet."""
        self._check_lock()
        link = self._chain.link(manifest, key)
        blocks = [(link.cid, link.block), (link.head_cid, link.head_block), *self._chain.evidence(), *payload]
        if manifest.index == 0:
            self._with_reserve(lambda: disk.replace(self.subsystem_dir.beginning, manifest.log.encode()))
        self._chain.stage(link)  # before it is written: a part of it may be there after an error
        self._with_reserve(lambda: self._batches.write(manifest.index, link.cid, link.head_cid, blocks, archive))

    def _commit(self, key: SecretKey, gathered: Gathered) -> None:
        """Replace the head file by one that names the batches that were written."""
        links = self._chain.staged
        log = links[0].manifest.log
        head_state = self._head_after(links, gathered)
        self._check_lock()
        stored = self._with_reserve(lambda: head.store(self.subsystem_dir.current.head, head_state))
        self._head_stamp = head.stamp(self.subsystem_dir.current.head)
        is_first = links[0].manifest.index == 0
        self._chain.advance(stored)
        if is_first:
            disk.remove(self.subsystem_dir.beginning)
            _list_logs(self._lock.home, self.subsystem_dir, log, key)
        self._offsets.note_sealed()
        note_sealed(stored)

    def _head_after(self, links: Sequence[Link], gathered: Gathered) -> HeadState:
        before = self.state.sealed or self.state.inherited
        newest = links[-1]
        dropped = Counter(before.dropped if before else {})
        for link in links:
            dropped.update(link.manifest.dropped)
        return HeadState(
            log=newest.manifest.log,
            index=newest.manifest.index,
            block=newest.head_block,
            consumed=dict(gathered.consumed),
            act=newest.manifest.index if EXT_KEY in newest.manifest.ext else self._newest_act(),
            records=sum(link.manifest.records for link in links) + (before.records if before else 0),
            dropped=dict(+dropped),
            quarantined=gathered.damaged + (before.quarantined if before else 0),
            machine=volume.machine_id(),
            inode=disk.status(self.subsystem_dir.path).st_ino,
        )

    def check_head(self) -> None:
        """Check whether another program has replaced the head file, for example by copying a backup over the home.

        Raises:
            UnsettledError: the file was replaced a moment ago; the program may still be copying other files.
            LostLockError: another program has replaced the file; the next keeper decides how the log continues.
        """
        stamp = head.stamp(self.subsystem_dir.current.head)
        if stamp == self._head_stamp:
            return
        try:
            self._check_lock()
        except LostLockError:
            if self._lock.holds() and not has_settled(self.subsystem_dir):
                raise UnsettledError(
                    "another program has replaced the head file: the log will end", where=self.subsystem_dir.path
                ) from None
            raise
        self._head_stamp = stamp

    def _check_lock(self) -> None:
        """Check that this process is still the keeper, and that the head file is unchanged (docs/home.md 9)."""
        on_disk = LogDir.current_of(self.subsystem_dir).head_state()
        if not self._lock.holds() or on_disk != self.sealed:
            raise LostLockError

    def _with_reserve(self, step: Callable[[], _T]) -> _T:
        """Run a step that writes; on a full disk free the reserve and run the step again, from its start."""
        return reserve.with_reserve(self._lock.home.reserve, step)

    def delete_consumed(self) -> None:
        """Delete segments, archives and acts that are in batches, and that no process writes."""
        self.spool.retire(self.consumed)
        pending_archives.retire(self.subsystem_dir.archived, self.consumed)
        pending_archives.sweep(self.subsystem_dir.archived)
        acts.retire(self.subsystem_dir, self.consumed)


def _now() -> int:
    """Return the time, µs since 1970."""
    return int(time.time() * 1_000_000)


def _list_logs(home: HomeDir, subsystem_dir: SubsystemDir, log: str, key: SecretKey | None) -> None:
    """Add a log with a sealed batch, and the logs before it, to the list; the next keeper repeats it after an error."""
    if key is None or log in log_list.load(home).names:
        return
    with suppress(OSError, FormatError):
        names = [former.name for former in logs_of(subsystem_dir) if former.name]
        log_list.add(home, key, [*names, log])


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
