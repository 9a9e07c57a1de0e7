"""Find one record or one batch of a dataset, and describe its logs, whatever its sources are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.errors import ConfigurationError, LogStoreError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.query.filters import Filter
from ipfs_log_handlers.query.merge import Match
from ipfs_log_handlers.query.proving import lines_with_seq
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, LAST_MOMENT, Part, Reads, Source, time_of

if TYPE_CHECKING:
    from ipfs_log_handlers.redaction.lines import LineRedaction

__all__ = ["Finding", "LogSummary", "SealedBatch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSummary:
    """One log of a dataset. Times are RFC 3339 in UTC."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log; empty before the first batch."""
    batches: int
    """Number of batches that the sources have."""
    records: int
    """Records in them."""
    waiting: int
    """Records that are in no batch yet, as far as their number is known without reading them."""
    bytes: int
    """Bytes of the batches and of the lines that wait, as they are stored."""
    first: str | None
    """Time of the first record; `None`: not known."""
    last: str | None
    """Time of the last record; `None`: not known."""
    head: str | None
    """CID of the newest manifest; `None`: there is no batch, or its manifest cannot be read."""
    sealed: str | None
    """Time at which the newest batch was sealed; `None` as for `head`."""

    def as_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch:
    """One batch, as its manifest describes it. Times are RFC 3339 in UTC."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log."""
    index: int
    """Number of the batch in its log, from 0."""
    cid: str
    """CID of the manifest."""
    prev: str | None
    """CID of the manifest before it; `None` for the first."""
    payload: str
    """CID of the payload."""
    encoding: str
    """`jsonl+zstd` for records, `unixfs` for an archive."""
    records: int
    """Number of records; 0 for an archive."""
    first: str
    """Time of the first record."""
    last: str
    """Time of the last record."""
    sealed: str
    """Time at which it was sealed."""
    size: int
    """Bytes of the payload."""
    raw: int
    """Bytes of the lines before compression."""
    dropped: Mapping[str, int]
    """Number of records that were lost since the previous batch, by reason."""
    sources: Sequence[Sequence[Any]]
    """Runs of its records: writer, process id, first and last sequence number."""
    meta: Mapping[str, Any]
    """Metadata of the batch, as its subsystem defines it."""
    stats: Mapping[str, Any]
    """Its zone map: levels, loggers, events, and values of fields."""

    def as_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return members | {"sources": [list(run) for run in self.sources]}


class Finding(ABC):
    """The methods of a dataset that find one record or batch, and describe the logs."""

    sources: tuple[Source, ...]
    _filter: Filter
    _redaction: LineRedaction | None
    _check: Callable[[], None] | None

    @abstractmethod
    def _parts(self, reads: Reads | None = None) -> list[Part]:
        """List the parts to read."""

    def logs(self) -> tuple[LogSummary, ...]:
        """Describe each log of the chosen subsystems, in the order of their names; other conditions have no effect.

        Index pages and the newest manifest of each log are read, and no record.
        """
        grouped: dict[tuple[str, str], list[Part]] = {}
        for part in self._parts():
            grouped.setdefault((part.subsystem, part.log), []).append(part)
        return tuple(_summary(*name, parts) for name, parts in sorted(grouped.items(), key=lambda item: item[0]))

    def batch_with_cid(self, cid: str) -> SealedBatch | None:
        """Find the batch whose manifest, head block or, in a home, payload has a CID; filters have no effect.

        Returns:
            `None` if no source has it, or its manifest cannot be read.

        Raises:
            FormatError: the text is not a CID.
            LogStoreError: a source cannot be read, and no other source has the batch.
        """
        part = self._part_with_cid(cid)
        manifest = None if part is None else part.manifest()
        return None if part is None or manifest is None else self._described(part, manifest)

    def batch_of(self, match: Match) -> SealedBatch | None:
        """Find the batch in which a match of these sources stands.

        Returns:
            `None` if it is in no batch, or its batch is not there any more, or the manifest cannot be read.

        Raises:
            LogStoreError, OSError: the batches cannot be listed.
        """
        for part in self._parts():
            if part.sealed and (part.log, part.index) == (match.log, match.batch):
                manifest = part.manifest()
                return None if manifest is None else self._described(part, manifest)
        return None

    def record_at(self, cid: str, number: int) -> Match | None:
        """Return one record of a batch, after all of the batch was verified; filters have no effect.

        Args:
            cid: as for `batch_with_cid`.
            number: number of the record in the batch, from 0.

        Returns:
            `None` if no source has the batch, or it has fewer records, or it is a gap.

        Raises:
            FormatError: the text is not a CID.
            LogStoreError: as for `batch_with_cid`; as for iteration, if the batch cannot be read.
        """
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ConfigurationError("not a number of a record", where="number", expected="0 or more", found=number)
        part = self._part_with_cid(cid)
        self._may_go_on()
        lines = iter(()) if part is None else part.lines()
        line = next(islice(lines, number, None), None)
        return None if part is None or line is None else _match(part, number, line)

    def records_with_seq(self, subsystem: str, seq: int, *, pid: int | None = None) -> tuple[Match, ...]:
        """Return the records of a subsystem with a sequence number, one for each process that has logged one.

        Args:
            subsystem: its name.
            seq: the number; each process counts from 1.
            pid: only the record of this process; `None`: of any.

        Raises:
            ConfigurationError: no source has the subsystem.
            LogStoreError: as for iteration.
        """
        parts = self._parts()
        chosen = [part for part in parts if part.subsystem == subsystem]
        if not chosen and not any(subsystem in source.subsystems() for source in self.sources):
            raise ConfigurationError("no source has this subsystem", where="subsystem", found=ascii(subsystem)[:80])
        return tuple(_match(*place) for place in lines_with_seq(chosen, seq, pid, self._may_go_on))

    def hidden(self, value: Any) -> Any:
        """Return a JSON value as `redact` would show it in a record; the value itself without `redact`."""
        return value if self._redaction is None else self._redaction.in_value(value)

    def hidden_match(self, match: Match) -> Match:
        """Return a match of the same sources as this dataset shows it, with what `redact` hides."""
        return match if self._redaction is None else match._replace(line=self._redaction.in_line(match.line))

    def _may_go_on(self, *_: int) -> None:
        """Call the check of `stopped_by`, whose error ends the reading."""
        if self._check is not None:
            self._check()

    def _part_with_cid(self, text: str) -> Part | None:
        cid = Cid.from_user(text)
        failure: LogStoreError | None = None
        for source in self.sources:
            try:
                place = source.place_of(cid)
            except LogStoreError as error:
                failure = error
                continue
            if place is not None:
                return next((part for part in self._parts() if part.sealed and (part.log, part.index) == place), None)
        if failure is not None:
            raise failure
        return None

    def _described(self, part: Part, manifest: Manifest) -> SealedBatch:
        return SealedBatch(
            subsystem=part.subsystem,
            log=manifest.log,
            index=manifest.index,
            cid=manifest.cid.text,
            prev=None if manifest.prev is None else manifest.prev.text,
            payload=manifest.payload.text,
            encoding=manifest.encoding,
            records=manifest.records,
            first=rfc3339(manifest.first),
            last=rfc3339(manifest.last),
            sealed=rfc3339(manifest.sealed),
            size=manifest.size,
            raw=manifest.raw,
            dropped=dict(manifest.dropped),
            sources=manifest.sources,
            meta=self.hidden(dict(manifest.meta)),
            stats=self.hidden(dict(manifest.stats)),
        )


def _match(part: Part, number: int, line: bytes) -> Match:
    return Match(
        time_of(line) or part.first, part.log, part.index, part.number, number, part.subsystem, line, False, part.origin
    )


def _summary(subsystem: str, log: str, parts: Sequence[Part]) -> LogSummary:
    batches = [part for part in parts if part.sealed]
    newest = max(batches, key=lambda part: part.index, default=None)
    manifest = None if newest is None else newest.manifest()
    return LogSummary(
        subsystem=subsystem,
        log=log,
        batches=len(batches),
        records=sum(part.records for part in batches),
        waiting=sum(part.records for part in parts if not part.sealed),
        bytes=sum(part.size for part in parts),
        first=_time(min((part.first for part in parts if part.first != FIRST_MOMENT), default=FIRST_MOMENT)),
        last=_time(max((part.last for part in parts if part.last != LAST_MOMENT), default=LAST_MOMENT)),
        head=None if manifest is None else manifest.cid.text,
        sealed=None if manifest is None else rfc3339(manifest.sealed),
    )


def _time(moment: bytes) -> str | None:
    return None if moment in (FIRST_MOMENT, LAST_MOMENT) else moment.decode("ascii", "replace")
