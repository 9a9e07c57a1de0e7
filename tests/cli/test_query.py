"""`ipfs-logs query`: the records that pass, merged by time, in each form of output."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import subprocess
import sys
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, open_dataset
from ipfs_log_handlers.cli.query_options import Question
from ipfs_log_handlers.query.follow import Following
from tests.support import query_homes, sample_homes
from tests.support.cli import on_terminal, run
from tests.support.odd_values import ODD_NAMES, odd_value
from tests.support.programs import environment
from tests.support.terminal import run_on_terminal

NASTY = "a\x1b[31mred\x9b2J\u202eoverride\nnext"


def test_following_opens_the_dataset_once(home, monkeypatch):
    """With `--verify chain` the chain is verified once."""
    sample_homes.make(home, 3)
    opened: list[Any] = []
    real = Question.dataset

    def dataset(question: Question, place: Any) -> Any:
        opened.append(question)
        return real(question, place)

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Question, "dataset", dataset)
    monkeypatch.setattr(Following, "wait", stop)
    run("query", "--home", home, "-f", "--verify", "chain")
    assert len(opened) == 1


def test_records_of_all_subsystems_come_in_the_order_of_time(queried):
    """Without options every record is printed once, oldest first, as JSON Lines with its subsystem."""
    ended = run("query", home=queried)
    expected = query_homes.records_of(queried)

    assert (ended.code, ended.err) == (0, "")
    assert [record["time"] for record in ended.objects] == [record["time"] for record in expected]
    assert {record["subsystem"] for record in ended.objects} == {"audit", "logs", "wal"}
    assert {record["subsystem"] for record in run("query", "wal", "logs", home=queried).objects} == {"logs", "wal"}


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        (["-l", "error"], lambda r: r["level"] in ("error", "critical")),
        (["-L", "app.*"], lambda r: r["logger"].startswith("app.")),
        (["-L", "db", "-L", "app.web"], lambda r: r["logger"] in ("db", "app.web")),
        (["-L", "!db"], lambda r: r["logger"] != "db"),
        (["-i", "^log", "-e", "in$"], lambda r: r["event"] == "logout"),
        (["-F", "-i", "5 s"], lambda r: r["event"] == "a timeout of 5 s"),
        (["-w", "status=500"], lambda r: r["status"] in (500, "500") and r["status"] is not True),
        (["-w", "number>60", "-w", "user_id!=mira"], lambda r: r["number"] > 60 and r["user_id"] != "mira"),
        (["-w", "request.path~[34]$"], lambda r: r.get("request", {}).get("path", "")[-1:] in ("3", "4")),
        (["--since", "2026-02-25T06:14:00Z"], lambda r: r["time"] >= "2026-02-25T06:14:00"),
        (["--from", "06:14", "--to", "06:15", "--utc"], lambda _: False),
        (["-S", str(int(query_homes.START)), "-U", "2026-02-25T06:13:30Z"],
         lambda r: "06:13:20" <= r["time"][11:] < "06:13:30"),
    ],
)  # fmt: skip
def test_options_choose_records(queried, options, passes):
    """Each option keeps what it says, and exit code 1 tells that nothing passes."""
    ended = run("query", *options, home=queried)
    expected = [record["time"] for record in query_homes.records_of(queried) if passes(record)]

    assert [record["time"] for record in ended.objects] == expected
    assert ended.code == (0 if expected else 1)
    assert ended.err == ("" if expected else "ipfs-logs: no record matches\n")


def test_the_last_matches_are_printed_oldest_first_or_newest_first(queried):
    """`-n` keeps the newest matches; `-r` turns the order round."""
    times = [record["time"] for record in query_homes.records_of(queried)]

    assert [record["time"] for record in run("query", "-n", 5, home=queried).objects] == times[-5:]
    assert [record["time"] for record in run("query", "-n", 5, "-r", home=queried).objects] == times[:-6:-1]
    assert [record["time"] for record in run("query", "-r", home=queried).objects] == times[::-1]


def test_context_prints_the_neighbours(queried):
    """`-C` prints the records beside each match, too."""
    records = query_homes.records_of(queried)
    ended = run("query", "-w", "number=40", "-n", "1", "-C", "2", home=queried)
    at = max(place for place, record in enumerate(records) if record["number"] == 40)

    assert [record["time"] for record in ended.objects] == [record["time"] for record in records[at - 2 : at + 3]]


def test_stats_are_one_line_on_stderr(queried):
    """`--stats` says what was read: as one JSON object with the promised keys, or as a sentence."""
    stats = json.loads(run("query", "audit", "-n", "1", "--stats", home=queried).err)

    assert list(stats) == ["batches", "opened", "records", "matched", "bytes", "pages", "manifests", "seconds"]
    assert 0 < stats["opened"] < stats["batches"]
    assert "batches" in run("query", "audit", "--stats", "-o", "text", home=queried).err


# -- forms


def test_text_has_local_time_level_logger_event_and_fields(queried):
    """Text is in the timezone that is asked for; the subsystem is left out where one alone is named."""
    line = run("query", "wal", "-n", 1, "-o", "text", "--utc", "--fields", "time,level", home=queried).out
    shifted = run("query", "wal", "-n", 1, "-o", "text", "--timezone", "Asia/Tokyo", home=queried).out
    record = query_homes.records_of(queried)
    (last,) = [each for each in record if each["subsystem"] == "wal"][-1:]

    assert line == f"time={last['time'][:23].replace('T', ' ')} level={last['level']}\n"
    assert shifted.startswith(f"2026-02-25 15:{last['time'][14:23]} {last['level']}")
    assert " wal " not in shifted
    assert f"number={last['number']}" in shifted
    assert run("query", "-o", "text", "--timezone", "Nowhere", home=queried).code == 2


def test_logfmt_csv_and_raw(queried):
    """Logfmt has the keys of JSON; CSV loses no field; raw is the line as it was logged."""
    records = query_homes.records_of(queried)
    raw = run("query", "-o", "raw", home=queried).objects
    assert raw == [{key: value for key, value in each.items() if key != "subsystem"} for each in records]

    rows = list(csv.DictReader(io.StringIO(run("query", "-o", "csv", home=queried).out)))
    assert [row["event"] for row in rows] == [record["event"] for record in records]
    assert [json.loads(row["fields"])["status"] for row in rows] == [record["status"] for record in records]
    chosen = run("query", "-o", "csv", "--fields", "number,request.path", "-n", 2, "audit", home=queried).out
    assert chosen.splitlines()[0] == "number,request.path"

    line = run("query", "-o", "logfmt", "-w", "number=0", home=queried).out
    assert line.startswith("time=2026-02-25T06:13:")
    assert " number=0 " in line
    assert run("query", "-o", "raw", "--fields", "time", home=queried).code == 2


def test_json_with_chosen_fields(queried):
    """`--fields` keeps these keys of each object, in this order."""
    (record,) = run("query", "-n", 1, "--fields", "subsystem,level,absent", home=queried).objects
    assert list(record) == ["subsystem", "level"]


def test_what_a_terminal_obeys_is_shown_in_every_form(home):
    """No character of a record reaches a terminal as a command, whatever the form."""
    sample_homes.log(home, range(1))
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(sample_homes.record(1, text=NASTY, **{"\x1b[31mkey": 1}))
    for form in ("text", "json", "logfmt", "csv", "raw"):
        shown = on_terminal("--home", home, "query", "-o", form, "--no-pager")
        assert b"\x1b[31m" not in shown
        assert b"\x9b2J" not in shown
        assert "\u202e".encode() not in shown
        assert b"override" in shown


def test_matches_are_highlighted_and_lines_wrap_on_a_terminal(home):
    """On a terminal a line wraps between words at its width, and what `-i` finds has a colour."""
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(sample_homes.record(0, text="word " * 30, end="here"))
    shown = run_on_terminal(
        [*_command(), "--home", str(home), "query", "-i", "did", "--no-pager", "-o", "text"], columns=60
    )

    assert all(len(line) <= 60 for line in shown.screen)
    assert len(shown.screen) > 3
    assert shown.screen[1].startswith("    ")
    assert shown.screen[-1].endswith("end=here")
    assert "\x1b[30m\x1b[43mdid\x1b[0m" in shown.output
    plain = run("query", "-i", "did", "-o", "text", home=home).out
    assert "\x1b" not in plain
    assert "\x1b[43m" in run("query", "-i", "did", "-o", "text", "--color", "always", home=home).out


def test_a_pager_shows_what_is_long_and_may_be_left_early(home):
    """On a terminal text goes through the pager of `PAGER`; one that ends early is no error."""
    sample_homes.make(home, 30)
    paged = run_on_terminal([*_command(), "--home", str(home), "query", "-o", "text"], PAGER="head -n 2", TERM="xterm")
    assert (paged.code, len(paged.screen)) == (0, 2)
    assert "did 0" in paged.screen[0]


def _command() -> list[str]:
    from tests.support.cli import command

    return command()


# -- what goes wrong


def test_damage_is_said_and_is_exit_code_3(home):
    """A damaged batch is named on stderr, the rest is printed, and the exit code is 3."""
    sample_homes.make(home, 30)
    path = sample_homes.subsystem_dir(home).current.batches / "000" / "000001.car"
    sample_homes.flip_last_byte(path)
    ended = run("query", home=home)

    assert (ended.code, len(ended.objects)) == (3, 20)
    assert "audit batch 1 is damaged" in ended.err
    assert run("query", "--verify", "chain", home=home).code == 3


def test_what_has_left_the_home_is_exit_code_5(home):
    """A payload that no store has is named on stderr, the rest is printed, and the exit code is 5."""
    sample_homes.make(home, 30)
    sample_homes.strip(home, 0)
    ended = run("query", home=home)

    assert (ended.code, len(ended.objects)) == (5, 20)
    assert "audit batch 0 is absent" in ended.err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--since", "soon"], ["-l", "loud"], ["-w", "status"], ["-i", "("], ["adit"], ["--fields", ""], ["-n", "-1"],
        ["-f", "-r"], ["--source", "/nowhere"], ["--source", ".", "--home", "."],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2_and_one_line(queried, wrong):
    """What is malformed is one line on stderr, and nothing on stdout."""
    ended = run("query", *wrong, home=None if "--source" in wrong else queried)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1


def test_an_empty_home_is_explained(home):
    """Where nothing was logged, stderr says so, and the exit code is 1."""
    home.mkdir()
    ended = run("query", home=home)
    assert (ended.code, ended.out) == (1, "")
    assert "nothing was logged here yet" in ended.err


def test_several_sources_are_merged(tmp_path):
    """`--source` may be given several times."""
    for name, numbers in (("one", range(0, 10, 2)), ("two", range(1, 10, 2))):
        query_homes.log_some(tmp_path / name, "audit", numbers, spread=0)
    ended = run("query", "--source", tmp_path / "one", "--source", tmp_path / "two")
    assert [record["number"] for record in ended.objects] == list(range(10))


LOGFMT = re.compile(r"""([^\s="\\]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?: |$)""")
"""One member of a record as logfmt."""


def check_form(form: str, text: str, records: list[dict[str, Any]]) -> None:
    """Check that a form has each record, in its order, with each of its fields."""
    if form == "text":
        places = [text.find(f" odd {record['event']}") for record in records]
        assert -1 not in places
        assert places == sorted(places)
    elif form == "logfmt":
        for line, record in zip(text.strip("\n").split("\n"), records, strict=True):
            assert "" == LOGFMT.sub("", line)
            assert [key for key, _ in LOGFMT.findall(line)] == list(record)
    elif form == "csv":
        limit = csv.field_size_limit(1 << 28)
        rows = list(csv.DictReader(io.StringIO(text)))
        csv.field_size_limit(limit)
        assert [row["event"] for row in rows] == [record["event"] for record in records]
        found = [json.loads(row["fields"]).get("value") for row in rows]
        assert found == [record.get("value") for record in records]


def test_every_odd_value_goes_through_each_output(tmp_path):
    """Each value that breaks loggers is printed in every form, sealed or not; as JSON it is the same."""
    home = tmp_path / "home"
    handler = IPFSHandler("audit", home=home, keeper="none")
    for name in ODD_NAMES:
        record = logging.LogRecord("odd", 30, __file__, 1, name, None, None)
        record.__dict__["value"] = odd_value(name)
        handler.handle(record)
    handler.close()
    for _ in ("waiting", "sealed"):
        records = list(open_dataset(home))
        assert len(records) == len(ODD_NAMES)
        assert run("query", home=home).objects == records
        for form in ("text", "logfmt", "csv", "raw"):
            ended = run("query", "-o", form, home=home)
            assert (ended.code, ended.err) == (0, "")
            lines = ended.out.count("\n")
            assert lines >= len(records) if form in ("text", "csv") else lines == len(records)
            check_form(form, ended.out, records)
        assert [json.loads(line) for line in run("query", "-o", "raw", home=home).out.strip("\n").split("\n")] == [
            {key: value for key, value in record.items() if key != "subsystem"} for record in records
        ]
        sample_homes.seal(home)


def test_a_short_query_imports_only_what_it_uses(queried):
    """No pager, no thread, no export, no watch and no other source is prepared for the newest records of a home."""
    unused = ["subprocess", "ctypes", "secrets", "concurrent.futures", "asyncio", "pyarrow", "duckdb", "rich", "csv"]
    ours = (
        "query.follow",
        "query.history",
        "query.opening",
        "query.sql_answer",
        "reader.car_parts",
        "home.acts",
        "home.data_keys",
    )
    unused += [f"ipfs_log_handlers.{name}" for name in ours]
    program = (
        "import sys, click\nbefore = {*sys.modules}  # click needs subprocess on Python 3.10\n"
        "from ipfs_log_handlers.cli import main\n"
        "try: main(['query', '-n', '1'])\nexcept SystemExit: pass\n"
        f"print([name for name in {unused} if name in sys.modules.keys() - before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(), "IPFS_LOGS_HOME": str(queried)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[0])["subsystem"] in ("audit", "logs", "wal")
    assert done.stdout.splitlines()[-1] == "[]"
