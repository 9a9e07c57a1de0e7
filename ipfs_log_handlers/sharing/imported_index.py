"""Write the index pages of logs of other homes, so that a query for an id skips their batches, too.

A page is made from batches that were verified when they came in. It is a cache: a reader compares the CID of each batch
in it with the batch that is here, and asks no page where the user gives keys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import FormatError, LogStoreError
from ipfs_log_handlers.format import dag
from ipfs_log_handlers.format.checkpoint import subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.imported_logs import MirroredDir, index_directory
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.keeper.indexing import MIN_NEW_BATCHES, IndexedBatches, Indexing
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.gaps import Gap

__all__ = ["ImportedIndex"]


class ImportedIndex:
    """Keep the index pages of logs of other homes complete.

    Args:
        home: the home.
    """

    def __init__(self, home: HomeDir) -> None:
        self._home = home
        self._indexing: dict[str, tuple[Indexing, _Batches]] = {}

    def of_mirror(self, target: MirroredDir, through: int, again: Collection[int] = (), *, at_end: bool) -> None:
        """Write the pages of a mirrored log that are missing or not complete.

        Args:
            target: the log, `locked`.
            through: number of its newest batch.
            again: batches whose payloads have come later.
            at_end: write the newest page however few of its batches are new.

        Raises:
            OSError: the disk refuses; all answers are right without a page.
        """
        self._write(target.log, through, _Pieces(target).part, again, at_end=at_end)

    def of_files(self, log: str, files: Sequence[Path]) -> None:
        """Write the pages of a log in imported files; raises as `of_mirror`."""
        parts = {part.index: part for part in CarSource(files, _ignore).chains().get(log, (None, ()))[1]}
        if parts:
            self._write(log, max(parts), parts.__getitem__, (), at_end=True)

    def _write(
        self, log: str, through: int, part: Callable[[int], ChainPart], again: Collection[int], *, at_end: bool
    ) -> None:
        if through + 1 < MIN_NEW_BATCHES:
            return  # so few batches have no page
        directory = index_directory(self._home, log)
        if log not in self._indexing:
            batches = _Batches(directory, log, part)
            self._indexing[log] = Indexing(batches), batches
        indexing, batches = self._indexing[log]
        batches.part = part
        disk.ensure_directory(directory)
        indexing.forget(again)
        for _ in indexing.steps(log, through, self._ids(subsystem_of(log)), at_end=at_end):
            pass

    def _ids(self, name: str) -> Sequence[str]:
        """Return the fields with ids of a subsystem, as it is logged to here or defined in this process."""
        if disk.is_directory(self._home.subsystem_dir(name).path):
            return policy_of(self._home.subsystem_dir(name)).ids
        return tuple(subsystems.get(name).ids) if name in subsystems.names() else ()


class _Batches:
    """The batches of a log of another home, as `Indexing` reads them."""

    def __init__(self, directory: Path, log: str, part: Callable[[int], ChainPart]) -> None:
        self.batches = directory
        self._log = log
        self.part = part

    @property
    def sealed_batches(self) -> IndexedBatches:
        return self

    def name(self) -> str:
        return self._log

    def facts(self, index: int) -> object:
        return self._found(index).manifest()

    def blocks(self, index: int) -> Iterator[tuple[Cid, bytes]]:
        part = self._found(index)
        yield part.cid, part.block
        with part.blocks() as source:
            if part.payload in source:
                yield from dag.walk([part.payload], source.block)

    def _found(self, index: int) -> ChainPart:
        with suppress(KeyError):
            return self.part(index)
        raise FormatError("the batch is not here", where=self._log, expected=index)


class _Pieces:
    """The batches of a mirrored log; only the pieces that are asked for are read."""

    def __init__(self, target: MirroredDir) -> None:
        self._target = target
        self._pieces = target.pieces()
        self._parts = lru_cache(maxsize=1)(self._parts_of)

    def part(self, index: int) -> ChainPart:
        piece = next((piece for piece in self._pieces if piece.first <= index <= piece.last), None)
        if piece is None:
            raise KeyError(index)
        return self._parts(piece.path)[index]

    def _parts_of(self, path: Path) -> Mapping[int, ChainPart]:
        try:
            chains = CarSource([path], _ignore).chains()
        except LogStoreError:
            return {}
        return {part.index: part for part in chains.get(self._target.log, (None, ()))[1]}


def _ignore(gap: Gap) -> None:
    """Ignore damage: readers and `verify` report it."""
