"""Answer SQL over the records of a dataset with DuckDB. This module needs DuckDB and pyarrow.

Each subsystem is a view with the name of the subsystem; the view `logs_all` has the records of all subsystems. A view
has the columns of the records that a query reads, so that no other batch must be read to find columns. So a query may
run several times: first with the common columns; then with the columns of the batches that can meet its conditions;
when DuckDB misses a column, with the columns of the newest batches, and then with those of all batches. An answer is
used only if further columns cannot change it. Otherwise all batches are read for their columns.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import duckdb

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query import sql_words
from ipfs_log_handlers.query.columns import COMMON, REST, Kind, Layout
from ipfs_log_handlers.query.sql_answer import SqlAnswer, answer_of
from ipfs_log_handlers.query.tables import Table
from ipfs_log_handlers.query.views import EmptyView, View

__all__ = ["Session", "refusal_of"]

_PAUSE_S: Final = 0.05
"""Seconds between two checks for Ctrl-C, and between two attempts to interrupt DuckDB."""
_NEEDS_ALL: Final = frozenset(
    {"columns", "describe", "duckdb_columns", "information_schema", "natural", "pragma_table_info", "summarize"}
)
"""Words that make the answer of a query depend on columns which the query does not name."""
Result = TypeVar("Result")


class Session:
    """A connection to a database in memory, in which a query can read tables.

    Args:
        tables: the tables by their names.
        timezone: the timezone in which SQL sees days and hours; `None`: that of this machine.
        connection: a connection that is used and left open; else a new one, whose large intermediate results go to
            temporary files.
    """

    def __init__(self, tables: Mapping[str, Table], *, timezone: str | None = None, connection: Any = None) -> None:
        self._tables = tables
        self._left = ExitStack()
        self._stopped = False
        try:
            self._connection = self._new_connection() if connection is None else connection
            if timezone is not None:
                self._set_timezone(timezone)
        except BaseException:
            self._left.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    def _new_connection(self) -> Any:
        directory = self._left.enter_context(tempfile.TemporaryDirectory(prefix="ipfs-logs-sql-"))
        connection = self._left.enter_context(duckdb.connect(config={"temp_directory": directory}))
        connection.execute("SET enable_progress_bar = false")  # it would be drawn on stdout
        return connection

    def _set_timezone(self, timezone: str) -> None:
        try:
            self._connection.execute("SET TimeZone = ?", [timezone])
        except duckdb.Error as error:
            raise ConfigurationError(
                "no such timezone", where="timezone", expected="a name such as UTC or Europe/Vienna", found=timezone
            ) from error

    @property
    def names(self) -> list[str]:
        """The names of the views."""
        return list(self._tables)

    def layout(self, name: str) -> Layout:
        """Return the columns of all records of a view; this reads all records."""
        table = self._tables[name]
        return table.layout(range(len(table.facts)))

    def schema(self, name: str) -> list[tuple[str, str]]:
        """Return each column of a view with its type; this reads all records."""
        columns = self.run(f'DESCRIBE "{name}"', _fetched)
        return [(column, kind) for column, kind, *_ in columns]

    def is_complete(self, text: str) -> bool:
        """Say whether a text ends with the `;` of a statement, and not inside a text or a comment."""
        return sql_words.ends_a_statement(text)

    def answer(self, query: str) -> SqlAnswer | None:
        """Run SQL; return the answer of the last statement as plain values, `None` for a statement without one.

        Args:
            query: one statement, or several.

        Raises:
            ConfigurationError: the SQL is wrong, or it cannot be answered; the message is DuckDB's.
            VerificationError, StoreUnavailable: as for iteration over the dataset.
        """
        return self.run(query, answer_of)

    def run(self, query: str, fetch: Callable[[Any], Result]) -> Result:
        """Run SQL, and take its result.

        Args:
            query: one statement, or several, of which the last one has the result.
            fetch: reads a relation of DuckDB, or `None` from a statement without a result. It may be called again, when
                the columns were others.

        Raises:
            ConfigurationError: the SQL is wrong, or it cannot be answered; the message is DuckDB's.
            VerificationError, StoreUnavailable: as for iteration over the dataset.
        """
        try:
            statements = self._connection.extract_statements(query)
        except duckdb.Error as error:
            raise refusal_of(error) from error
        if not statements:
            raise ConfigurationError("there is no SQL", where="SQL")

        def run_all() -> Result:
            for statement in statements[:-1]:
                self._run(statement, _nothing)
            return self._run(statements[-1], fetch)

        return self._interruptible(run_all)

    def explain(self, query: str) -> dict[str, list[dict[int, str | None]]]:
        """Say which parts of the tables a SELECT reads; only parts that show what its columns are, are read for it.

        DuckDB runs the query over tables without rows, and its conditions on them are noted.

        Returns:
            For each table that the query names, or reads through a view, its scans: each part with the column whose
            condition no row of it meets; `None`: the part is read. No scan: DuckDB did not come to that table.

        Raises:
            ConfigurationError: the query is wrong, or no single SELECT.
            VerificationError, StoreUnavailable: as for iteration over the dataset.
        """
        try:
            statements = self._connection.extract_statements(query)
        except duckdb.Error as error:
            raise refusal_of(error) from error
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ConfigurationError("only one SELECT can be explained", where="SQL")
        return self._interruptible(partial(self._explained, statements[0].query))

    def _explained(self, statement: str) -> dict[str, list[dict[int, str | None]]]:
        named = [name for name in self._tables if name in sql_words.words(statement)]
        refusal = ConfigurationError("the query cannot be explained", where="SQL")
        for layouts in self._layouts_to_try(statement, named or list(self._tables)):
            views = {}
            for name, table in self._tables.items():
                views[name] = EmptyView(table, layouts.get(name, Layout(COMMON)))
                self._connection.register(name, views[name])
            try:
                self._connection.sql(statement).fetchall()
            except duckdb.Error as error:
                for view in views.values():
                    if view.error is not None:
                        raise view.error from error
                refusal = refusal_of(error)
                if _is_final(error):
                    break
                continue
            return {name: view.looks for name, view in views.items() if view.looks or name in named}
        raise refusal

    def _layouts_to_try(self, statement: str, used: Sequence[str]) -> Iterator[dict[str, Layout]]:
        """Yield columns with which a statement may be understood: first those that take no reading, at last all."""
        yield dict.fromkeys(used, Layout(COMMON))
        newest = {name: self._tables[name].layout(self._tables[name].sample) for name in used}
        yield newest
        words = sql_words.column_words(statement, self._connection)
        yield {name: _wider(layout, words) for name, layout in newest.items()}
        yield {name: self.layout(name) for name in used}

    def _interruptible(self, work: Callable[[], Result]) -> Result:
        """Call a function in another thread, because DuckDB ignores signals; Ctrl-C in this thread interrupts it."""
        self._stopped = False
        if threading.current_thread() is not threading.main_thread():
            return work()
        with ThreadPoolExecutor(1, "ipfs-logs-sql") as pool:
            future = pool.submit(work)
            try:
                while not future.done():  # a signal that another thread has taken does not wake this one
                    wait([future], _PAUSE_S)
            except KeyboardInterrupt:
                self._stopped = True
                while not future.done():  # again, where it was between two statements
                    self._connection.interrupt()
                    wait([future], _PAUSE_S)
                raise
            return future.result()

    def _run(self, parsed: Any, fetch: Callable[[Any], Result]) -> Result:
        """Run one statement. A failed statement has no effect, so it can be run again; a query never has an effect."""
        statement = parsed.query
        is_query = parsed.type == duckdb.StatementType.SELECT
        has_answer = list(parsed.expected_result_type) == [duckdb.ExpectedResultType.QUERY_RESULT]
        words = sql_words.words(statement)
        used = self._used(words)
        layouts = dict.fromkeys(used, Layout(COMMON))
        strict = newest = False
        complete = not is_query or bool(_NEEDS_ALL & words)
        if complete:
            layouts = {name: self.layout(name) for name in used}
        while not self._stopped:
            views = self._register(layouts, strict=strict)
            failed: Exception | None = None
            try:
                relation = self._connection.sql(statement)
                result = fetch(relation if has_answer else None)
            except duckdb.InterruptException:
                self._stopped = True
                continue
            except Exception as error:  # noqa: BLE001 - of DuckDB, of Arrow, or what a batch was refused for
                failed = error
            grown = {name: view.needed for name, view in views.items() if view.needed is not None}
            if grown:
                layouts |= grown
                continue
            if failed is None:
                if complete or self._is_certain(statement, layouts):
                    return result
                if not strict:
                    strict = True
                    continue
            else:
                for view in views.values():
                    if view.error is not None:
                        raise view.error
                if not isinstance(failed, duckdb.Error):
                    raise failed
                if complete or _is_final(failed):
                    raise refusal_of(failed) from failed
                if not newest:
                    newest = True
                    layouts = {name: self._tables[name].layout(self._tables[name].sample) for name in used}
                    continue
            complete = True
            layouts = {name: self.layout(name) for name in used}
        raise KeyboardInterrupt

    def _register(self, layouts: Mapping[str, Layout], *, strict: bool) -> dict[str, View]:
        """Make the views anew, also those that a statement does not read: `SHOW TABLES` lists them."""
        views = {}
        for name, table in self._tables.items():
            views[name] = View(partial(_itself, table), layouts.get(name, Layout(COMMON)), grows=True, strict=strict)
            self._connection.register(name, views[name])
        return views

    def _is_certain(self, statement: str, layouts: Mapping[str, Layout]) -> bool:
        """Say whether a query means the same if each of its words were a column of each view that it reads.

        A word may be a field of a batch that was not read. Then it could mean that field, and not the alias, the
        column of an outer query, or the function without parentheses that DuckDB has taken it for.
        """
        words = sql_words.column_words(statement, self._connection)
        wider = {name: _wider(layout, words) for name, layout in layouts.items()}
        if wider == layouts:
            return True
        plans = []
        with self._transaction():  # in which `now()` has one value
            for some in (layouts, wider):
                self._register(some, strict=False)
                try:
                    plans.append(self._connection.execute(f"EXPLAIN (FORMAT JSON) {statement}").fetchall())
                except duckdb.Error:
                    return False
        return bool(plans[0] == plans[1])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN")
        except duckdb.Error:  # the user has begun one
            yield
            return
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _used(self, words: frozenset[str]) -> list[str]:
        """Return the views that a statement names; all views if it names none: it may read one through another view."""
        return [name for name in self._tables if name in words] or list(self._tables)


def _wider(layout: Layout, words: Collection[str]) -> Layout:
    """Return a layout that also has each of some words as a column of JSON."""
    known = {column.casefold() for column in layout.columns} | {REST}
    return Layout({**layout.columns, **dict.fromkeys(sorted(set(words) - known), Kind.JSON)})


def _fetched(relation: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = relation.fetchall()
    return rows


def _nothing(_: Any) -> None:
    """Return a relation of DuckDB unchanged."""


def _is_final(error: Exception) -> bool:
    """Say whether further columns cannot help: a table that is not there stays so."""
    return isinstance(error, duckdb.CatalogException) and str(error).startswith("Catalog Error: Table with name")


def _itself(table: Table) -> Table:
    return table


def refusal_of(error: Exception) -> ConfigurationError:
    """Return DuckDB's message without its picture of the statement."""
    return ConfigurationError(str(error).partition("\n\n")[0].replace("\n", " ").strip(), where="SQL")
