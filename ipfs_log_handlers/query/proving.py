"""Find the one sealed record that should be proved: by its content, or by its sequence number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ipfs_log_handlers.errors import ConfigurationError, RecordError, RecordErrorKind
from ipfs_log_handlers.format.moment import micros
from ipfs_log_handlers.query.filters import Filter, TimeBounds
from ipfs_log_handlers.query.merge import Match, Matcher
from ipfs_log_handlers.query.plan import Stats
from ipfs_log_handlers.reader.lines import record_of, seq_of
from ipfs_log_handlers.reader.parts import Part, Source

__all__ = ["Place", "Prover", "Proving", "lines_with_seq", "places_of_seq", "the_only"]

_NAMING: Final = ("subsystem", "time", "pid", "seq")
"""The keys by which a record is found; the others are compared."""
_SHOWN: Final = 8
"""Places that an error lists."""


@dataclass(frozen=True, slots=True)
class Place:
    """A record that was found, and where."""

    source: Source
    """The source that has it."""
    part: Part
    """Its batch, or the segment of the spool in which it waits."""
    number: int
    """Its number in the batch."""
    line: bytes
    """Its stored JSON."""

    @property
    def text(self) -> str:
        """The process and the place, for people."""
        record = record_of(self.line, self.part.subsystem)
        process = f"pid {record.get('pid', '?')} at {record.get('time', '?')}"
        if not self.part.sealed:
            return f"{process}: not sealed yet"
        manifest = self.part.manifest()
        name = f"batch {self.part.index}" if manifest is None else manifest.cid.text
        return f"{process}: {name}/{self.number}"


Prover = Callable[[Source, str, int, int], bytes]
"""Makes the bundle of a record: its source, its log, the numbers of its batch and of the record in the batch."""


class Proving:
    """The method of a dataset that proves a record."""

    sources: tuple[Source, ...]
    _prover: Prover | None

    def prove(self, record: Mapping[str, Any] | Match) -> bytes:
        """Make the bundle that proves one record, which `check` reads without a home and without a network.

        The bundle reveals the record, the manifest of its batch (numbers, times, and the metadata of the batch), and no
        other record. Filters and limits of the dataset have no effect.

        Args:
            record: the record, as the dataset yields it, or a `Match`. A record is found by its `subsystem`, `time`,
                `pid` and `seq`; all its other keys must be as they were logged, too, but `select` may have left some
                out.

        Raises:
            RecordError: no sealed batch has the record; it is in the spool and not sealed yet; or more than one place
                has exactly this record. `kind` says which.
            ConfigurationError: the record has not the four keys.
            VerificationError: its batch is damaged, or no head that is trusted leads to it.
            StoreUnavailable: no store has the payload of the batch.
        """
        if self._prover is None:
            raise ConfigurationError("this dataset cannot prove a record; open it with open_dataset")
        wanted = record.record if isinstance(record, Match) else record
        missing = [name for name in _NAMING if name not in wanted]
        if missing:
            raise ConfigurationError(
                f"a record is found by {', '.join(_NAMING)}: it has no {' and no '.join(missing)}",
                where="prove",
                hint="If `select` left them out, select them, too.",
            )
        places = list(_places_of(self.sources, wanted))
        if isinstance(record, Match) and len(places) > 1:
            place = (record.log, record.batch, record.number)
            places = [each for each in places if (each.part.log, each.part.index, each.number) == place] or places
        found = the_only(places, f"record {wanted['seq']!a} of process {wanted['pid']!a} in {wanted['subsystem']}")
        return self._prover(found.source, found.part.log, found.part.index, found.number)


def the_only(places: Sequence[Place], what: str) -> Place:
    """Return the only place that a record has.

    Args:
        places: the places that were found.
        what: the record, for the error.

    Raises:
        RecordError: there is none, there are several, or it is in no batch yet.
    """
    if not places:
        raise _error("missing", f"no {what}", hint="`ipfs-logs query` finds records, and `ipfs-logs ls` lists batches.")
    if len(places) > 1:
        listed = "; ".join(place.text for place in places[:_SHOWN])
        more = f"; and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        raise _error(
            "several",
            f"{len(places)} records are {what}: {listed}{more}",
            hint="Choose one: by its process, or as CID/N.",
        )
    if not places[0].part.sealed:
        raise _error(
            "unsealed",
            f"{what} is in no batch yet: only a sealed record can be proved",
            hint="Seal it first: `ipfs-logs ship`, or flush() of the handler.",
        )
    return places[0]


def _error(kind: RecordErrorKind, message: str, *, hint: str) -> RecordError:
    error = RecordError(message, hint=hint)
    error.kind = kind
    return error


def _places_of(sources: Sequence[Source], wanted: Mapping[str, Any]) -> Iterator[Place]:
    """Yield each place of a record once; a copy of the same log in another source is the same place."""
    subsystem, moment = wanted["subsystem"], wanted["time"]
    at = micros(moment) if isinstance(moment, str) else None
    chosen = Filter() if at is None else Filter(time=TimeBounds(at, at + 1))
    seen: set[tuple[str, int, int, int]] = set()
    for source in sources:
        if subsystem not in source.subsystems():
            continue
        matcher = Matcher(chosen, Stats())
        for part in source.parts(subsystem):
            if matcher.planner.refusal(part) is not None:
                continue
            for match in matcher.matches(part, 0, _read_by_line):
                key = (part.log, part.index, part.number, match.number)
                if key not in seen and seq_of(match.line) == wanted["seq"] and _agrees(match.record, wanted):
                    seen.add(key)
                    yield Place(source, part, match.number, match.line)


def _read_by_line(_: Part) -> None:
    """Let each line be read: a part that cannot be read is then reported as a gap."""


def _agrees(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in record and record[key] == value for key, value in wanted.items())


def places_of_seq(
    source: Source, subsystem: str, seq: int, pid: int | None, progress: Callable[[int, int], None]
) -> Iterator[Place]:
    """Yield each record of a subsystem with a sequence number; manifests say which batches can have it.

    Args:
        source: the source.
        subsystem: name of the subsystem.
        seq: the number; each process counts from 1.
        pid: only the record of this process; `None`: of any.
        progress: called with the number of parts that were looked at, and of all.
    """
    parts = source.parts(subsystem)
    for part, number, line in lines_with_seq(parts, seq, pid, progress):
        yield Place(source, part, number, line)


def lines_with_seq(
    parts: Sequence[Part], seq: int, pid: int | None, progress: Callable[[int, int], None]
) -> Iterator[tuple[Part, int, bytes]]:
    """Yield each record with a sequence number: its part, its number in that, and its stored JSON.

    Args:
        parts: the parts of one subsystem; manifests say which batches can have it.
        seq: the number; each process counts from 1.
        pid: only the record of this process; `None`: of any.
        progress: called with the number of parts that were looked at, and of all.
    """
    for looked, part in enumerate(parts):
        progress(looked, len(parts))
        manifest = part.manifest() if part.sealed else None
        if manifest is not None and not any(
            first <= seq <= last and pid in (None, process) for _, process, first, last in manifest.sources
        ):
            continue
        for number, line in enumerate(part.lines()):
            if seq_of(line) == seq and pid in (None, record_of(line, part.subsystem).get("pid")):
                yield part, number, line
    progress(len(parts), len(parts))
