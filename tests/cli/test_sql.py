"""`ipfs-logs sql`: answers as text, JSON and CSV, and the prompt."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

from ipfs_log_handlers.cli import sql_prompt
from tests.support import query_homes, sample_homes
from tests.support.cli import command, run
from tests.support.terminal import Terminal

FIRST = "SELECT number, status, time FROM audit WHERE number IN (3, 4) ORDER BY number"


def test_an_answer_is_json_lines(queried):
    """One object a row; a value of type JSON is what was logged, and a time is text in UTC."""
    records = {r["number"]: r for r in query_homes.records_of(queried) if r["subsystem"] == "audit"}
    ended = run("sql", FIRST, home=queried)
    assert ended.objects == [{key: records[number][key] for key in ("number", "status", "time")} for number in (3, 4)]
    assert (ended.code, ended.err) == (0, "")


def test_a_plan_lists_the_batches_that_are_read(queried):
    """One line a batch on stdout, and on stderr how many are skipped by what; the query is not answered."""
    query = "SELECT count(*) FROM logs WHERE time >= TIMESTAMPTZ '2026-02-25 06:14:25Z'"
    ended = run("sql", "--explain", query, home=queried)
    assert ended.code == 0
    assert {"subsystem", "log", "index", "first", "last", "records", "bytes", "reason"} == set(ended.objects[0])
    assert {"logs"} == {batch["subsystem"] for batch in ended.objects}
    assert ended.err.startswith(f"ipfs-logs: reads {len(ended.objects)} of ")
    assert "by subsystem" in ended.err
    text = run("sql", "--explain", query, "-o", "text", "--utc", home=queried)
    assert ["subsystem", "log", "index", "first", "last", "records", "bytes", "reason"] == text.out.split("\n")[
        0
    ].split()
    assert run("sql", "--explain", home=queried).code == 2
    assert run("sql", "--explain", "--untrusted", query, home=queried).code == 2


def test_columns_of_one_name_are_told_apart(queried):
    """No value of a row is lost in an object."""
    ended = run("sql", "SELECT 1 AS n, 2 AS n, 1.50 AS n, sum(3) AS s, NULL AS i, DATE '2026-03-02' AS d", home=queried)
    assert ended.objects == [{"n": 1, "n_1": 2, "n_2": 1.5, "s": 3, "i": None, "d": "2026-03-02"}]


def test_an_answer_is_text_for_eyes(queried):
    """A table with times in the timezone; nothing of a value is obeyed by a terminal."""
    query = "SELECT time, chr(27) || 'x' AS odd, NULL AS nothing FROM wal ORDER BY time LIMIT 1"
    ended = run("sql", query, "-o", "text", "--timezone", "Asia/Tokyo", home=queried)
    [title, row] = ended.out.splitlines()
    assert ["time", "odd", "nothing"] == title.split()
    assert row.startswith("2026-02-25 15:13:")
    assert "\x1b" not in row
    assert ended.err == "ipfs-logs: 1 row\n"


def test_an_answer_is_csv(queried):
    """Titles, then the rows; a value that is no text is JSON."""
    ended = run("sql", FIRST, "-o", "csv", home=queried)
    [title, *rows] = csv.reader(io.StringIO(ended.out))
    assert title == ["number", "status", "time"]
    assert [row[0] for row in rows] == ["3", "4"]


def test_options_choose_what_sql_sees_and_stats_say_what_was_read(queried):
    """The filters of `query` hold; `--stats` ends with one JSON line on stderr."""
    query = "SELECT count(*) AS n FROM logs_all WHERE time < '2026-02-25 06:13:30Z'"
    ended = run("sql", query, "-l", "error", "--stats", home=queried)
    counted = json.loads(ended.err)
    assert 0 < ended.objects[0]["n"] <= counted["matched"] < counted["records"]
    assert 0 < counted["opened"] < counted["batches"]
    assert {"batches", "opened", "records", "matched", "bytes", "seconds"} <= counted.keys()
    other = run("sql", "SELECT count(*) AS n FROM audit", "--source", queried, "-w", "number=3")
    assert other.objects == [{"n": 1}]


def test_a_subsystem_that_is_named_is_the_only_table(queried):
    """After the query, subsystems may be named, as for `query`."""
    assert [row["name"] for row in run("sql", "SHOW TABLES", "wal", home=queried).objects] == ["logs_all", "wal"]


def test_sql_comes_from_stdin(queried):
    """Without a query, and without a terminal, stdin is the query."""
    with mock.patch.object(sys, "stdin", io.StringIO("CREATE TABLE x AS SELECT 5 AS a;\nSELECT a FROM x;")):
        assert run("sql", home=queried).objects == [{"a": 5}]


def test_exit_codes_are_those_of_query(queried, tmp_path):
    """1 without a row, 2 for wrong SQL or no home, 0 for a statement without an answer."""
    assert run("sql", "SELECT 1 FROM audit WHERE number = 9999", home=queried).code == 1
    wrong = run("sql", "SELECT nothing FROM audit", home=queried)
    assert (wrong.code, wrong.out) == (2, "")
    assert 'column "nothing" not found' in wrong.err
    assert run("sql", "CREATE TABLE x (a INTEGER)", home=queried).code == 0
    assert run("sql", "SELECT 1", home=tmp_path / "none").code == 2


def test_a_damaged_batch_is_told_and_the_rest_is_answered(tmp_path):
    """Exit code 3, with the rows of the other batches."""
    home = tmp_path / "home"
    sample_homes.make(home, 30)
    batch = sample_homes.subsystem_dir(home).current.batches / "000" / "000001.car"
    content = bytearray(batch.read_bytes())
    content[-1] ^= 1
    batch.write_bytes(content)
    ended = run("sql", "SELECT count(*) AS n FROM audit", home=home)
    assert (ended.code, ended.objects) == (3, [{"n": 20}])
    assert "batch 1" in ended.err


def test_a_missing_library_is_named_with_what_installs_it(queried):
    """Exit code 2, and the command that helps."""
    with mock.patch.dict(sys.modules, {"duckdb": None}):
        ended = run("sql", "SELECT 1", home=queried)
    assert ended.code == 2
    assert "pip install 'ipfs_log_handlers[query]'" in ended.err


def test_untrusted_sql_has_no_rights(queried, tmp_path):
    """It answers, names the rows that were left out, and opens no file."""
    ended = run("sql", "--untrusted", "SELECT a.seq FROM logs_all a, logs_all b", home=queried)
    assert (ended.code, len(ended.objects)) == (0, 1000)
    assert ended.err == "ipfs-logs: only the first 1,000 rows: there are more\n"
    refused = run("sql", "--untrusted", f"SELECT * FROM read_text('{tmp_path}')", home=queried)
    assert refused.code == 2
    assert "disabled by configuration" in refused.err
    assert run("sql", "--untrusted", home=queried).code == 2


# -- the prompt


def test_ctrl_c_stops_a_query_and_not_the_prompt(monkeypatch, capsys):
    """The next statement is asked for, and answered."""
    typed = iter(["SELECT 1;", "SELECT 2;"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed, None) or ".quit")
    monkeypatch.setattr(sql_prompt, "_history", contextlib.nullcontext)
    answers: list[Any] = []
    session = mock.Mock()
    session.answer.side_effect = [KeyboardInterrupt, "an answer"]
    assert sql_prompt.run(session, answers.append) == 0
    assert answers == ["an answer"]
    assert "interrupted" in capsys.readouterr().err


PROMPT = re.compile(r"(sql|\.\.\.)> ")


def is_waiting(terminal: Terminal) -> bool:
    """Return whether the program sleeps in a system call."""
    state = Path(f"/proc/{terminal.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S"


def test_the_prompt_takes_statements_over_several_lines_and_keeps_a_history(queried, tmp_path):
    """`.tables`, `.schema`, errors and Ctrl-C leave the prompt; Ctrl-D ends it; the next run finds what was typed."""
    state = tmp_path / "state"
    args = command("--home", queried, "-o", "json", "sql")
    terminal = Terminal(args, columns=100, XDG_STATE_HOME=str(state))
    screen = [""]

    def seen(output: str) -> str:
        screen[0] = output
        return output

    def typed(text: str, shown: str) -> None:
        prompts = len(PROMPT.findall(screen[0]))
        os.write(terminal.input, text.encode())
        terminal.read_until(lambda output: len(PROMPT.findall(seen(output))) > prompts)
        assert shown in screen[0]

    terminal.read_until(lambda output: PROMPT.search(seen(output)))
    typed(".tables\n", "logs_all")
    typed(".schema audit\n", "status")
    typed(".nothing\n", "no command '.nothing'")
    typed("SELECT count(*)\n", "...> ")
    typed("  AS made FROM wal;\n", '{"made":15}')
    typed("SELECT nothing FROM wal;\n", 'column "nothing" not found')
    os.write(terminal.input, b"SELECT 'half")
    terminal.read_until(lambda output: output.endswith("half"))
    while not is_waiting(terminal):  # CPython's readline sees an earlier Ctrl-C only at the next key
        time.sleep(0.01)
    typed("\x03", "half")
    typed("CREATE TABLE x AS SELECT 6 AS six;\n", "sql> ")
    typed("SELECT six FROM x;\n", '{"six":6}')
    os.write(terminal.input, b"\x04")
    assert terminal.end().code == 0

    [file] = state.rglob("history")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "SELECT six FROM x;" in file.read_text()
    again = Terminal(args, columns=100, XDG_STATE_HOME=str(state))
    again.read_until(lambda output: "sql> " in output)
    os.write(again.input, b"\x1b[A")
    again.read_until(lambda output: "SELECT six FROM x;" in output)
    os.write(again.input, b"\x15.quit\n")
    assert again.end().code == 0
