"""Convert the records of a dataset to Arrow tables and data frames. The libraries are imported when they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query import extras
from ipfs_log_handlers.query.columns import LayoutBuilder
from ipfs_log_handlers.query.filters import Filter
from ipfs_log_handlers.query.merge import Match
from ipfs_log_handlers.query.plan import Plan, Planner, Stats
from ipfs_log_handlers.query.tables import ALL_SUBSYSTEMS, MatchReader, MatchTable, PartReader, PartTable, Table
from ipfs_log_handlers.reader.parts import Part, Reads

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from ipfs_log_handlers.query.sql import Session
    from ipfs_log_handlers.query.sql_answer import SqlAnswer, SqlLimits, SqlSession

__all__ = ["Frames", "records_from"]

_ROWS: Final = 10_000
"""Default number of records of a batch."""
_MAX_HELD_BYTES: Final = 64 << 20
"""Bytes of records that are kept between the two readings; further records are read twice."""
_BYTES_OF_MATCH: Final = 300
"""Approximate bytes of memory of a record, besides its line."""


class Frames(ABC):
    """The methods of a dataset for other libraries."""

    _fields: tuple[str, ...] | None

    _filter: Filter

    @property
    @abstractmethod
    def _is_filter_alone(self) -> bool:
        """Whether the records are exactly the matches of the filter: no limit, and no neighbours."""

    @abstractmethod
    def _parts(self, reads: Reads | None = None) -> list[Part]:
        """List the parts to read."""

    @abstractmethod
    def _matches_of(self, parts: list[Part], stats: Stats, check: Callable[[], None] | None = None) -> Iterator[Match]:
        """Yield the matching records of these parts; call `check` before each part is read."""

    @abstractmethod
    def selected(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a record that `select` keeps."""

    def to_batches(self, rows: int = _ROWS) -> pa.RecordBatchReader:
        """Return a stream of Arrow record batches: iterate over it, or pass it to DuckDB, Polars or a Parquet writer.

        The columns are `time` (in UTC, with microseconds), `subsystem`, `level`, `logger`, `event`, then one for each
        field of the records, then `exception`, `stack`, `pid`, `seq`, and `fields`. If all values of a field have one
        type, its column has this type (whole and other numbers together: double); otherwise its column is JSON text.
        `fields` has the values that fit into no column, as a JSON object: null that was logged, a name that differs
        from another only by case, and the fields after the first 500. A null is a field that the record does not have.
        After `select`, the columns are only the chosen fields.

        The records are read once to determine the columns and a second time to make the batches; up to 64 MiB of them
        are kept in between. Only these, one batch, and the records of overlapping batches are in memory at a time.
        Records that are logged during this time are left out.

        Args:
            rows: largest number of records of a batch.

        Raises:
            ConfigurationError: pyarrow is not installed.
            VerificationError, StoreUnavailable: as for iteration; also while the stream is read.
        """
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ConfigurationError("not a number of records", where="rows", expected="1 or more", found=rows)
        pyarrow = extras.load("pyarrow", "to_batches")
        from ipfs_log_handlers.query import arrow

        parts = self._parts()
        builder = LayoutBuilder(self._fields)
        held: list[Match] | None = []
        size = 0
        first_reading = self._matches_of(parts, Stats())
        while some := list(islice(first_reading, _ROWS)):
            builder.add([self.selected(match.record) for match in some])
            if held is not None:
                held += some
                size += sum(len(match.line) + _BYTES_OF_MATCH for match in some)
                held = held if size <= _MAX_HELD_BYTES else None
        layout = builder.layout()
        matches = iter(held) if held is not None else self._matches_of(parts, Stats())
        records = (self.selected(match.record) for match in matches)
        reader: pa.RecordBatchReader = pyarrow.RecordBatchReader.from_batches(
            arrow.schema_of(layout), arrow.batches_of(layout, records, rows)
        )
        return reader

    def to_arrow(self) -> pa.Table:
        """Return the records as an Arrow table, with the columns of `to_batches`; all of it is in memory.

        Raises:
            ConfigurationError: pyarrow is not installed.
            VerificationError, StoreUnavailable: as for iteration.
        """
        return self.to_batches().read_all()

    def to_pandas(self) -> pd.DataFrame:
        """Return the records as a pandas data frame, with the columns of `to_batches` and Arrow's types.

        So a whole number stays a whole number if other records do not have the field (`NA`).

        Raises:
            ConfigurationError: pandas or pyarrow is not installed.
            VerificationError, StoreUnavailable: as for iteration.
        """
        pandas = extras.load("pandas", "to_pandas")
        frame: pd.DataFrame = self.to_arrow().to_pandas(types_mapper=pandas.ArrowDtype)
        return frame

    def to_polars(self) -> pl.DataFrame:
        """Return the records as a Polars data frame, with the columns of `to_batches`.

        Raises:
            ConfigurationError: polars or pyarrow is not installed.
            VerificationError, StoreUnavailable: as for iteration.
        """
        polars = extras.load("polars", "to_polars")
        frame: pl.DataFrame = polars.from_arrow(self.to_arrow())
        return frame

    # -- SQL

    def to_duckdb(self, connection: Any, name: str = "logs") -> None:
        """Let a DuckDB connection read the records as a view; its conditions decide which batches are read.

        The view has the columns of `to_batches`, those with JSON text as DuckDB's type JSON. All records are read once
        to find the columns. Each query reads the records that are durable when it begins; a later value that fits into
        no column is in `fields`. The rows have no order: write `ORDER BY time`.

        Args:
            connection: an open connection of DuckDB.
            name: the name of the view; an existing view is replaced.

        Raises:
            ConfigurationError: duckdb or pyarrow is not installed.
            VerificationError, StoreUnavailable: as for iteration. Later queries raise an error of DuckDB with the text.
        """
        extras.load("duckdb", "to_duckdb")
        extras.load("pyarrow", "to_duckdb")
        from ipfs_log_handlers.query.views import View

        def table() -> Table:
            if self._is_filter_alone:
                return self._part_table(PartReader(self._parts(), self._filter, Stats()), None)
            return self._match_table(MatchReader(partial(self._matches_of, self._parts(), Stats())), None)

        whole = table()
        connection.register(name, View(table, whole.layout(range(len(whole.facts))), grows=False))

    def sql(self, query: str, *, stats: Stats | None = None, timezone: str | None = "UTC") -> pa.Table:
        """Answer a query in the SQL of DuckDB; return the rows as an Arrow table.

        Each subsystem is a table with its name, and the table `logs_all` has the records of all subsystems. The tables
        have the records that match the filter of this dataset. The columns are those of `to_batches`, for the records
        that the query reads. Conditions on `time`, `level`, `logger` and `subsystem` choose the batches that are read.
        The rows have no order: write `ORDER BY time`.

        The query has the rights of this process, and may read and write files: do not run the SQL of other people with
        this method.

        Args:
            query: the SQL.
            stats: counts what is read; each batch once.
            timezone: the timezone in which SQL sees days and hours; `None`: that of this machine.

        Raises:
            ConfigurationError: the SQL is wrong, the timezone is unknown, the dataset has chosen fields, or duckdb or
                pyarrow is not installed.
            VerificationError, StoreUnavailable: as for iteration.
        """
        with self._session(stats, timezone) as session:
            return session.run(query, _as_table)

    def explain_sql(self, query: str, *, timezone: str | None = "UTC") -> Plan:
        """Return the batches that a query in SQL reads, with reasons and bytes; its answer is not computed.

        Conditions on `time`, `level`, `logger` and `subsystem` skip batches. A batch that is left may still be skipped
        by a join, whose values are not known before it runs. To understand the names of fields, the newest batch of
        each subsystem is read; all batches are read if a name is known in no other way.

        Args:
            query: one SELECT.
            timezone: the timezone in which SQL sees days and hours; `None`: that of this machine.

        Raises:
            ConfigurationError: as for `sql`, or the query is no single SELECT.
            VerificationError, StoreUnavailable: as for iteration.
        """
        self._check_no_fields()
        stats = Stats()
        parts = self._parts(stats)
        tables = self._part_tables(PartReader(parts, self._filter, stats), parts)
        with self._session_of(tables, timezone) as session:
            scans = session.explain(query)
        read: set[int] = set()
        reasons: dict[int, str] = {}
        for name, looks in scans.items():
            for part in () if looks or not self._is_filter_alone else tables[name].parts:
                read.add(id(part))
            for look in looks:
                for part, reason in zip(tables[name].parts, map(look.get, range(len(look))), strict=True):
                    if reason is None:
                        read.add(id(part))
                    else:
                        reasons.setdefault(id(part), reason)

        def refusal(part: Part) -> str | None:
            return None if id(part) in read or not self._is_filter_alone else reasons.get(id(part), "subsystem")

        return Planner(self._filter).plan(parts, stats, refusal)

    def sql_untrusted(self, query: str, limits: SqlLimits | None = None, *, stats: Stats | None = None) -> SqlAnswer:
        """Answer a SELECT of another person in a limited child process.

        The query can read the tables of `sql`, but no file, network, environment or variable of this program. It can
        change nothing. The child is killed when it exceeds the limits. Days and hours are those of UTC. The child takes
        a fraction of a second to start. The limit on memory needs a system that enforces `RLIMIT_AS`, as Linux does;
        `SqlAnswer.kernel_limits` says whether the kernel, too, refused files and network.

        Args:
            query: one SELECT.
            limits: the limits of the child.
            stats: counts what is read.

        Raises:
            ConfigurationError: the query is wrong, is not a single SELECT, or exceeds the limits; the dataset has
                chosen fields; or duckdb or pyarrow is not installed.
            VerificationError, StoreUnavailable: as for iteration.
        """
        self._check_no_fields()
        from ipfs_log_handlers.query.locked_sql import run_locked
        from ipfs_log_handlers.query.sql_answer import SqlLimits

        return run_locked(self.sql_tables(stats or Stats()), query, limits or SqlLimits())

    def sql_session(self, *, stats: Stats | None = None, timezone: str | None = "UTC") -> SqlSession:
        """Open a session for several queries over the records that are durable now. Use it as a context manager.

        Args:
            stats: counts what is read.
            timezone: the timezone in which SQL sees days and hours; `None`: that of this machine.

        Raises:
            ConfigurationError: the timezone is unknown, the dataset has chosen fields, or a library is not installed.
        """
        return self._session(stats, timezone)

    def _session(self, stats: Stats | None, timezone: str | None) -> Session:
        self._check_no_fields()
        return self._session_of(self.sql_tables(stats or Stats()), timezone)

    def _session_of(self, tables: Mapping[str, Table], timezone: str | None) -> Session:
        extras.load("duckdb", "sql")
        extras.load("pyarrow", "sql")
        from ipfs_log_handlers.query.sql import Session

        return Session(tables, timezone=timezone)

    def _check_no_fields(self) -> None:
        if self._fields is not None:
            raise ConfigurationError("SQL chooses the columns by itself: leave out select", where="sql")

    def sql_tables(self, stats: Stats) -> dict[str, Table]:
        """Return the tables for SQL, by their names.

        Args:
            stats: counts what is read.
        """
        parts = self._parts(stats)
        stats.batches = len(parts)
        if self._is_filter_alone:
            return {**self._part_tables(PartReader(parts, self._filter, stats), parts)}
        all_of_them = MatchReader(partial(self._matches_of, parts, stats))
        return {name: self._match_table(all_of_them, subsystem) for name, subsystem in _subsystems_of(parts).items()}

    def _part_tables(self, reader: PartReader, parts: Sequence[Part]) -> dict[str, PartTable]:
        return {name: self._part_table(reader, subsystem) for name, subsystem in _subsystems_of(parts).items()}

    def _part_table(self, reader: PartReader, subsystem: str | None) -> PartTable:
        return PartTable(reader, subsystem, selected=self.selected, chosen=self._fields)

    def _match_table(self, reader: MatchReader, subsystem: str | None) -> Table:
        return MatchTable(reader, subsystem, selected=self.selected, chosen=self._fields)


def _subsystems_of(parts: Sequence[Part]) -> dict[str, str | None]:
    """Return the names of the tables, each with the subsystem that it has; `None`: all."""
    subsystems = dict.fromkeys(part.subsystem for part in parts)
    return {ALL_SUBSYSTEMS: None, **{name: name for name in subsystems if name != ALL_SUBSYSTEMS}}


def _as_table(relation: Any) -> pa.Table:
    """Return the rows of a relation of DuckDB; none for a statement without a result."""
    if relation is None:
        return extras.load("pyarrow", "sql").table({})
    return relation.to_arrow_table()


def records_from(table: Any) -> Iterator[dict[str, Any]]:
    """Yield the records of an Arrow table of a dataset, in the form of the iteration over the dataset.

    A null is a field that the record does not have. If a field has whole and other numbers, all become `float`.

    Args:
        table: a `pyarrow.Table` or `RecordBatch` with the columns, and the metadata of its columns, as `to_arrow` or
            `to_batches` made them; also one that was read from a Parquet or Arrow file of `export`.
    """
    extras.load("pyarrow", "records_from")
    from ipfs_log_handlers.query import arrow

    return arrow.records_from(table)
