"""SQL of somebody else reads the tables that it is given, and nothing else; it changes nothing, and it ends."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ipfs_log_handlers import ConfigurationError, VerificationError, open_dataset
from ipfs_log_handlers.api import SqlLimits, Stats
from ipfs_log_handlers.query import locked_child, locked_sql
from ipfs_log_handlers.query.dataset import Dataset
from ipfs_log_handlers.query.landlock import newest_version
from ipfs_log_handlers.query.locked_sql import LockedChild
from tests.support import query_homes, sample_homes, taken_over
from tests.support.line_source import LineSource, line

BATCHES = [[line(60 * minute + 20 * third, level="error" if minute == 3 else "info", n=minute, user="mira")
            for third in range(3)] for minute in range(20)]  # fmt: skip
"""Twenty batches, of a minute each."""


def dataset() -> Dataset:
    """Return a dataset of these batches, half of them of another subsystem."""
    return Dataset((LineSource(BATCHES, subsystem=["audit"] * 10 + ["logs"] * 10),))


@pytest.fixture(scope="module")
def child() -> Iterator[LockedChild]:
    """Give one child for many queries, each of which gets a database of its own: a child takes long to start."""
    with LockedChild(SqlLimits(rows=20)) as started:
        yield started


# -- answers


def test_an_answer_is_that_of_sql_and_conditions_choose_the_batches(child):
    """Joins, aggregates and times are as in `sql`; a batch that no condition leaves is not read."""
    stats = Stats()
    tables = dataset().sql_tables(stats)
    query = (
        "SELECT time, n, user FROM logs_all WHERE level = 'error' AND time >= '2026-03-02T00:03:20Z' ORDER BY time; --"
    )
    answer = child.answer(tables, query)
    assert answer.columns == ("time", "n", "user")
    assert answer.rows == [[f"2026-03-02T00:03:{second}.000000Z", 3, "mira"] for second in (20, 40)]
    assert (answer.moments, answer.truncated) == (frozenset({0}), False)
    assert stats.opened <= 3  # that batch, and the newest one of each subsystem
    joined = child.answer(tables, "SELECT count(*) FROM audit JOIN logs USING (user)")
    assert joined.rows == [[900]]


def test_rows_beyond_the_limit_are_left_out_and_told(child):
    """The first rows, in the order of the query."""
    answer = child.answer(dataset().sql_tables(Stats()), "SELECT seq FROM logs_all ORDER BY seq DESC")
    assert answer.truncated
    assert [[1180 - 20 * number] for number in range(20)] == answer.rows


def test_the_method_of_a_dataset_answers_over_a_home(tmp_path):
    """Filters hold; each query has a child of its own, which is gone afterwards."""
    query_homes.log_some(tmp_path / "home", "audit", range(9))
    sample_homes.seal(tmp_path / "home")
    chosen = open_dataset(tmp_path / "home").filter(where="number<5")
    answer = chosen.sql_untrusted("SELECT count(*) AS n, max(number) AS most FROM audit", SqlLimits(seconds=60))
    assert list(answer.as_objects()) == [{"n": 5, "most": 4}]
    with pytest.raises(ConfigurationError, match="leave out select"):
        chosen.select("time").sql_untrusted("SELECT 1")


def test_a_damaged_batch_is_the_error_that_iteration_raises(tmp_path, child):
    """What this process finds while it reads for the child is raised here."""
    home = tmp_path / "home"
    sample_homes.make(home, 30)
    batch = sample_homes.subsystem_dir(home).current.batches / "000" / "000001.car"
    content = bytearray(batch.read_bytes())
    content[-1] ^= 1
    batch.write_bytes(content)
    with pytest.raises(VerificationError), LockedChild(SqlLimits(seconds=60)) as own:
        own.answer(open_dataset(home).sql_tables(Stats()), "SELECT count(event) FROM audit")


# -- attempts

FILES, STATEMENTS, BEHIND = "disabled by configuration", "only one SELECT is allowed", "syntax error"
ATTEMPTS = {
    "read text": ("SELECT * FROM read_text('{secret}')", FILES),
    "read up and down": ("SELECT * FROM read_text('/tmp/../{secret}')", FILES),
    "read bytes": ("SELECT * FROM read_blob('{secret}')", FILES),
    "list files": ("SELECT * FROM glob('{directory}/*')", FILES),
    "read csv": ("SELECT * FROM read_csv('{secret}', header = false)", FILES),
    "guess csv": ("SELECT * FROM sniff_csv('{secret}')", FILES),
    "read json": ("SELECT * FROM read_json('{secret}')", FILES),
    "read parquet": ("SELECT * FROM read_parquet('{secret}')", FILES),
    "a file as a table": ("SELECT * FROM '{secret}'", FILES),
    "a subquery": ("SELECT (SELECT content FROM read_text('{secret}')) FROM audit", FILES),
    "a pipe": ("SELECT * FROM read_text('/proc/self/fd/1')", FILES),
    "the environment": ("SELECT * FROM read_text('/proc/self/environ')", FILES),
    "http": ("SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')", FILES),
    "s3": ("SELECT * FROM read_parquet('s3://bucket/x.parquet')", FILES),
    "attach a file": ("ATTACH '{directory}/x.db' AS x", STATEMENTS),
    "attach for reading": ("ATTACH '{secret}' AS x (READ_ONLY)", STATEMENTS),
    "copy to a file": ("COPY audit TO '{directory}/x.csv'", STATEMENTS),
    "copy in a CTE": ("WITH c AS (COPY audit TO '{directory}/x.csv') SELECT * FROM c", "top level|needs a SELECT"),
    "copy behind a query": ("SELECT 1; COPY audit TO '{directory}/x.csv'", STATEMENTS),
    "copy out of the subquery": ("SELECT 1) LIMIT 1; COPY audit TO '{directory}/x.csv'; SELECT (SELECT 1", BEHIND),
    "copy behind a comment": ("SELECT 1 /* ) */ ) --\nLIMIT 1; COPY audit TO '{directory}/x.csv'; --", BEHIND),
    "explain a copy": ("EXPLAIN ANALYZE COPY audit TO '{directory}/x.csv'", STATEMENTS),
    "a query as text": ("SELECT * FROM query('COPY audit TO ''{directory}/x.csv''')", "may not use query"),
    "a scan as text": ("SELECT * FROM \"Query\" /* */ ('SELECT * FROM arrow' || '_scan(1)')", "may not use query"),
    "SQL as JSON": ("SELECT * FROM json_execute_serialized_sql('{{}}')", "may not use json_execute_serialized_sql"),
    "a space of Unicode": ("SELECT * FROM query\u2003('SELECT 1')", "may not contain"),
    "a space before": ("SELECT * FROM\u00a0arrow_scan(1)", "may not contain"),
    "an address": ("SELECT 1::UBIGINT::POINTER", "may not use pointer"),
    "an address in quotes": ('SELECT CAST(1 AS "pOinter")', "may not use pointer"),
    "memory": ("SELECT * FROM Arrow_Scan(1, 2, 3)", "may not use arrow_scan"),
    "memory in quotes": ('SELECT * FROM main."arrow_scan_dumb"(1, 2, 3)', "may not use arrow_scan_dumb"),
    "memory of pandas": ("SELECT * FROM pandas_scan(1)", "may not use pandas_scan"),
    "a function of Python": ("SELECT * FROM python_map_function(1, 2)", "may not use python_map_function"),
    "export": ("EXPORT DATABASE '{directory}/x'", STATEMENTS),
    "install": ("INSTALL httpfs", STATEMENTS),
    "load": ("LOAD httpfs", STATEMENTS),
    "load a file": ("LOAD '{secret}'", STATEMENTS),
    "more memory": ("SET memory_limit = '100GB'", STATEMENTS),
    "more rights": ("SET enable_external_access = true", STATEMENTS),
    "unlock": ("SET lock_configuration = false", STATEMENTS),
    "reset": ("RESET memory_limit", STATEMENTS),
    "pragma": ("PRAGMA memory_limit = '100GB'", STATEMENTS),
    "a variable of Python": ("SELECT * FROM tables", "tables does not exist"),
    "a variable of the other function": ("SELECT * FROM job", "job does not exist"),
    "make a table": ("CREATE TABLE audit2 AS SELECT * FROM audit", STATEMENTS),
    "delete": ("DELETE FROM audit", STATEMENTS),
    "drop": ("DROP VIEW audit", STATEMENTS),
    "call": ("CALL pragma_version()", STATEMENTS),
    "no SQL": ("nothing of the kind", BEHIND),
    "nothing": ("", STATEMENTS),
}
"""What may not work, and the words with which it is refused."""
IN_MEMORY = ("make a table", "delete", "drop", "call", "nothing")
"""Attempts that would change nothing but the database in the memory of the child."""


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_attempt_to_leave_the_tables_is_refused(child, tmp_path, attempt):
    """No file is read or written, no setting is changed, and the child goes on with its rights as they were."""
    secret = tmp_path / "secret.csv"
    secret.write_text("hush\n")
    query, words = ATTEMPTS[attempt]
    with pytest.raises(ConfigurationError, match=words) as caught:
        child.answer(dataset().sql_tables(Stats()), query.format(secret=secret, directory=tmp_path))
    assert "hush" not in str(caught.value)
    assert [secret] == list(tmp_path.iterdir())
    assert child.process.poll() is None


def test_the_settings_of_duckdb_refuse_by_themselves(tmp_path):
    """Without the child and the subquery, the locked settings let no file, extension or setting be touched, either."""
    secret = tmp_path / "secret.csv"
    secret.write_text("hush\n")
    with duckdb.connect() as connection:
        for setting in locked_child._SETTINGS:
            connection.execute(setting.format(threads=1, memory_bytes=64 << 20))
        connection.execute("CREATE TABLE audit AS SELECT 1 AS n")
        for attempt, (query, words) in ATTEMPTS.items():
            if words in (FILES, STATEMENTS) and attempt not in IN_MEMORY:
                with pytest.raises(duckdb.Error):
                    connection.execute(query.format(secret=secret, directory=tmp_path)).fetchall()
    assert [secret] == list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl")
def test_the_child_can_gain_no_rights(child):
    """The kernel says so."""
    status = Path(f"/proc/{child.process.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status


def test_what_can_be_seen_of_the_process_is_nothing(child):
    """No variable of the environment, no file of a database, and the settings as they were locked."""
    query = """SELECT current_setting('lock_configuration'), current_setting('enable_external_access'),
                      current_setting('python_enable_replacements'),
                      (SELECT count(path) FROM duckdb_databases())"""
    [row] = child.answer({}, query).rows
    assert row == [True, False, False, 0]


def test_the_refused_words_are_only_those_of_sql(child):
    """A text with such a word, and a column of the name `query`, are used as any other."""
    assert child.answer({}, "SELECT 'arrow_scan pointer' AS query").rows == [["arrow_scan pointer"]]


def test_a_crash_is_an_error_and_harms_nobody_else():
    """A query whose child has ended is answered with an error."""
    with LockedChild(SqlLimits(seconds=60)) as own:
        own.process.kill()
        with pytest.raises(ConfigurationError, match="ended without an answer"):
            own.answer({}, "SELECT 1")


# -- a child in which DuckDB does not hold any more

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has Landlock and seccomp")
PATHS = "import sys; sys.path[:] = sys.argv[3:];"
TAKEN_OVER = f"{PATHS} from tests.support.taken_over import take_over; take_over({{}})"
VALUES = {
    "moment": "TIMESTAMPTZ '2026-03-02 10:00:00.5+02'",
    "moment elsewhere": "TIMESTAMPTZ '2026-03-02 10:00:00+02' AT TIME ZONE 'Asia/Kathmandu'",
    "moment as text": "strftime(TIMESTAMPTZ '2026-03-02 10:00:00+02', '%A %d %B %Y %Z')",
    "nanoseconds": "TIMESTAMP_NS '2026-03-02 10:00:00.123456'",
    "date": "DATE '2026-03-02'",
    "time": "TIME '10:00:00.25'",
    "time with zone": "TIMETZ '10:00:00+02'",
    "interval": "INTERVAL 3 MONTH + INTERVAL 2 DAY",
    "decimal": "12345678901234567890.123456789::DECIMAL(38, 9)",
    "large integer": "170141183460469231731687303715884105727::HUGEINT",
    "float": "'nan'::DOUBLE",
    "uuid": "'0b1c2d3e-0000-4000-8000-000000000001'::UUID",
    "blob": "'\\xAA\\x00'::BLOB",
    "bits": "'0101'::BIT",
    "enum": "'a'::ENUM('a', 'b')",
    "list": "[DATE '2026-03-02', NULL]",
    "struct": "{'a': 1, 'b': {'c': [1.5::DECIMAL(3, 1)]}}",
    "map": "MAP {'a': TIMESTAMPTZ '2026-03-02 10:00:00+02'}",
    "union": "union_value(number := 7)",
    "json": """('{"a": [1, "x", null]}'::JSON)""",
    "sorted text": "'Ä' COLLATE de",
    "regular expression": "regexp_extract('status=500', '(\\d+)', 1)",
    "statistics": "(SELECT quantile_cont(range, 0.99) FROM range(100000))",
    "threads": "(SELECT sum(hash(range) % 1000) FROM range(2000000))",
}
"""An expression of SQL for each type of value, and some that need more than a value."""


def attempted(own: LockedChild, around: taken_over.Surroundings) -> dict[str, str]:
    """Return the outcome of each attempt in a child."""
    rows = {name: own.answer({}, json.dumps([name, asdict(around)])).rows for name in taken_over.ATTEMPTS}
    return {name: outcome for name, [[outcome]] in rows.items()}


@LINUX
def test_the_kernel_limits_the_process_of_each_query(child):
    """The answer says so, and so does the kernel."""
    answer = child.answer({}, "SELECT 1")
    assert answer.kernel_limits == {"seccomp", "landlock"} if newest_version() else {"seccomp"}
    status = Path(f"/proc/{child.process.pid}/status").read_text()
    assert "Seccomp:\t2" in status


@LINUX
def test_code_that_runs_in_place_of_duckdb_is_refused_by_the_kernel(tmp_path, monkeypatch):
    """Files, network, programs and other processes, in the child as it is for each query."""
    monkeypatch.setattr(locked_sql, "_PROGRAM", TAKEN_OVER.format(""))
    with taken_over.prepare(tmp_path) as around, LockedChild(SqlLimits(seconds=60)) as own:
        assert "seccomp" in own.kernel_limits
        assert attempted(own, around) == dict.fromkeys(taken_over.ATTEMPTS, "EPERM")
    assert ["removable", "secret"] == sorted(os.listdir(tmp_path))


@LINUX
def test_a_thread_that_was_there_before_is_limited_too(tmp_path, monkeypatch):
    """By seccomp; Landlock does not limit it, so it does not count."""
    monkeypatch.setattr(locked_sql, "_PROGRAM", TAKEN_OVER.format("in_thread=True"))
    with taken_over.prepare(tmp_path) as around, LockedChild(SqlLimits(seconds=60)) as own:
        assert own.kernel_limits == {"seccomp"}
        assert attempted(own, around) == dict.fromkeys(taken_over.ATTEMPTS, "EPERM")


def test_where_the_kernel_has_no_means_duckdb_refuses_and_the_answer_says_so(tmp_path, monkeypatch):
    """As on macOS, and on a processor whose system calls are not known here."""
    without = "locked_child.landlock.refuse_files_and_ports = locked_child.seccomp.refuse_system_calls = bool"
    program = f"{PATHS} from ipfs_log_handlers.query import locked_child; {without}; locked_child.main()"
    monkeypatch.setattr(locked_sql, "_PROGRAM", program)
    (tmp_path / "secret.csv").write_text("hush\n")
    with LockedChild(SqlLimits(seconds=60)) as own:
        answer = own.answer({}, "SELECT 1")
        assert (answer.rows, answer.kernel_limits) == ([[1]], frozenset())
        with pytest.raises(ConfigurationError, match=FILES):
            own.answer({}, f"SELECT * FROM read_text('{tmp_path}/secret.csv')")


@pytest.mark.parametrize("value", VALUES)
def test_a_limited_process_gives_each_type_as_an_unlimited_one_does(child, value):
    """Whatever DuckDB and Arrow need for it was imported and read before."""
    query = f"SELECT {VALUES[value]} AS value FROM range(3)"
    with dataset().sql_session() as session:
        expected = session.answer(query)
    assert expected is not None
    assert child.answer({}, query).rows == expected.rows


# -- bombs

NUMBERS = "range(10000000) a, range(10000000) b"
BOMBS = {
    "a text of gigabytes": ("SELECT length(repeat('x', 4000000000))", 60.0),
    "a table larger than the memory": (f"SELECT count(DISTINCT (a.range, b.range)) FROM {NUMBERS}", 60.0),
    "a join without end": (f"SELECT count(*) FROM {NUMBERS} WHERE a.range + b.range = -1", 1.0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces a limit on the address space")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_and_this_process_takes_no_more_memory(bomb):
    """It runs into the limit on memory, or is killed when its time is over."""
    query, seconds = BOMBS[bomb]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with LockedChild(SqlLimits(seconds=seconds, memory_bytes=64 << 20)) as own:
        started = time.monotonic()
        with pytest.raises(ConfigurationError, match=r"emory|took longer than 1 s"):
            own.answer({}, query)
        assert time.monotonic() - started < 60
    assert own.process.poll() is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_answer_that_is_too_large_is_refused():
    """The answer is bounded in bytes, too."""
    with (
        LockedChild(SqlLimits(seconds=60, answer_bytes=1000)) as own,
        pytest.raises(ConfigurationError, match="too larg"),
    ):
        own.answer({}, "SELECT repeat('x', 100000)")


def test_the_reading_for_a_query_ends_when_its_time_is_over(monkeypatch):
    """For an unknown column, all parts would be read; after its time, no further part is."""
    tables = dataset().sql_tables(Stats())
    with LockedChild(SqlLimits(seconds=60)) as own:
        used = []
        check = own._check_time

        def end_at_the_third_check() -> None:
            used.append(1)
            if len(used) == 3:
                own._expire()
            check()

        monkeypatch.setattr(own, "_check_time", end_at_the_third_check)
        with pytest.raises(ConfigurationError, match="took longer than 60 s"):
            own.answer(tables, "SELECT nosuchfield FROM logs_all")
    assert len(used) == 3


def test_the_reading_of_a_limit_ends_when_its_time_is_over():
    """Which records are the newest ones of a kind may be found only by reading all parts: in the time of the query."""
    source = LineSource(BATCHES)
    tables = Dataset((source,)).filter(where="n>=0").last(1000).sql_tables(Stats())
    assert not any(part.opened for part in source.all)
    with LockedChild(SqlLimits(seconds=60)) as own:
        source.all[10].lines = lambda: own._expire() or iter(())  # type: ignore[method-assign,func-returns-value]
        with pytest.raises(ConfigurationError, match="took longer than 60 s"):
            own.answer(tables, "SELECT count(*) FROM logs_all")
    assert 9 == sum(part.opened for part in source.all)


def test_an_answer_of_too_many_values_is_refused():
    """Lists in a row can be many, and each takes more memory than its text."""
    with (
        LockedChild(SqlLimits(seconds=60, answer_bytes=64 << 20)) as own,
        pytest.raises(ConfigurationError, match="too large: more than 2000000 values"),
    ):
        own.answer({}, "SELECT range(2100) FROM range(1000)")


# -- a child that has been taken over


class Forged(LockedChild):
    """A child whose messages are given."""

    def __init__(self, *messages: bytes) -> None:
        self._limits = SqlLimits()
        self._expired = False
        self.kernel_limits = frozenset()
        self._in = io.BytesIO(b"".join(struct.pack(">I", len(message)) + message for message in messages))
        self._out = self.sent = io.BytesIO()
        self.process: Any = None


FORGED = {
    "no JSON": b"\xff",
    "no object": b"[1]",
    "no such request": b'{"do":"eval","table":"audit","parts":[]}',
    "another table": b'{"do":"layout","table":"/etc/passwd","parts":[0]}',
    "no text as a table": b'{"do":"layout","table":["audit"],"parts":[0]}',
    "parts that are none": b'{"do":"layout","table":"audit","parts":[99]}',
    "parts before the first": b'{"do":"layout","table":"audit","parts":[-1]}',
    "parts as text": b'{"do":"layout","table":"audit","parts":"0"}',
    "another key": b'{"do":"names","table":"audit","parts":[0],"key":"__class__"}',
    "columns of no kind": b'{"do":"batches","table":"audit","parts":[0],"columns":[["a","x"]],"only":["a"]}',
    "columns that are none": b'{"do":"batches","table":"audit","parts":[0],"columns":7,"only":["a"]}',
    "columns without names": b'{"do":"batches","table":"audit","parts":[0],"columns":[[7,"text"]],"only":[7]}',
    "columns that were not said": b'{"do":"batches","table":"audit","parts":[0],"columns":[],"only":["a"]}',
    "rows of another width": b'{"do":"answer","columns":["a"],"rows":[[1,2]],"moments":[]}',
    "rows that are none": b'{"do":"answer","columns":["a"],"rows":7,"moments":[]}',
    "rows beyond the limit": b'{"do":"answer","columns":["a"],"rows":[' + b"[1]," * 1000 + b'[1]],"moments":[]}',
    "moments beyond the columns": b'{"do":"answer","columns":["a"],"rows":[[1]],"moments":[1]}',
    "moments before the columns": b'{"do":"answer","columns":["a"],"rows":[[1]],"moments":[-1]}',
    "values without end": b'{"do":"answer","columns":["a"],"moments":[],"rows":[[[' + b"[]," * 1_000_000 + b"1]]]}",
    "nested without end": b'{"do":' + b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("message", FORGED)
def test_a_message_that_no_child_of_ours_sends_is_refused(message):
    """Nothing of it is obeyed."""
    with pytest.raises(ConfigurationError, match="the query was refused"):
        Forged(FORGED[message]).answer(dataset().sql_tables(Stats()), "SELECT 1")


def test_a_message_without_end_is_not_read():
    """Its length alone is read."""
    forged = Forged()
    forged._in = io.BytesIO(struct.pack(">I", (1 << 32) - 1) + b"x" * 100)
    with pytest.raises(ConfigurationError, match="too long"):
        forged.answer({}, "SELECT 1")


def test_requests_of_a_child_are_answered_with_what_a_query_may_see():
    """Columns, names and records of the tables that were given."""
    forged = Forged(
        b'{"do":"layout","table":"audit","parts":[0]}',
        b'{"do":"names","table":"audit","parts":[0,3],"key":"level"}',
        b'{"do":"answer","columns":["a"],"rows":[[1]],"moments":[],"truncated":true}',
    )
    assert forged.answer(dataset().sql_tables(Stats()), "SELECT 1").truncated
    sent = forged.sent.getvalue()
    assert json.dumps({"names": [["info"], ["error"]]}, separators=(",", ":")).encode() in sent
    assert b'["n","integer"]' in sent


def test_a_child_that_cannot_be_started_is_an_error_and_leaves_no_descriptor(monkeypatch):
    """As where the Python program has been removed."""
    before = set(os.listdir("/dev/fd"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigurationError, match="does not start"):
        LockedChild(SqlLimits())
    assert len(set(os.listdir("/dev/fd"))) == len(before)


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_pipe_that_cannot_be_made_is_an_error_and_leaves_no_descriptor(monkeypatch, allowed):
    """As where the process has no descriptor left for the second one."""
    pipe = os.pipe
    made: list[tuple[int, int]] = []

    def refusing() -> tuple[int, int]:
        if len(made) == allowed:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.append(pipe())
        return made[-1]

    before = set(os.listdir("/dev/fd"))
    monkeypatch.setattr(os, "pipe", refusing)
    with pytest.raises(ConfigurationError, match="does not start"):
        LockedChild(SqlLimits())
    assert len(set(os.listdir("/dev/fd"))) == len(before)


def test_no_descriptor_and_no_process_is_left(tmp_path):
    """Whatever has happened, the pipes are closed and the child is gone."""
    before = set(os.listdir("/dev/fd"))
    with LockedChild(SqlLimits()) as own:
        pass
    assert own.process.returncode is not None
    assert len(set(os.listdir("/dev/fd"))) == len(before)
