"""Sync the records of a writer, so that they survive a power cut (`durability="power"`)."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ipfs_log_handlers.concurrency.threads import NativeLock
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.spool.writer_segments import WriterSegments

__all__ = ["PowerSync"]


class PowerSync:
    """Sync the open segment of one writer. Threads that wait at the same time share one sync.

    Args:
        lock: the lock of the writer.
        segments: the segments of the writer.
    """

    __slots__ = ("_lock", "_segments", "_sync_lock", "_synced_seq")

    def __init__(self, lock: AbstractContextManager[object], segments: WriterSegments) -> None:
        self._lock = lock
        self._segments = segments
        self._sync_lock = NativeLock()
        self._synced_seq = 0
        """Last `seq` that is known to survive a power cut."""

    def sync(self) -> None:
        """Return when everything appended so far survives a power cut; a sync that the disk refuses is counted."""
        segments = self._segments
        own_seq = segments.seq
        with self._sync_lock:
            if self._synced_seq >= own_seq:
                return
            with self._lock:
                reached, segment = segments.seq, segments.current
            if segment is None:
                return
            try:
                disk.sync_data(segment.descriptor)
            except OSError:
                with self._lock:
                    if segments.current is segment:  # otherwise it was closed since then, and synced
                        segments.dropped.note_not_synced()
                        segments.abandon(segment)
                return
            self._synced_seq = max(reached, self._synced_seq)
