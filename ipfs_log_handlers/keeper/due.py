"""Decide when a batch of a subsystem is due, and its limits, by the policy of the newest segment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import disk, reserve, segments
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.policy import Policy, encryption_in, load_policy, store_policy
from ipfs_log_handlers.home.segments import Header, SegmentName
from ipfs_log_handlers.keeper.batch_builder import BatchLimits
from ipfs_log_handlers.spool.scan import Backlog

__all__ = ["FLOOD_BATCHES", "FLOOD_BATCH_BYTES", "UNLIMITED_RECORDS", "BatchSchedule", "DueBatch"]

FLOOD_BATCHES: Final = 10
"""Number of batches for which enough records wait, above which one batch takes all records."""
FLOOD_BATCH_BYTES: Final = 32 << 20
"""Largest number of bytes of lines in such a batch, because a deadline is checked only after it (docs/home.md 21)."""
UNLIMITED_RECORDS: Final = 1 << 31
"""Records of a batch without a limit in the policy: more than a batch can have."""
_FAST_LEVEL: Final = 1
"""zstd level under load or a deadline: level 3 takes longer and compresses log lines less."""
_SMALL_LEVEL: Final = 11
"""zstd level while there is time."""


@dataclass(frozen=True, slots=True)
class DueBatch:
    """Describe a batch that is due."""

    limits: BatchLimits
    """The limits at which it is cut."""
    min_records: int = 0
    """Smallest number of records with which it is sealed: the count of waiting lines is only an estimate."""


class BatchSchedule:
    """Read the policy of one subsystem, and decide when its next batch is due.

    Args:
        home: the home.
        subsystem_dir: the directory of the subsystem.
    """

    def __init__(self, home: HomeDir, subsystem_dir: SubsystemDir) -> None:
        self.policy = load_policy(subsystem_dir.settings, Policy.default(home.path, subsystem_dir.name))
        self._home = home
        self._subsystem_dir = subsystem_dir
        self._newest: Header | None = None
        self._read: dict[SegmentName, Header | None] = {}
        """The headers of the segments in the spool; `None`: it is damaged."""
        self._encrypts_for_older = False
        """Whether batches are encrypted only because an older segment in the spool wants it."""

    def read_new_headers(self) -> None:
        """Use the policy in the header of the newest segment, if there is a new segment.

        As long as one segment in the spool wants its lines to be encrypted, all lines are: programs with different
        settings share the log, and no line may be sealed in clear against the settings of its program. So call this
        again after the lines of a batch are gathered, and then look at `policy.encrypt`.
        """
        names = segments.listing(self._subsystem_dir.spool)
        unread = [name for name in names if name not in self._read]
        self._read = {name: self._read[name] for name in names if name in self._read}
        new: list[Header] = []
        for name in unread:
            try:
                header = segments.read_header(self._subsystem_dir.spool / name.file_name)
            except OSError:
                continue  # read again at the next call
            except FormatError:
                header = None
            if header is not None and (header.writer, header.subsystem) != (name.writer, self._subsystem_dir.name):
                header = None
            self._read[name] = header
            if header is not None:
                new.append(header)
        newest = segments.newest_header(new if self._newest is None else [self._newest, *new])
        if newest is not None and newest is not self._newest:
            self._newest = newest
            self.adopt(newest.settings)
            self._encrypts_for_older = False
        if self.policy.encrypt is None or self.policy.encrypt.scope is None or self._encrypts_for_older:
            self._encrypt_for_older()

    def _encrypt_for_older(self) -> None:
        """Encrypt as the newest segment wants that wants it, although the newest of all does not, or without a scope.

        A key for each value is wanted so that a value can be erased: that counts before settings without it.
        """
        own = self.policy.encrypt
        if own is not None and not own.recipients and not self._encrypts_for_older:
            return  # it may use only issued keys, and values have none
        wanting = [header for header in self._read.values() if header and encryption_in(header.settings)]
        by_scope = [header for header in wanting if getattr(encryption_in(header.settings), "scope", None)]
        if own is not None and not by_scope and not self._encrypts_for_older:
            return
        wanted = segments.newest_header(by_scope or wanting)
        self._encrypts_for_older = wanted is not None
        deciding = wanted or self._newest
        encrypt = None if deciding is None else encryption_in(deciding.settings)
        if encrypt != own:
            self.adopt({"encrypt": None if encrypt is None else encrypt.as_json()})

    def adopt(self, settings: Mapping[str, Any]) -> None:
        """Use the settings of a segment's header or an archive, and write them to `settings.json`."""
        policy = Policy.from_json(settings, self.policy)
        if policy != self.policy or not disk.exists(self._subsystem_dir.settings):
            self.policy = policy
            with suppress(OSError):
                write = partial(store_policy, self._subsystem_dir.settings, policy)
                reserve.with_reserve(self._home.reserve, write)  # otherwise `ship` would have no store

    def due_batch(self, backlog: Backlog, now: float, *, urgent: bool) -> DueBatch | None:
        """Return the batch that is due now, if any.

        Args:
            backlog: the waiting lines.
            now: the keeper's monotonic clock, seconds.
            urgent: a flush request waits until all lines are sealed.
        """
        if backlog.since is None:
            return None
        records, size = self.policy.records, self.policy.bytes
        if backlog.records > FLOOD_BATCHES * records:
            return DueBatch(BatchLimits(UNLIMITED_RECORDS, max(size, FLOOD_BATCH_BYTES), _FAST_LEVEL))
        level = _FAST_LEVEL if urgent else _SMALL_LEVEL
        if backlog.records >= records:
            return DueBatch(BatchLimits(records, size, level), records)
        if backlog.bytes >= size or urgent or now - backlog.since >= self.policy.max_age_s(backlog.bytes):
            return DueBatch(BatchLimits(records, size, level))
        return None
