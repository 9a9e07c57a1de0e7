"""Seal records: make lines of the segments the next batch of a log, or the next group of batches.

Without `scope`, one stretch of the spool becomes one batch. With it, the stretch becomes a group: a batch for the
records with each value of a field, and one for those without it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from ipfs_log_handlers.format import encryption
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import data_keys, disk
from ipfs_log_handlers.home.data_keys import DataKey
from ipfs_log_handlers.keeper import log_writer, preload
from ipfs_log_handlers.keeper.batch_builder import BatchBuilder, BatchLimits, Payload
from ipfs_log_handlers.keeper.disk_limits import DiskLimits
from ipfs_log_handlers.keeper.due import BatchSchedule, DueBatch
from ipfs_log_handlers.keeper.gather import Gathered, gather
from ipfs_log_handlers.keeper.lines_by_scope import LinesByScope
from ipfs_log_handlers.keeper.log_writer import LogWriter
from ipfs_log_handlers.spool.scan import Spool
from ipfs_log_handlers.stats.summary import shrink_to_block

__all__ = ["RecordSealer"]

_BACKGROUND_READ_BYTES: Final = 12 << 10
"""Bytes of lines in one step while the program runs: a step holds the GIL for about a millisecond."""
_URGENT_READ_BYTES: Final = 48 << 10
"""Bytes of lines in one step while a flush request waits: fewer, longer steps take less time in all."""


class RecordSealer:
    """Seal the records of one log.

    Args:
        writer: writes the batches.
        spool: the segments of the subsystem.
        schedule: the policy in force.
    """

    def __init__(self, writer: LogWriter, spool: Spool, schedule: BatchSchedule) -> None:
        self._writer = writer
        self._spool = spool
        self._schedule = schedule
        self._disk_limits = DiskLimits(writer.home.reserve)

    def seal(self, due: DueBatch, *, urgent: bool) -> Iterator[None]:
        """Seal one batch or group, and yield after each short step.

        Args:
            due: the batch.
            urgent: a flush request waits for the batch: longer steps.

        Raises:
            LostLockError: another process has become the keeper; no batch was sealed.
            OSError: the disk refuses; no batch was sealed, and no state has changed.
        """
        limits = self._disk_limits.fit(due.limits, urgent=urgent)
        read_bytes = _URGENT_READ_BYTES if urgent else _BACKGROUND_READ_BYTES
        scope = self._scope()
        try:
            if scope is None:
                yield from self._seal_batch(limits, due.min_records, read_bytes)
            else:
                yield from self._seal_group(scope, limits, due.min_records, read_bytes)
        except OSError as error:
            if error.errno in disk.NO_ROOM:
                self._disk_limits.halve(limits)
            raise
        self._disk_limits.reset()

    def _seal_batch(self, limits: BatchLimits, min_records: int, read_bytes: int) -> Iterator[None]:
        if self._data_key(log_writer.now_us()) is not None:  # without a key nothing is gathered: the lines wait
            limits = replace(limits, stored_bytes=max(1, limits.stored_bytes - encryption.MAX_GROWTH))
        key, log, gathered = self._writer.begin()
        builder = BatchBuilder(log, self._writer.chain.next_index, limits, self._schedule.policy.rules)
        yield from gather(self._spool, builder, gathered, read_bytes)
        if self._is_too_little(builder, gathered, limits, min_records):
            return
        yield from builder.hash_records()
        self._schedule.read_new_headers()  # a segment that was begun since then may want its lines to be encrypted
        if self._scope() is not None:
            return  # the lines are gathered again, by their values
        now = log_writer.now_us()
        data_key = self._data_key(now) if builder.records else None  # a batch without records holds no secret
        payload = builder.payload(None if data_key is None else data_key.recipient)
        yield
        manifest = self._manifest(log, builder, payload, data_key, now)
        yield from self._writer.write(manifest, key, payload.blocks, None, gathered)
        self._note_sealed(gathered)

    def _seal_group(self, scope: str, limits: BatchLimits, min_records: int, read_bytes: int) -> Iterator[None]:
        """Seal a group of batches: one for the records with each value of a field, one for those without it.

        All lines of a stretch of the spool get into the group, and one head file makes all its batches valid: so a
        crash leaves all of them or none, and what the head says of consumed lines is as for one batch.
        """
        preload.load_for_encryption()
        key, log, gathered = self._writer.begin()
        lines = LinesByScope(scope, limits)
        yield from gather(self._spool, lines, gathered, read_bytes)
        if self._is_too_little(lines, gathered, limits, min_records):
            return
        self._schedule.read_new_headers()
        if self._scope() != scope:
            return  # the lines are gathered again, by the values of another field, or of none
        now = log_writer.now_us()
        keys = self._keys_of_values(now, lines.values)
        first = self._writer.chain.next_index
        builders: list[tuple[BatchBuilder, DataKey | None, Payload]] = []
        for data_key, runs in lines.by_key(keys):
            index = first + len(builders)
            for builder in lines.builders(runs, log, index, limits.level, self._schedule.policy.rules):
                if builder is None:
                    yield
                    continue
                yield from builder.hash_records()
                payload = builder.payload(None if data_key is None else data_key.recipient)
                builders.append((builder, data_key, payload))
                yield
        builders[0][0].note_dropped(lines.dropped)
        with self._writer.all_or_none():
            for number, (builder, data_key, payload) in enumerate(builders, 1):
                group = (number, len(builders)) if len(builders) > 1 else None
                self._writer.put(self._manifest(log, builder, payload, data_key, now, group), key, payload.blocks)
                yield
            self._writer.commit(key, gathered)
        self._note_sealed(gathered)

    def _is_too_little(
        self, lines: BatchBuilder | LinesByScope, gathered: Gathered, limits: BatchLimits, min_records: int
    ) -> bool:
        """Return whether no batch is made of what was gathered; then correct the counts of the spool."""
        too_few = lines.records < min_records and lines.raw < limits.raw_bytes and not lines.full
        if not too_few and (lines.records or lines.dropped or gathered.damaged):
            return False
        self._spool.correct_counts(gathered.lines)
        return True

    def _note_sealed(self, gathered: Gathered) -> None:
        for name, count in gathered.lines.items():
            self._spool.note_sealed(name, count)

    def _scope(self) -> str | None:
        encrypt = self._schedule.policy.encrypt
        return None if encrypt is None else encrypt.scope

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
        manifest = self._writer.chain.manifest(log, builder.content(payload, self._schedule.policy, now))
        if data_key is None:
            return shrink_to_block(manifest)
        manifest = shrink_to_block(manifest, encryption.MAX_CLEAR_BLOCK)
        encrypt = self._schedule.policy.encrypt
        expose = encrypt.expose if encrypt else ()
        return encryption.hide(manifest, Kid.parse(data_key.kid), data_key.recipient, expose, group=group)

    def _keys_of_values(self, now: int, values: Collection[str | None]) -> dict[str | None, DataKey]:
        """Return the key for the records with each value; raises as `data_keys.keys_for`."""
        encrypt = self._schedule.policy.encrypt
        if encrypt is None:
            return {}
        home, name = self._writer.home, self._writer.subsystem_dir.name
        return self._writer.with_reserve(lambda: data_keys.keys_for(home, name, encrypt, now, values))

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
        encrypt = self._schedule.policy.encrypt
        if encrypt is None:
            return None
        preload.load_for_encryption()
        home, name = self._writer.home, self._writer.subsystem_dir.name
        return self._writer.with_reserve(lambda: data_keys.key_for(home, name, encrypt, now))
