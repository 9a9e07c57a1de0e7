"""Keep the small files of a log in order: the index of its batches, the catalogue, index pages, and packs.

The work has short steps, so that sealing, shipping and the program can run between two of them. A step that fails is
tried again at the next run of housekeeping, because no promise depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.concurrency import fork
from ipfs_log_handlers.errors import FormatError, LogStoreError
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.batch_files import A_DIRECTORY
from ipfs_log_handlers.home.catalogue import GROUP, Catalogue, describe, line_of
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir, policy_of

if TYPE_CHECKING:
    from ipfs_log_handlers.keeper.indexing import Indexing

__all__ = ["MAX_FILES", "MAX_FILES_AT_END", "MIN_AGE_S", "Upkeep"]


MIN_AGE_S: Final = 300.0
"""Age in seconds at which a small batch is moved into a pack."""
MAX_FILES: Final = 128
"""Number of small batches with files of their own at which all of them are packed, whatever their age."""
MAX_FILES_AT_END: Final = 32
"""The same number when the keeper ends because all batches are shipped, as `ipfs-logs ship` does."""
_MIN_INDEXED: Final = 8
"""Batches of a log from which on it has index pages, as `indexing.MIN_NEW_BATCHES` says."""
_BATCHES_PER_STEP: Final = 64
"""Number of batches that are moved in one step."""
_ROWS_PER_RUN: Final = 16_384
"""Number of checked rows of the index that one run checks again: a large batch becomes small when its payload is
deleted."""


@dataclass(slots=True)
class _PackProgress:
    """The packed and the refused batches of one log."""

    next_index: int = 0
    """Every batch before it is in a pack, or was large or damaged when it was checked."""
    again: int = 0
    """First batch that the next run checks again."""
    refused: set[int] = field(default_factory=set)
    """Batches that could not be packed: they are damaged."""

    def ranges(self, newest: int) -> Iterator[tuple[int, int]]:
        """Return ranges of batches to check: the newest ones, and a part of those that were checked before."""
        yield self.next_index, newest
        last = min(self.next_index - 1, self.again + _ROWS_PER_RUN - 1)
        if last >= self.again:
            yield self.again, last
        self.again = last + 1 if last + 1 < self.next_index else 0


class Upkeep:
    """Maintain the files of one subsystem, as long as this process is the keeper.

    Args:
        subsystem_dir: the directory of the subsystem.
    """

    def __init__(self, subsystem_dir: SubsystemDir) -> None:
        self._subsystem_dir = subsystem_dir
        self._catalogued: dict[Path, tuple[int, int]] = {}
        """Number of groups in the catalogue of a log, and end offset of its last frame, by directory of its batches."""
        self._packed: dict[Path, _PackProgress] = {}
        """By directory of the batches of a log."""
        self._indexing: dict[tuple[Path, str], Indexing] = {}
        """By directory of the batches of a log, and its name."""
        self._ids: tuple[str, ...] | None = None
        """The fields with ids of the subsystem; read once in a run, however many logs it has."""

    def steps(self, max_files: int | None = None, *, at_end: bool = False) -> Iterator[None]:
        """Do what is to be done now, giving way after each short step.

        Args:
            max_files: small batches with files of their own from which on all of them are packed, however young they
                are; `None`: `MAX_FILES`.
            at_end: whether the keeper ends: the newest index page is written however few of its batches are new.

        Raises:
            OSError: the disk refuses; what was done until then is right as it is.
            HomeError: the directory of the index pages is a link, a file or another user's; all else is done.
        """
        failure: Exception | None = None
        self._ids = None
        for log_dir in LogDir.all_of(self._subsystem_dir):
            sealed_through = log_dir.sealed_through()
            if sealed_through is None:
                continue
            if not log_dir.sealed_batches.index_is_whole(sealed_through[1]):
                yield from log_dir.sealed_batches.index_again(partial(_newest, log_dir))
            yield from self._catalogue(log_dir, sealed_through[1])
            try:
                yield from self._index_pages(log_dir, *sealed_through, at_end=at_end)
            except (OSError, LogStoreError) as error:  # no other work depends on an index page
                failure = error
            yield from self._pack(log_dir, sealed_through[1], MAX_FILES if max_files is None else max_files)
        if failure is not None:
            raise failure

    # -- packs

    def _pack(self, log_dir: LogDir, newest: int, max_files: int) -> Iterator[None]:
        """Move small batches into packs: those that are old enough, or all when `max_files` have own files."""
        batches = log_dir.sealed_batches
        progress = self._packed.setdefault(log_dir.batches, _PackProgress())
        for first, last in progress.ranges(newest):
            small = [row for row in batches.small_files(first, last) if row.index not in progress.refused]
            if len(small) < max_files:
                sealed_before = int((time.time() - MIN_AGE_S) * 1e6)
                small = [row for row in small if row.sealed <= sealed_before]
            for _, group in groupby(small, key=lambda row: row.index // A_DIRECTORY):
                indexes = [row.index for row in group]
                for start in range(0, len(indexes), _BATCHES_PER_STEP):
                    step = indexes[start : start + _BATCHES_PER_STEP]
                    progress.refused.update(set(step).difference(batches.pack(step)))
                    yield
        left = (row.index for row in batches.small_files(progress.next_index, newest))
        progress.next_index = next((index for index in left if index not in progress.refused), newest + 1)

    def _catalogue(self, log_dir: LogDir, newest: int) -> Iterator[None]:
        """Write the frames of the groups whose batches are all sealed."""
        catalogue = Catalogue(log_dir.batches)
        groups, end = self._catalogued.get(log_dir.batches) or catalogue.count()
        while (groups + 1) * GROUP <= newest + 1:
            lines = []
            for index in range(groups * GROUP, (groups + 1) * GROUP):
                lines.append(self._line(log_dir, index))
                yield
            if not disk.is_directory(log_dir.batches):
                return  # the log has just ended and moved
            groups, end = groups + 1, catalogue.append(groups, end, lines)
        self._catalogued[log_dir.batches] = groups, end

    def _index_pages(self, log_dir: LogDir, log: str, newest: int, *, at_end: bool) -> Iterator[None]:
        """Write the index pages that are missing or not complete; so few batches have none, and import nothing."""
        if newest + 1 < _MIN_INDEXED:
            return
        with fork.importing():
            from ipfs_log_handlers.keeper.indexing import Indexing

        indexing = self._indexing.setdefault((log_dir.batches, log), Indexing(log_dir))
        if self._ids is None:
            self._ids = policy_of(self._subsystem_dir).ids
        yield from indexing.steps(log, newest, self._ids, at_end=at_end)

    def _line(self, log_dir: LogDir, index: int) -> bytes:
        with suppress(FormatError, OSError):
            return line_of(describe(log_dir.subsystem, log_dir.sealed_batches.facts(index)))
        return b""


def _newest(log_dir: LogDir) -> int:
    """Return the number of the newest sealed batch; it grows while the index is made."""
    sealed_through = log_dir.sealed_through()
    return -1 if sealed_through is None else sealed_through[1]
