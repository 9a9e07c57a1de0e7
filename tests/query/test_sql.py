"""SQL gives what plain Python would give, and reads those batches alone that its conditions leave."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import ConfigurationError, VerificationError, open_dataset
from ipfs_log_handlers.api import Stats
from ipfs_log_handlers.query import views
from ipfs_log_handlers.query.dataset import Dataset
from ipfs_log_handlers.query.sql import Session
from tests.support import query_homes, sample_homes
from tests.support.line_source import LinePart, LineSource, dataset_of, line


def rows(dataset: Dataset, query: str, stats: Stats | None = None) -> list[tuple[Any, ...]]:
    """Return the rows of an answer."""
    table = dataset.sql(query, stats=stats)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def moment(second: int) -> str:
    """Return a time of `line` as SQL writes it."""
    return f"TIMESTAMPTZ '2026-03-02 00:{second // 60:02d}:{second % 60:02d}Z'"


# -- answers


def test_each_subsystem_is_a_table_and_one_has_all(queried, expected):
    """The tables are named as the subsystems, and `logs_all` has every record."""
    dataset = open_dataset(queried)
    assert [("audit",), ("logs",), ("logs_all",), ("wal",)] == rows(dataset, "SHOW TABLES")
    counted = dict(rows(dataset, "SELECT subsystem, count(*) FROM logs_all GROUP BY subsystem"))
    assert counted == Counter(record["subsystem"] for record in expected)
    assert [(counted["wal"],)] == rows(dataset, "SELECT count(*) FROM wal")


def test_tables_are_joined_over_subsystems_and_sources(tmp_path):
    """A request is followed from one subsystem, and one home, into another."""
    query_homes.log_some(tmp_path / "a", "audit", range(6))
    query_homes.log_some(tmp_path / "b", "logs", range(3, 9))
    sample_homes.seal(tmp_path / "b")
    dataset = open_dataset([tmp_path / "a", tmp_path / "b"])
    query = "SELECT number, audit.user_id, logs.user_id FROM audit JOIN logs USING (number) ORDER BY number"
    users = {(record["subsystem"], record["number"]): record["user_id"] for record in dataset}
    assert rows(dataset, query) == [(n, users["audit", n], users["logs", n]) for n in (3, 4, 5)]


def test_a_field_of_several_types_breaks_nothing(queried, expected):
    """It is a column of JSON, whose numbers and texts are told apart or not, as the query says."""
    dataset = open_dataset(queried).filter(subsystem="audit")
    status = [record["status"] for record in expected if record["subsystem"] == "audit"]
    [(either, number)] = rows(
        dataset, "SELECT count(*) FILTER (status->>'$' = '500'), count(*) FILTER (status::VARCHAR = '500') FROM audit"
    )
    assert either == sum(value in (500, "500") for value in status if not isinstance(value, (list, dict)))
    assert number == sum(value == 500 for value in status)
    assert [("JSON",)] == rows(dataset, "SELECT DISTINCT typeof(status) FROM audit")


def test_names_and_values_of_every_kind_can_be_asked_for():
    """Names with dots, blanks and quotes, whole numbers of any size, nested values, and what has no column."""
    odd = {"a.b": 1, 'q"': "x", "big": 10**30, "deep": {"c": [1, {"d": "e"}]}, "Level": 5, "": True}
    dataset = dataset_of(line(0, **odd), line(1, big=1))
    names = """ "a.b", "q""\", big::VARCHAR, deep->>'$.c[1].d', fields->>'Level', fields::VARCHAR """
    query = f"SELECT {names} FROM audit ORDER BY seq"
    assert rows(dataset, query) == [
        (1, "x", str(10**30), "e", "5", '{"Level":5,"":true}'),
        (None, None, "1", None, None, None),
    ]


def test_lines_of_other_programs_break_no_query():
    """Half a surrogate, NaN and a line that is no JSON are shown as text."""
    dataset = dataset_of(b'{"a":"\\ud800"}', b'{"a":NaN}', b"no JSON", line(3, a="x"))
    assert rows(dataset, "SELECT a->>'repr' FROM audit WHERE a->>'!' = 'not JSON' ORDER BY 1") == [
        ("'\\ud800'",),
        ("nan",),
    ]
    assert rows(dataset, "SELECT count(*), count(time), count(level) FROM audit") == [(4, 4, 1)]


def test_days_are_those_of_the_timezone(queried):
    """UTC, if no other timezone is named; one that does not exist is refused."""
    dataset = dataset_of(line(23 * 3600), line(5))
    query = "SELECT count(DISTINCT date_trunc('day', time)) FROM audit"
    assert rows(dataset, query) == [(1,)]
    assert dataset.sql(query, timezone="Europe/Vienna").to_pylist()[0].popitem()[1] == 2
    with pytest.raises(ConfigurationError, match="no such timezone"):
        dataset.sql(query, timezone="Mars/Olympus")


def test_filters_and_limits_of_the_dataset_hold_for_sql(queried):
    """SQL sees the records that the dataset has, and no others."""
    dataset = open_dataset(queried).filter(level="error")
    assert rows(dataset, "SELECT count(*) FROM logs_all") == [(dataset.count(),)]
    assert rows(dataset.last(5), "SELECT count(*) FROM logs_all") == [(5,)]
    newest = Counter(record["subsystem"] for record in dataset.last(5))
    assert rows(dataset.last(5), "SELECT count(*) FROM audit") == [(newest["audit"],)]
    with pytest.raises(ConfigurationError, match="leave out select"):
        dataset.select("time").sql("SELECT 1")


def test_several_statements_run_in_turn(queried):
    """The last one has the answer; one that makes something is run once."""
    query = "CREATE TABLE mine AS SELECT * FROM audit; INSERT INTO mine SELECT * FROM audit; SELECT count(*) FROM mine;"
    assert rows(open_dataset(queried), query) == [(170,)]
    assert open_dataset(queried).sql("CREATE TABLE x (a INTEGER)").num_rows == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM audit", 'column "nothing" not found'),
        ("SELECT * FROM nowhere", "nowhere"),
        ("", "there is no SQL"),
    ],
)
def test_wrong_sql_is_an_error_with_the_words_of_duckdb(queried, query, message):
    """One line, without DuckDB's picture of the query."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_dataset(queried).sql(query)
    assert "\n" not in str(caught.value)


def test_a_damaged_batch_is_the_error_that_iteration_raises(tmp_path):
    """DuckDB does not hide what was wrong."""
    home = tmp_path / "home"
    sample_homes.make(home, 30)
    batch = sample_homes.subsystem_dir(home).current.batches / "000" / "000001.car"
    content = bytearray(batch.read_bytes())
    content[-1] ^= 1
    batch.write_bytes(content)
    with pytest.raises(VerificationError):
        open_dataset(home).sql("SELECT count(event) FROM audit")


def test_a_missing_duckdb_is_named_with_what_installs_it(queried, monkeypatch):
    """The error has the command that helps."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ipfs_log_handlers\[query\]'"):
        open_dataset(queried).sql("SELECT 1")


def test_a_setting_that_is_refused_leaves_no_connection_and_no_file(tmp_path, monkeypatch):
    """As a later DuckDB may do that has no such setting."""
    closed = []

    class Refusing:
        def __enter__(self) -> Refusing:
            return self

        def __exit__(self, *_: object) -> None:
            closed.append(1)

        def execute(self, _: str) -> None:
            raise duckdb.CatalogException("no such setting")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(duckdb, "connect", lambda **_: Refusing())
    with pytest.raises(duckdb.CatalogException):
        Session({})
    assert closed == [1]
    assert [] == list(tmp_path.iterdir())


def test_ctrl_c_stops_a_query_and_the_session_goes_on(monkeypatch):
    """DuckDB looks at no signal by itself: a query of hours ends as soon as Ctrl-C is pressed."""
    source = LineSource([[line(0)]])
    read = LinePart.lines

    def read_and_press_ctrl_c(part: LinePart) -> Iterator[bytes]:
        os.kill(os.getpid(), signal.SIGINT)
        yield from read(part)

    numbers = "range(100000000) a, range(100000000) b"
    with Dataset((source,)).sql_session() as session:
        monkeypatch.setattr(LinePart, "lines", read_and_press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            session.answer(f"SELECT count(*) FROM audit, {numbers} WHERE a.range + b.range = -seq - 1")
        monkeypatch.setattr(LinePart, "lines", read)
        answer = session.answer("SELECT count(*) FROM audit")
        assert answer is not None
        assert answer.rows == [[1]]


# -- only what is needed is read

HOUR = [[line(60 * minute + second, level="error" if minute % 10 == 0 else "info", logger=f"app.{minute % 4}", n=second)
         for second in range(0, 60, 20)] for minute in range(60)]  # fmt: skip
"""Sixty batches, of a minute each."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "opened"),
    [
        ("true", 60),
        (f"time >= {moment(600)} AND time < {moment(720)}", 2),
        (f"time BETWEEN {moment(0)} AND {moment(59)}", 1),
        ("level = 'error'", 6),
        ("level IN ('error', 'critical')", 6),
        ("level <> 'info'", 6),
        ("level = 'error' AND logger = 'app.2'", 3),
        (f"(level = 'error' OR logger = 'app.1') AND time < {moment(600)}", 10),
        ("subsystem = 'audit'", 60),
        ("subsystem = 'wal'", 0),
        ("level = 'none of these'", 0),
        ("level IS NOT NULL", 60),
        ("time > now()", 0),
        (f"seq IN (SELECT seq FROM audit WHERE time = {moment(40)})", 60),
    ],
)
def test_conditions_on_time_level_logger_and_subsystem_choose_the_batches(condition, opened):
    """Only those batches are opened that can have a row; each is opened once for an answer."""
    source, stats = LineSource(HOUR), Stats()
    found = rows(Dataset((source,)), f"SELECT seq, n FROM logs_all WHERE {condition}", stats)
    assert (stats.batches, stats.opened) == (60, source.opened)
    # 1.x reads conditions of IN and <> after the scan, too; a column that is no common one may cost one batch more
    assert opened <= stats.opened <= opened + 1
    assert all(part.opened <= 1 for part in source.all)
    assert len(found) <= stats.records
    plan = Dataset((source,)).explain_sql(f"SELECT seq, n FROM logs_all WHERE {condition}")
    assert (len(plan.batches), plan.opened) == (60, opened)
    assert plan.opened + sum(plan.skipped.values()) == 60
    assert plan.skipped.keys() <= {"time", "level", "logger", "subsystem"}


def test_the_plan_of_sql_reads_the_newest_batch_at_most():
    """It says the condition that skips a batch, beside those of the filter; no answer is computed for it."""
    source = LineSource([*HOUR, *HOUR], subsystem=["audit"] * 60 + ["logs"] * 60)
    dataset = Dataset((source,)).filter(until="2026-03-02T00:50:00Z")
    where = f"time >= {moment(1200)} AND level = 'error' AND logger = 'app.0'"
    plan = dataset.explain_sql(f"SELECT min(seq) FROM audit WHERE {where}")
    assert source.opened == 0
    assert [batch.first for batch in plan.batches if batch.opened] == [
        f"2026-03-02T00:{minute}:00.000000Z" for minute in (20, 40)
    ]
    assert plan.skipped == {"subsystem": 50, "time": 20 + 20, "level": 27, "logger": 1}
    assert dataset.explain_sql(f"SELECT n, nothing FROM audit WHERE {where}").opened == 2
    assert source.opened == 1
    assert dataset.explain_sql("SELECT 1").opened == 0
    assert dataset.explain_sql("SELECT audit.seq FROM audit JOIN logs USING (seq) WHERE logs.seq < 60").opened == 100
    assert dataset.limit(5).explain_sql("SELECT seq FROM audit").opened == dataset.explain().opened


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1; SELECT 2", "only one SELECT"),
        ("CREATE TABLE t (n INT)", "only one SELECT"),
        ("SELEC", "syntax error"),
        ("SELECT * FROM nowhere", "nowhere does not exist"),
        ("SELECT upper(seq, seq, seq) FROM audit", "No function matches"),
    ],
)
def test_what_is_no_query_has_no_plan(query, message):
    """The error is that of an answer; a table that is not there is not looked for in every batch."""
    source = LineSource(HOUR)
    with pytest.raises(ConfigurationError, match=message):
        Dataset((source,)).explain_sql(query)
    if "nowhere" in query:
        with pytest.raises(ConfigurationError, match=message):
            Dataset((source,)).sql(query)
        assert source.opened == 0


def test_a_join_reads_of_each_table_what_its_own_condition_leaves():
    """Conditions on one table of a join do not make the other one smaller, nor larger."""
    source = LineSource([*HOUR, *HOUR], subsystem=["audit"] * 60 + ["logs"] * 60)
    query = f"""SELECT count(*) FROM audit JOIN logs USING (seq)
                WHERE audit.time >= {moment(3540)} AND logs.time >= {moment(3480)}"""
    stats = Stats()
    assert rows(Dataset((source,)), query, stats) == [(3,)]
    assert stats.opened <= 3


def test_the_home_is_planned_by_its_manifests(queried, expected):
    """A home's catalogue and zone maps do the same; a batch in which no record is chosen stays closed."""
    stats, since = Stats(), "TIMESTAMPTZ '2026-02-25 06:14:25Z'"
    found = rows(open_dataset(queried), f"SELECT number FROM logs WHERE time >= {since} ORDER BY time", stats)
    wanted = [r["number"] for r in expected if r["subsystem"] == "logs" and r["time"] >= "2026-02-25T06:14:25"]
    assert found == [(number,) for number in wanted]
    assert 0 < stats.opened < 4 < stats.batches


texts = st.sampled_from(["error", "info", "app", "5", "true", "none"])
leaves = st.one_of(
    st.tuples(st.sampled_from(["level", "logger", "subsystem"]), st.sampled_from(["=", "<>", "<", ">="]), texts),
    st.tuples(st.sampled_from(["level", "logger", "time"]), st.sampled_from(["IS NULL", "IS NOT NULL"]), st.none()),
    st.tuples(st.just("time"), st.sampled_from(["<", ">=", "=", "<>"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["level", "logger"]), st.just("IN"), st.lists(texts, min_size=1, max_size=3)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(st.tuples(st.just("NOT"), inner), st.tuples(st.sampled_from(["AND", "OR"]), inner, inner)),
    max_leaves=4,
)


def sql_of(tree: Any) -> str:
    """Return a condition as SQL."""
    if tree[0] == "NOT":
        return f"(NOT {sql_of(tree[1])})"
    if tree[0] in ("AND", "OR"):
        return f"({sql_of(tree[1])} {tree[0]} {sql_of(tree[2])})"
    key, operator, value = tree
    if value is None:
        return f"({key} {operator})"
    if isinstance(value, list):
        return f"({key} IN ({', '.join(map(repr, value))}))"
    return f"({key} {operator} {moment(value) if isinstance(value, int) else repr(value)})"


def some_line(draw_line: tuple[int, Any, Any]) -> bytes:
    """Return a line of ours, or one of another program without level or time."""
    second, level, logger = draw_line
    record = json.loads(line(second, level=level, logger=logger))
    if second == 5:
        del record["time"]
    kept = {key: value for key, value in record.items() if value != "left out"}
    return json.dumps(kept, separators=(",", ":")).encode()


lines = st.tuples(
    st.integers(0, 5), st.sampled_from(["error", "info", 5, True, None, "left out"]), st.sampled_from(["app", "5", 5])
).map(some_line)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(st.lists(lines, min_size=1, max_size=3), min_size=1, max_size=4), tree=trees, sealed=st.booleans()
)
def test_the_plan_never_changes_an_answer(parts, tree, sealed):
    """Whatever the conditions and the lines, DuckDB finds the same rows in a table that it holds itself."""
    names = ["audit" if number % 2 else "logs" for number in range(len(parts))]
    dataset = Dataset((LineSource(parts, subsystem=names, sealed=sealed),))
    query = f"SELECT subsystem, time, level, logger, seq, fields::VARCHAR FROM logs_all WHERE {sql_of(tree)}"
    whole = f"CREATE TABLE whole AS SELECT * FROM logs_all; {query.replace('logs_all', 'whole')}"
    with mock.patch.object(views, "_BLOCK", 2):
        assert sorted(map(repr, rows(dataset, query))) == sorted(map(repr, rows(dataset, whole)))


# -- a name means the same, whatever is read

LATE = [[line(0, user="mira", request_id="a", hour="x")], [line(600)]]
"""The newer batch has none of the fields of the older one."""


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("SELECT user FROM audit", [("mira",), (None,)]),
        (f"SELECT user FROM audit WHERE time > {moment(300)}", [(None,)]),
        (f"SELECT hour FROM audit WHERE time > {moment(300)}", [(None,)]),
        (f"SELECT seq AS hour FROM audit WHERE time > {moment(300)} ORDER BY hour", [(600,)]),
        (f"SELECT seq AS hour FROM audit WHERE hour IS NULL AND time > {moment(300)}", [(600,)]),
        (
            f"SELECT seq FROM audit WHERE seq IN (SELECT request_id FROM audit WHERE time > {moment(300)} AND 1 = 1)",
            None,
        ),
    ],
)
def test_a_field_of_a_batch_that_was_not_read_is_still_a_column(query, answer):
    """A word is not taken for an alias, a function or an outer column, where it is a field of another batch."""
    dataset = Dataset((LineSource(LATE),))
    if answer is None:
        with pytest.raises(ConfigurationError, match=r"compar|Conversion|convert"):
            dataset.sql(query)
    else:
        assert sorted(rows(dataset, query), key=repr) == sorted(answer, key=repr)


def test_a_star_has_the_columns_of_what_it_reads():
    """`SELECT *` over newer batches needs no look at older ones."""
    source = LineSource(LATE)
    table = Dataset((source,)).sql(f"SELECT * FROM audit WHERE time > {moment(300)}")
    assert "user" not in table.column_names
    assert [part.opened for part in source.all] == [0, 1]


# -- a connection of one's own


def test_duckdb_reads_what_is_durable_when_it_asks(tmp_path):
    """The view sees records that are logged later; what does not fit by then stands in `fields`."""
    home = tmp_path / "home"
    query_homes.log_some(home, "audit", range(3))
    with duckdb.connect() as connection:
        open_dataset(home).filter(subsystem="audit").to_duckdb(connection, "shop")
        assert connection.execute("SELECT count(*) FROM shop").fetchall() == [(3,)]
        with sample_homes.Writing(home) as writing:
            record = sample_homes.record(9, user_id=["a", "list"], more=1)
            record.__dict__["number"] = "nine"
            writing.handler.handle(record)
        [(rest, user)] = connection.execute("SELECT fields, user_id FROM shop WHERE number IS NULL").fetchall()
        assert json.loads(rest) == {"user_id": ["a", "list"], "number": "nine", "more": 1}
        assert user is None
        [(when,)] = connection.execute("SELECT max(time) FROM shop").fetchall()
        assert isinstance(when, dt.datetime)


def test_duckdb_reads_a_limited_dataset_and_plans_by_its_own_conditions():
    """Conditions of the connection's query choose the batches, too."""
    source = LineSource(HOUR)
    with duckdb.connect() as connection:
        Dataset((source,)).to_duckdb(connection)
        before = [part.opened for part in source.all]
        query = f"SELECT count(*) FROM logs WHERE time < {moment(60)}"
        assert connection.execute(query).fetchall() == [(3,)]
        assert sum(part.opened for part in source.all) == sum(before) + 1
        Dataset((source,)).last(4).to_duckdb(connection)
        assert connection.execute("SELECT count(*), min(seq) FROM logs").fetchall() == [(4, 3520)]
