"""Define Dataset, the records of one or several sources as a value to filter, iterate over and count.

A dataset contains no record and no open file. Each iteration reads its sources again: it yields the records that are
durable when it begins, in the order of time, log, batch and number, also while writers and a keeper are at work.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query.aggregates import Group, stated_matches
from ipfs_log_handlers.query.comparison import MISSING, value_at
from ipfs_log_handlers.query.counting import Counting
from ipfs_log_handlers.query.export import (
    TABLE_FORMS,
    csv_rows,
    export_form,
    json_line,
    write_export,
    write_table,
)
from ipfs_log_handlers.query.filters import Filter, Pattern
from ipfs_log_handlers.query.finding import Finding
from ipfs_log_handlers.query.frames import Frames
from ipfs_log_handlers.query.hiding import HiddenPart, Hiding
from ipfs_log_handlers.query.log_order import InLogOrder
from ipfs_log_handlers.query.merge import Match, Matcher, distinct_parts, merged, with_neighbours
from ipfs_log_handlers.query.plan import Plan, Planner, Stats
from ipfs_log_handlers.query.proving import Prover, Proving
from ipfs_log_handlers.query.stopping import Stopping
from ipfs_log_handlers.query.times import Moment, moment_of
from ipfs_log_handlers.query.where import Where
from ipfs_log_handlers.reader.dataset import Dataset as LogOrder
from ipfs_log_handlers.reader.parts import Part, Reads, Source

if TYPE_CHECKING:
    from ipfs_log_handlers.query.follow import Following
    from ipfs_log_handlers.query.history import AsOf, LogDifference
    from ipfs_log_handlers.query.verifying import LogReport, Verifier
    from ipfs_log_handlers.redaction.lines import LineRedaction

__all__ = ["Dataset", "Records"]


@dataclass(frozen=True)
class Dataset(Counting, Frames, Proving, Finding, Hiding, InLogOrder, Stopping):
    """The records of some sources that match a filter. Made by `open_dataset` and `Home.dataset`.

    Every method that narrows it returns a new dataset and reads no file. It may be used as a context manager: at the
    end connections to stores are closed; they are opened again when they are needed.
    """

    sources: tuple[Source, ...]
    """Where the records come from."""
    _filter: Filter = field(default_factory=Filter)
    _fields: tuple[str, ...] | None = None
    _limit: int | None = None
    _from_end: bool = False
    """Whether the limit keeps the newest records."""
    _descending: bool = False
    _context: int = 0
    """Number of records before and after each match that are also yielded."""
    _as_of: AsOf | None = None
    """The moment of the past at which the sources are looked at; `None`: now."""
    _redaction: LineRedaction | None = field(default=None, compare=False)
    """Hides values of the records; `None`: none is hidden."""
    _check: Callable[[], None] | None = field(default=None, compare=False)
    """Called before each batch is read; what it raises ends the reading."""
    _verifier: Verifier | None = field(default=None, compare=False)
    """Verifies all of a source."""
    _prover: Prover | None = field(default=None, compare=False)
    """Makes the bundle of a record."""
    _home: LogOrder | None = field(default=None, compare=False)
    """Reads one home in the order of its logs."""

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to stores; the dataset can still be used."""
        for source in self.sources:
            source.close()

    # -- narrow it

    def filter(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        level: str | int | None = None,
        logger: str | Iterable[str] | None = None,
        subsystem: str | Iterable[str] | None = None,
        where: Where | None = None,
        contains: str | Iterable[str] | None = None,
        event: str | Iterable[str] | None = None,
        include: Pattern | Iterable[Pattern] | None = None,
        exclude: Pattern | Iterable[Pattern] | None = None,
        timezone: dt.tzinfo | None = None,
    ) -> Dataset:
        """Keep the records that fulfil all conditions, beside those that were given before.

        Args:
            since: records of this time and later: a `datetime` (local, if it has no timezone), a `date`, seconds since
                1970, or text: `10m`, `2h`, `today`, `yesterday`, `09:30`, a date, RFC 3339.
            until: records before this time.
            level: this level and those above, by name or number. A level whose number is not known passes.
            logger: names of loggers, or globs such as `mcp.*`; `!name` leaves one out.
            subsystem: names of subsystems.
            where: conditions on fields: `{"status": 500}`, `{"latency_ms": {">": 100}}`, `{"user": ["mira", "tom"]}`,
                `{"request.path": re.compile("^/api")}`, text such as `status>=500`, a function of the record, or a list
                of these. A dot leads into a nested field.
            contains: texts that event, message or exception must all contain.
            event: names of events.
            include: regular expressions, each of which must be found in event, message or exception.
            exclude: regular expressions, none of which may be found there.
            timezone: what is local in `since` and `until`; `None`: the timezone of this machine.

        Raises:
            ConfigurationError: a condition is malformed, or the dataset has a limit already.
        """
        if self._limit is not None:
            raise ConfigurationError("this dataset has a limit already: call filter before limit")
        narrowed = self._filter.narrowed(
            now=time.time(),
            since=since,
            until=until,
            level=level,
            logger=logger,
            subsystem=subsystem,
            where=where,
            contains=contains,
            event=event,
            include=include,
            exclude=exclude,
            timezone=timezone,
        )
        return replace(self, _filter=narrowed)

    def select(self, *fields: str | Iterable[str]) -> Dataset:
        """Keep only these fields of each record, in this order; if a record has no such field, the key is missing.

        Args:
            fields: names, or one list of names; a dot names a member of an object.
        """
        names = [name for group in fields for name in ([group] if isinstance(group, str) else group)]
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigurationError("name at least one field", where="select", found=ascii(fields)[:80])
        return replace(self, _fields=tuple(dict.fromkeys(names)))

    def limit(self, n: int) -> Dataset:
        """Keep the first `n` records in the current order of the dataset; after `reverse()` these are the newest.

        Raises:
            ConfigurationError: not a number of records, or the dataset has a limit from its other end already.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ConfigurationError(
                "not a number of records", where="limit", expected="0 or more", found=ascii(n)[:80]
            )
        if self._limit is not None and self._from_end != self._descending and n < self._limit:
            raise ConfigurationError("the dataset has a limit from its other end already")
        least = n if self._limit is None else min(n, self._limit)
        from_end = self._descending if self._limit is None else self._from_end
        return replace(self, _limit=least, _from_end=from_end)

    def last(self, n: int) -> Dataset:
        """Keep the newest `n` records, oldest first."""
        newest = replace(self, _descending=True).limit(n)
        return replace(newest, _descending=self._descending)

    def reverse(self) -> Dataset:
        """Reverse the order of the records: the newest first."""
        return replace(self, _descending=not self._descending)

    def context(self, n: int) -> Dataset:
        """Also yield the `n` records before and after each match; `Match.is_context` marks them.

        They meet the conditions on time and subsystem, but need not meet the others. A limit counts only matches.

        Raises:
            ConfigurationError: not a number of records.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ConfigurationError("not a number of records", where="context", expected="0 or more", found=n)
        return replace(self, _context=n)

    def as_of(self, moment: Moment, *, timezone: dt.tzinfo | None = None) -> Dataset:
        """Look at the sources as they were: what a head stands for, or what was sealed by a time, never changes.

        Args:
            moment: the CID of a head block or manifest: the batches of its log up to that one, and nothing of other
                logs. Or a time, as for `filter`: of each log the batches that were sealed by then. A batch that a
                clock sealed in the past after one in the future counts as if it were sealed with that one or later.
            timezone: what is local in a time; `None`: the timezone of this machine.

        Raises:
            ConfigurationError: neither a head that a source has, nor a time.
            VerificationError: the head is of another history of a log.
            StoreError: the head cannot be got.
        """
        from ipfs_log_handlers.query.history import AsOfTime, head_cid_of, place_in_sources

        cid = head_cid_of(moment) if isinstance(moment, str) else None
        if cid is not None:
            return replace(self, _as_of=place_in_sources(cid, self.sources))
        return replace(self, _as_of=AsOfTime(moment_of(moment, now=time.time(), timezone=timezone)))

    def _with_redaction(self, redaction: LineRedaction) -> Dataset:
        if self._redaction is not None:
            raise ConfigurationError("this dataset hides values already: name all of them in one call", where="redact")
        return replace(self, _redaction=redaction)

    def concat(self, *others: Dataset) -> Dataset:
        """Return a dataset with the sources of all these datasets, merged by time, and the filter of this one."""
        sources = (source for other in others for source in other.sources)
        return replace(self, sources=(*self.sources, *sources), _home=None)

    # -- read it

    def __iter__(self) -> Records:
        """Yield each record as a mapping, with its subsystem, oldest first; each batch is verified before.

        Raises:
            ConfigurationError: no source has a subsystem of that name.
            VerificationError, StoreUnavailable: a batch cannot be read, and there is no `on_gap`.
        """
        return Records(self)

    def matches(self, stats: Stats | None = None) -> Iterator[Match]:
        """Yield each record with its place in its log and its stored JSON; `select` has no effect.

        Args:
            stats: counters of the reading.
        """
        stats = stats or Stats()
        return self._matches_of(self._parts(stats), stats, self._check)

    def _matches_of(self, parts: list[Part], stats: Stats, check: Callable[[], None] | None = None) -> Iterator[Match]:
        """Yield the matching records of these parts, as `matches` does; call `check` before each part is read."""
        matcher = Matcher(self._filter, stats, check or self._check)
        matcher.stats.batches = len(parts)
        if self._context:
            every = Matcher(replace(self._filter, conditions=()), matcher.stats, check or self._check)
            around = merged(parts, every, descending=self._taken_from_end)
            matches = with_neighbours(around, matcher.passes_match, self._context, self._limit)
        else:
            matches = islice(merged(parts, matcher, descending=self._taken_from_end), self._limit)
        return matches if self._taken_from_end == self._descending else reversed(list(matches))

    @property
    def _taken_from_end(self) -> bool:
        return self._descending if self._limit is None else self._from_end

    def diff(self, other: Dataset) -> tuple[LogDifference, ...]:
        """Say in which batches another dataset differs from this one, log by log; filters on records have no effect.

        Two homes, two copies of one log, or one log as of two heads may be compared: `added` is what only `other` has.
        """
        from ipfs_log_handlers.query.history import differences_of

        return differences_of(self._parts(), other._parts())

    def verify(
        self,
        *,
        deep: bool = True,
        since: Moment | None = None,
        sample: int | None = None,
        memory: bool | str | Path = False,
        progress: Callable[[str, int, int], None] | None = None,
        beside: Sequence[Dataset] = (),
    ) -> tuple[LogReport, ...]:
        """Verify every log of the sources: its chain up to the signed checkpoint, and the batches.

        Args:
            deep: verify the records, too: their tree, counts, statistics and metadata. Without it, their blocks are
                hashed. The records of a home are always verified.
            since: only the payloads of batches with a record of this time or later; every manifest is verified.
            sample: only the payloads of so many batches of each log, drawn at random, and of the newest one.
            memory: the directory of remembered heads; `True`: the default one. The head of each log must continue the
                remembered one, and is remembered.
            progress: called with the subsystem, the number of checked batches, and the number of all to be checked.
            beside: datasets that are not verified here. Acts in their logs count, as those in the other sources of this
                dataset: an act may give up payloads, or destroy keys, of an earlier log.

        Returns:
            A report for each log, whose `result` says whether all is as it was signed, and whose `problems` say what is
            not. `as_of` and filters have no effect but that on the subsystem.

        Raises:
            LogStoreError: a source cannot be read at all, or nobody who is trusted has signed it.
            OSError: the memory cannot be written.
        """
        if self._verifier is None:
            raise ConfigurationError("this dataset cannot be verified; open it with open_dataset")
        wanted = self._filter.subsystems
        micros = None if since is None else moment_of(since, now=time.time())
        reports: list[LogReport] = []
        around = [source for dataset in (self, *beside) for source in dataset.sources]
        for source in self.sources:
            reports += self._verifier(
                source,
                subsystems=None if wanted is None else sorted(wanted),
                deep=deep,
                since=micros,
                sample=sample,
                memory=memory,
                progress=progress,
                beside=[other for other in around if other is not source],
            )
        return tuple(reports)

    @property
    def _is_filter_alone(self) -> bool:
        return self._limit is None and not self._context

    def explain(self) -> Plan:
        """Return the batches that must be read, with reasons and bytes; no payload is read."""
        reads = Reads()
        return Planner(self._filter).plan(self._parts(reads), reads)

    def _parts(self, reads: Reads | None = None) -> list[Part]:
        wanted = self._filter.subsystems
        known: dict[str, None] = {}
        parts: list[Part] = []
        for source in self.sources:
            for name in source.subsystems():
                known[name] = None
                if wanted is None or name in wanted:
                    own = source.parts(name, reads)
                    parts += own if self._as_of is None else self._as_of.kept(own)
        unknown = sorted((wanted or frozenset()) - set(known))
        if unknown:
            raise ConfigurationError(
                f"no subsystem {', '.join(map(repr, unknown))}; there are: {', '.join(sorted(known)) or 'none'}"
            )
        listed = distinct_parts(parts) if len(self.sources) > 1 else parts
        return listed if self._redaction is None else [HiddenPart(part, self._redaction) for part in listed]

    def selected(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a record that `select` keeps."""
        if self._fields is None:
            return record
        return {name: value for name in self._fields if (value := value_at(record, name)) is not MISSING}

    def _groups(self, path: str | None) -> Iterator[Group]:
        """Yield the parts that must be counted, each with the counts in its manifest, if there are any."""
        if self._limit is not None:
            yield Group(None, None, lambda: list(self.matches()))
            return
        matcher = Matcher(self._filter, Stats(), self._check)
        for ordinal, part in enumerate(self._parts(matcher.stats)):
            if matcher.planner.refusal(part) is None:
                counts = stated_matches(part, path, self._filter) if matcher.planner.is_covered(part) else None
                yield Group(part, counts, partial(matcher.matches, part, ordinal))

    # -- send it on

    def export(self, path: str | Path, *, progress: Callable[[int], None] | None = None) -> int:
        """Write the records to a file, by its ending; return their number.

        The endings are `.jsonl`, `.jsonl.zst`, `.csv`, `.parquet` and `.arrow`. The file has its name once it is whole
        and on the disk; one of that name is replaced. CSV has the chosen fields as columns, else the usual keys and all
        further fields as JSON in a last one; Parquet and Arrow have the columns of `to_batches`, which
        `records_from` makes records of.

        Args:
            path: the file.
            progress: called with the number of records that are written so far.

        Raises:
            ConfigurationError: another ending, or pyarrow is not installed and the ending needs it.
            OSError: the file cannot be written; nothing is left behind.
        """
        target = Path(path)
        form = export_form(target)
        title = b""
        if form in TABLE_FORMS:
            parquet = form == "parquet"
            return write_table(target, self.to_batches(), parquet=parquet, on_row=progress or _ignore)
        if form == "csv":
            rows = csv_rows(self, self._fields)
            title = next(rows)
        elif self._fields is None:
            rows = (match.json + b"\n" for match in self.matches())
        else:
            rows = (json_line(record) for record in self)
        return write_export(target, rows, title=title, compress=form == "jsonl.zst", on_row=progress or _ignore)

    # -- go on

    def follow(self, cursor: str | None = None, *, last: int = 0, poll_seconds: float = 0.1) -> Following:
        """Yield the records that pass as they are logged, without end: `for` and `async for` both wait for the next.

        Each record comes once, whatever keepers, restarts and new subsystems do meanwhile: in the order of its log, and
        over several subsystems as it is found. `select` has effect, a limit has none. Homes and names are followed: of
        a name, the batches of each new head.

        Args:
            cursor: where an earlier one had come to (`Following.cursor`); `None`: begin now.
            last: without a cursor, how many of the newest records come first.
            poll_seconds: seconds between two checks of files whose changes the system does not report.

        Raises:
            ConfigurationError: a source is neither a home nor a name, or the dataset is of the past.
            VerificationError: while reading: no key that is trusted has signed the head of a name, or its log has two
                histories.
            FormatError: the cursor is malformed.
        """
        if self._as_of is not None:
            raise ConfigurationError("the past does not go on: leave out as_of, or follow", where="as_of")
        from ipfs_log_handlers.query.follow import Following

        return Following(
            self,
            self._filter,
            cursor,
            last=last,
            poll_seconds=poll_seconds,
            redaction=self._redaction,
            check=self._check,
        )


def _ignore(_: int) -> None:
    """Take a number and do nothing."""


class Records(Iterator[dict[str, Any]]):
    """One reading of a dataset. `stats` has the counters so far."""

    def __init__(self, dataset: Dataset) -> None:
        self.stats = Stats()
        """Batches, records and bytes that were read."""
        self._entries = dataset.matches(self.stats)
        self._selected = dataset.selected

    def __next__(self) -> dict[str, Any]:
        return self._selected(next(self._entries).record)
