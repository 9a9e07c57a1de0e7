"""Write logs of a home, whole or from one batch to another, to one CAR file that `ipfs dag import` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipfs_log_handlers.errors import FormatError, PrunedError, StoreUnavailable
from ipfs_log_handlers.format import car, dag
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home.acts import all_acts
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.query.export import replacing
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.reader.sealed import holders
from ipfs_log_handlers.reader.source import BlockSource, CarBlocks
from ipfs_log_handlers.sharing.sealed_log import OnRead, SealedLog, sealed_logs

__all__ = ["CarExport", "ExportedLog", "export_car"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedLog:
    """The batches of one log in a file."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log."""
    first: int
    """Number of the first batch."""
    batches: int
    """Number of batches."""
    cid: str
    """CID of the snapshot, if `first` is 0; else of the head block of the last batch."""
    pruned: int = 0
    """Number of batches whose payloads were given up, as an act in the file says: their manifests are in it."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with its fields."""
        return {name: getattr(self, name) for name in ("subsystem", "log", "first", "batches", "pruned", "cid")}


@dataclass(frozen=True, slots=True, kw_only=True)
class CarExport:
    """A CAR file with logs."""

    file: str
    """Path of the file."""
    size: int
    """Bytes of the file; 0: there was no batch to write, and no file was made."""
    blocks: int
    """Number of blocks in it."""
    logs: tuple[ExportedLog, ...]
    """The logs in it."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs export -o json`."""
        logs = [log.as_json() for log in self.logs]
        return {"file": self.file, "size": self.size, "blocks": self.blocks, "logs": logs}


def export_car(
    home: HomeDir,
    subsystem_dirs: Sequence[SubsystemDir],
    file: Path,
    *,
    fetcher: Fetcher,
    since: int | None = None,
    until: int | None = None,
    on_read: OnRead | None = None,
    on_written: OnRead | None = None,
) -> CarExport:
    """Write the logs of some subsystems to a file, in the order of `ipfs dag export`.

    Of batches that are pruned, the file has the manifests, and the act that says so.

    The roots are a snapshot for each log that begins with its first batch; else the head block of the last batch, and
    the manifests of all batches before it.

    Args:
        home: the home.
        subsystem_dirs: the subsystems.
        file: the file; an existing one is replaced when the new one is complete.
        fetcher: gets the payloads that have left the home.
        since: leave out the batches before the first one with a record of this time or later, µs since 1970.
        until: leave out the batches after the last one with a record before this time, µs since 1970.
        on_read: called after each manifest that was read.
        on_written: called after each batch that was written.

    Raises:
        FormatError, VerificationError: a log is damaged; or too many batches do not begin with the first one.
        StoreError: no store has a payload that has left the home; `PrunedError`: it was given up, and the act about it
            is not in the file.
        OSError: the home cannot be read, or the file not be written; then there is no new file.
    """
    chosen = [
        some
        for sealed in sealed_logs(home, subsystem_dirs, on_read)
        if (some := _chosen(sealed, since, until)) is not None
    ]
    pieces = [_Piece.of(sealed, first, _given_up(sealed, first, chosen)) for sealed, first in chosen]
    if not pieces:
        return CarExport(file=str(file), size=0, blocks=0, logs=())
    roots = [root for piece in pieces for root in piece.roots]
    count = 0
    with ExitStack() as stack, replacing(file) as stream:
        source = _Blocks([stack.enter_context(_PieceBlocks(piece, fetcher, on_written)) for piece in pieces])
        stream.write(car.header(roots))
        for cid, block in dag.walk(roots, source.block):
            stream.write(car.section(cid, block))
            count += 1
        size = stream.tell()
    return CarExport(file=str(file), size=size, blocks=count, logs=tuple(piece.described() for piece in pieces))


@dataclass(frozen=True, slots=True)
class _Piece:
    """The batches of one log that are exported."""

    sealed: SealedLog
    first: int
    given_up: frozenset[int]
    """Numbers of the batches that are pruned: their manifests are linked as raw blocks."""
    tree: Mapping[Cid, bytes]
    """The blocks of its snapshot; empty if the first batch is left out."""
    roots: tuple[Cid, ...]

    @classmethod
    def of(cls, sealed: SealedLog, first: int, given_up: frozenset[int]) -> _Piece:
        """Make the roots of the batches of a log from a number on."""
        if first:
            others = (
                cid.as_codec(RAW) if index in given_up else cid
                for index, cid in enumerate(sealed.manifests[first:-1], first)
            )
            return cls(sealed, first, given_up, {}, (sealed.head.cid, *others))
        blocks = sealed.blocks(given_up)
        return cls(sealed, 0, given_up, dict(blocks), (blocks[-1][0],))

    def described(self) -> ExportedLog:
        return ExportedLog(
            subsystem=self.sealed.subsystem,
            log=self.sealed.log.name,
            first=self.first,
            batches=len(self.sealed.manifests) - self.first,
            pruned=len(self.given_up),
            cid=self.roots[0].text,
        )


def _chosen(sealed: SealedLog, since: int | None, until: int | None) -> tuple[SealedLog, int] | None:
    """Choose the batches of a log: the log up to the last one, and the number of the first; `None` if there is none."""
    first, last = 0, sealed.head.index
    if since is not None or until is not None:
        found = _within(sealed, since, until)
        if found is None:
            return None
        first, last = found if since is not None else (0, found[1])
    return sealed.up_to(last if until is not None else sealed.head.index), first


def _given_up(sealed: SealedLog, first: int, chosen: Sequence[tuple[SealedLog, int]]) -> frozenset[int]:
    """Return the numbers of the batches of a log that an act in one of the chosen batches has given up.

    If acts cannot be read, it is none: the log is exported with the payloads that are there, and `verify` tells it.
    """
    try:
        acts = all_acts(sealed.subsystem_dir)
    except FormatError:
        return frozenset()
    ends = {other.log.name: (begin, other.head.index) for other, begin in chosen}
    here = (act for act in acts if act.log in ends and ends[act.log][0] <= act.index <= ends[act.log][1])
    pruned = Pruned.of(act.act for act in here)
    return pruned.numbers(sealed.log.name, first, sealed.head.index)


def _within(sealed: SealedLog, since: int | None, until: int | None) -> tuple[int, int] | None:
    """Find the first and the last batch with a record in this time; `None` if there is none."""
    found = []
    for index in range(len(sealed.manifests)):
        manifest = sealed.log.batches.manifest(index)
        if (since is None or manifest.last >= since) and (until is None or manifest.first < until):
            found.append(index)
    return (found[0], found[-1]) if found else None


class _PieceBlocks:
    """Get the blocks of the exported batches of one log; the batch whose manifest was asked for last is open."""

    def __init__(self, piece: _Piece, fetcher: Fetcher, on_written: OnRead | None) -> None:
        self._piece = piece
        self._fetcher = fetcher
        self._on_written = on_written
        self._numbers = {cid: index for index, cid in enumerate(piece.sealed.manifests) if index >= piece.first}
        self._given_up = {piece.sealed.manifests[index].as_codec(RAW): index for index in piece.given_up}
        self._head = piece.sealed.head
        self._open = ExitStack()
        self._index = -1
        self._batch: BlockSource | None = None
        self._done = 0

    def __enter__(self) -> _PieceBlocks:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def begins(self, cid: Cid) -> bool:
        """Return whether a block belongs to this log alone: its tree, its head and its manifests."""
        return any(cid in known for known in (self._piece.tree, self._numbers, self._given_up, (self._head.cid,)))

    def block(self, cid: Cid) -> bytes:
        """Return a block of the log, hashed."""
        if cid in self._piece.tree:
            return self._piece.tree[cid]
        if cid == self._head.cid:
            return self._head.encode()
        if cid in self._given_up:
            cid = cid.as_codec(DAG_CBOR)
        if cid in self._numbers:
            self._turn_to(self._numbers[cid])
        if self._batch is not None and cid in self._batch:
            return self._batch.block(cid)
        sealed = self._piece.sealed
        log = sealed.log
        try:
            return self._fetcher.get(cid, holders(sealed.subsystem_dir, log, self._index))
        except PrunedError as error:
            error.hint = "The act that says so is in a later batch: leave out --until, or these batches with --since."
            raise
        except StoreUnavailable as error:
            error.where = f"{log.name} batch {self._index}"
            raise

    def _turn_to(self, index: int) -> None:
        """Open a batch, and close the one before."""
        self._open.close()
        streams = self._open.enter_context(self._piece.sealed.log.batches.streams(index))
        self._index, self._batch = index, CarBlocks(*streams)
        self._done += 1
        if self._on_written is not None:
            sealed = self._piece.sealed
            self._on_written(sealed.subsystem, self._done, len(self._numbers))


class _Blocks:
    """Get the blocks of all exported logs: a link leads from a block of a log to blocks of the same log."""

    def __init__(self, logs: Sequence[_PieceBlocks]) -> None:
        self._logs = logs
        self._current = logs[0]

    def block(self, cid: Cid) -> bytes:
        """Return a block, hashed."""
        self._current = next((log for log in self._logs if log.begins(cid)), self._current)
        return self._current.block(cid)
