"""Read the records of a home in the order in which they were logged; each batch is verified before it is shown.

A subsystem is read batch after batch, its former logs first, then the lines in the spool. Writers and a keeper may work
at the same time. If lines move from the spool into a batch during the reading, the last shown sequence number of each
writer decides which of them must still be shown: no record is shown twice and none is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.encryption import group_of
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of
from ipfs_log_handlers.home.os_errors import explain
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.reader.cursor import Cursor
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.reader.gaps import AnotherBatchError, Gap, Gaps
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.lines import NO_SEQ, record_of, seq_of, with_subsystem
from ipfs_log_handlers.reader.sealed import holders, open_sealed, verified_lines
from ipfs_log_handlers.spool.tail import spans

__all__ = ["Dataset", "Gap", "Reading", "with_subsystem"]

_MAX_ROUNDS: Final = 8
"""Largest number of rounds if the keeper changes the home; then only the records of the start are read."""


class Dataset:
    """The records of a home, subsystem by subsystem in the order of its logs.

    Args:
        home: the home.
        on_gap: called with each batch, and each part of the spool, that could not be shown; then the reading
            continues.
        stores: addresses of the user's stores, which are asked for payloads that have left the home.
        token: credential for these stores.
        fetch: also ask stores whose address is only in the home's files.
        own: addresses that this process has configured, with the token of each.
        keys: one of them must have signed each batch that is read; empty: signatures are not checked.
        keyring: opens encrypted batches.
    """

    def __init__(
        self,
        home: HomeDir,
        on_gap: Callable[[Gap], None],
        *,
        stores: Sequence[str] = (),
        token: str | None = None,
        fetch: bool = False,
        own: Mapping[str, str | None] | None = None,
        keys: Sequence[VerifierKey] = (),
        keyring: Keyring = NO_KEYS,
    ) -> None:
        self.home = home
        """The home."""
        self.on_gap = on_gap
        """Called with each gap."""
        self.keys = tuple(keys)
        """The verifier keys to trust."""
        self.keyring = keyring
        """Opens encrypted batches."""
        self.fetcher = Fetcher(stores, token=token, fetch=fetch, own=own)
        """Object that asks stores for payloads that have left the home."""

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.fetcher.close()

    def records(self, subsystem: str, *, sealed_only: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the records of a subsystem in log order, each unchanged, with its `subsystem`.

        A line that is not a JSON object, or that Python cannot read, is yielded as `{"!": reason, "repr": text}`.
        """
        for line in self.lines(subsystem, sealed_only=sealed_only):
            yield record_of(line, subsystem)

    def lines(self, subsystem: str, *, sealed_only: bool = False) -> Iterator[bytes]:
        """Yield the JSON of the same records, without `subsystem`.

        Args:
            subsystem: a subsystem that has a directory in the home.
            sealed_only: leave out the records that are in no batch yet.
        """
        return iter(self.reading(subsystem, sealed_only=sealed_only))

    def reading(self, subsystem: str, *, sealed_only: bool = False, after: Cursor | None = None) -> Reading:
        """Begin a reading that keeps its position.

        Args:
            subsystem: as for `lines`.
            sealed_only: as for `lines`.
            after: the position of an earlier reading of this subsystem; `None`: at the first record.

        Raises:
            FormatError: during the iteration: the cursor names a log that is not in this home.
        """
        return Reading(
            self.home.subsystem_dir(subsystem),
            self.on_gap,
            self.fetcher,
            sealed_only=sealed_only,
            after=after,
            keys=self.keys,
            keyring=self.keyring,
        )

    def batch(self, cid: Cid | str) -> Iterator[tuple[str, bytes]] | None:
        """Find one batch; return its lines, each with its subsystem.

        Args:
            cid: CID of the manifest or of the payload; as text in any usual form (`/ipfs/…`, `ipfs://…`).

        Returns:
            `None` if no batch of the home has this CID.

        Raises:
            FormatError: the text is not a CID.
        """
        wanted = Cid.from_user(cid) if isinstance(cid, str) else cid
        for subsystem_dir in self.home.subsystem_dirs():
            for log in logs_of(subsystem_dir):
                index = log.batches.with_cid(wanted, log.newest)
                if index is not None:
                    reading = Reading(subsystem_dir, self.on_gap, self.fetcher, keys=self.keys, keyring=self.keyring)
                    lines = reading.one(log, index)
                    return ((subsystem_dir.name, line) for line in lines)
        return None


class Reading:
    """One reading of one subsystem: iterate over it for the lines; `cursor` is its position.

    A second iteration yields the lines that are new since the first one.

    Args:
        subsystem_dir: the directory of the subsystem.
        on_gap: as for `Dataset`.
        fetcher: asks stores for payloads which have left the home.
        sealed_only: leave out the records that are in no batch yet.
        after: the position of an earlier reading.
        keys: as for `Dataset`.
        keyring: as for `Dataset`.
    """

    def __init__(
        self,
        subsystem_dir: SubsystemDir,
        on_gap: Callable[[Gap], None],
        fetcher: Fetcher,
        *,
        sealed_only: bool = False,
        after: Cursor | None = None,
        keys: Sequence[VerifierKey] = (),
        keyring: Keyring = NO_KEYS,
    ) -> None:
        self._subsystem_dir = subsystem_dir
        self._gaps = Gaps(subsystem_dir.name, on_gap)
        self._fetcher = fetcher
        self._sealed_only = sealed_only
        self._keys = keys
        self._keyring = keyring
        self._after = after or Cursor()
        self._log = self._after.log
        self._index = self._after.index
        self._offset = self._after.offset
        self._seqs: dict[str, int] = dict(self._after.seqs)
        self._in_group: dict[str, int] = {}
        """Last sequence number of each writer in the batches of a group so far: it counts when the group ends."""
        self._read_to: dict[SegmentName, int] = {}
        """Offset in each segment up to which its lines were yielded."""

    @property
    def cursor(self) -> Cursor:
        """The position after the last yielded line; a later reading continues there."""
        return Cursor(log=self._log, index=self._index, offset=self._offset, seqs=dict(self._seqs))

    @property
    def cursor_log(self) -> str:
        """Name of the log at the current position; empty before the first batch."""
        return self._log

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines."""
        changes = _Changes(self._subsystem_dir)
        while True:
            logs = logs_of(self._subsystem_dir)
            for log in logs:
                self._gaps.head(log)
            if not (yield from self._sealed(logs, changes)):
                continue
            if self._sealed_only:
                return
            names = segments.listing(self._subsystem_dir.spool)
            if changes.since(logs):
                if changes.all_read_that_was_durable(logs):
                    return
                continue
            if (yield from self._spooled(names, logs, changes)):
                return

    # -- batches

    def _sealed(self, logs: Sequence[Log], changes: _Changes) -> Generator[bytes, None, bool]:
        """Yield the lines of the next batches; return `False` if a log has moved during this."""
        for log in logs[self._position(logs) :]:
            if log.name != self._log:
                self._log, self._index, self._offset = log.name, 0, 0
            for index in range(self._index, log.newest + 1):
                try:
                    yield from self.batch(log, index)
                except (FileNotFoundError, AnotherBatchError) as error:
                    if changes.since(logs):
                        return False
                    self._gaps.misplaced(log, index, error)
                self._index, self._offset = index + 1, 0
        return True

    def _position(self, logs: Sequence[Log]) -> int:
        """Find the log of the cursor."""
        names = [log.name for log in logs]
        if self._log in names:
            return names.index(self._log)
        if self._log:
            raise FormatError("the log of a cursor is not in this home", expected=self._log, found=", ".join(names))
        return 0

    def one(self, log: Log, index: int) -> Iterator[bytes]:
        """Yield the lines of one batch; report a gap if it cannot be read or verified."""
        try:
            yield from self.batch(log, index)
        except (FileNotFoundError, AnotherBatchError) as error:
            self._gaps.misplaced(log, index, error)

    def batch(self, log: Log, index: int) -> Iterator[bytes]:
        """Yield the lines of one batch that were not shown yet; report a gap if it cannot be verified.

        Args:
            log: the log.
            index: number of the batch.

        Raises:
            FileNotFoundError, AnotherBatchError: its file does not exist, or is that of another batch.
        """
        with self._gaps.of_batch(log, index), open_sealed(log, index, keys=self._keys) as (batch, manifest):
            if manifest.payload_encoding.has_records:
                if not self._has_shown(manifest):
                    get = partial(self._from_store, log, index)
                    yield from self._fresh(manifest, verified_lines(batch, self._keyring.open(manifest), get))
                self._note_sealed(log, manifest)

    def _from_store(self, log: Log, index: int, cid: Cid) -> bytes:
        """Get a block of a batch that has left the home."""
        return self._fetcher.get(cid, holders(self._subsystem_dir, log, index))

    def _has_shown(self, manifest: Manifest) -> bool:
        """Return whether every record of a batch was shown from the spool, so that the batch need not be read."""
        return bool(self._seqs) and all(last <= self._seqs.get(writer, 0) for writer, _, _, last in manifest.sources)

    def _fresh(self, manifest: Manifest, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the lines that were shown neither before the cursor nor from the spool."""
        skipped = self._offset  # stays until lines come: after an error a later iteration skips the same lines
        if not skipped and not self._seqs:
            for line in lines:
                self._offset += 1
                yield line
            return
        known = (seq <= self._seqs.get(writer, 0) for writer, seq in _numbers(manifest))
        for number, line in enumerate(lines, 1):
            is_known = next(known, False)
            if number > skipped:
                self._offset = number
                if not is_known:
                    yield line

    def _note_sealed(self, log: Log, manifest: Manifest) -> None:
        """Forget a writer when a batch, or a group of batches, contains its last shown line."""
        number, size = group_of(manifest) or (1, 1)
        if number == 1:
            self._in_group.clear()
        for writer, _, _, last in manifest.sources:
            self._in_group[writer] = max(last, self._in_group.get(writer, 0))
        for writer, last in self._in_group.items() if number == size else ():
            if log.sealed is None:  # without a head, the sequence numbers show the consumed lines of the spool
                self._seqs[writer] = max(last, self._seqs.get(writer, 0))
            elif self._seqs.get(writer, last + 1) <= last:
                del self._seqs[writer]

    # -- the spool

    def _spooled(
        self, names: Sequence[SegmentName], logs: Sequence[Log], changes: _Changes
    ) -> Generator[bytes, None, bool]:
        """Yield the lines after the consumed offsets; return `False` if the keeper has deleted a segment."""
        consumed = _consumed(logs)
        self._read_to = {name: offset for name, offset in self._read_to.items() if name in names}
        for name in names:
            offset = max(consumed.get(str(name), 0), self._read_to.get(name, 0))
            try:
                yield from self._segment(name, offset, logs[-1].name if logs else "")
            except FileNotFoundError:
                if changes.since(logs):
                    return False
            except disk.WrongFileError as error:
                self._gaps.segment(logs[-1].name if logs else "", name, explain(error))
        return True

    def _segment(self, name: SegmentName, offset: int, log: str) -> Iterator[bytes]:
        for span in spans(self._subsystem_dir.spool / name.file_name, offset):
            if span.kind == "damage":
                self._gaps.span(log, name, span)
            for line in span.records:
                seq = seq_of(line)
                if seq > self._seqs.get(name.writer, 0):
                    if seq < NO_SEQ:  # else all later lines of this writer would count as shown
                        self._seqs[name.writer] = seq
                    yield line
            self._read_to[name] = span.end


class _Changes:
    """Detect changes that a keeper makes to a subsystem while it is read."""

    def __init__(self, subsystem_dir: SubsystemDir) -> None:
        self._subsystem_dir = subsystem_dir
        self._rounds = 0
        self._sizes_at_start = {str(name): _size(subsystem_dir, name) for name in segments.listing(subsystem_dir.spool)}

    def since(self, logs: Sequence[Log]) -> bool:
        """Return whether the keeper has sealed a batch, or begun a new log, since `logs` were read."""
        return _positions(logs_of(self._subsystem_dir)) != _positions(logs)

    def all_read_that_was_durable(self, logs: Sequence[Log]) -> bool:
        """Whether, after many rounds, all records are read that were durable when the reading began."""
        self._rounds += 1
        consumed = _consumed(logs)
        return self._rounds > _MAX_ROUNDS and all(
            consumed.get(name, 0) >= size or not disk.exists(self._subsystem_dir.spool / f"{name}.seg")
            for name, size in self._sizes_at_start.items()
        )


def _positions(logs: Sequence[Log]) -> list[tuple[str, int, str]]:
    return [(log.name, log.newest, log.log_dir.path.name) for log in logs]


def _consumed(logs: Sequence[Log]) -> Mapping[str, int]:
    """Find the offsets in the newest head; a log that follows another inherits them."""
    return logs[-1].sealed.consumed if logs and logs[-1].sealed is not None else {}


def _numbers(manifest: Manifest) -> Iterator[tuple[str, int]]:
    """Yield writer and sequence number of each record, in the order of the records."""
    return ((writer, seq) for writer, _, first, last in manifest.sources for seq in range(first, last + 1))


def _size(subsystem_dir: SubsystemDir, name: SegmentName) -> int:
    with suppress(OSError):
        return disk.status(subsystem_dir.spool / name.file_name).st_size
    return 0
