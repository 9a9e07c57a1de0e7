"""Every verb on a terminal of 80 and of 120 columns, and on one that wants no colour: what a person sees at the end."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from ipfs_log_handlers.cli import VERBS
from ipfs_log_handlers.testing import FakeDaemon
from tests.support import sample_homes
from tests.support.cli import command, run
from tests.support.programs import ROOT
from tests.support.terminal import AT_ONCE, Terminal, run_on_terminal, screen_after

ARGUMENTS = {
    "archive": ["archive", __file__],
    "cat": ["cat", "--cid", "CID"],
    "import": ["import", __file__],
    "hold": ["hold", "list"],
    "mirror": ["mirror", __file__],
    "retention": ["retention", "plan", "--keep", "0d"],
    "keys": ["keys", "show"],
    "query": ["query", "--no-pager"],
    "sql": ["sql", "SELECT * FROM logs_all ORDER BY time LIMIT 5"],
    "top": ["top", "number"],
    "show": ["show", "audit", "0/1"],
    "export": ["export", "FILE"],
    "prove": ["prove", "audit", "FILE", "--seq", "1"],
    "check": ["check", "BUNDLE", "--key", "KEY"],
    "completion": ["completion", "bash"],
}
ENDING = [verb for verb in VERBS if verb not in ("tail", "serve", "mcp")]
"""The verbs that end by themselves."""
STYLE = re.compile("\x1b\\[[0-9;]*m")

pytestmark = pytest.mark.slow


@pytest.fixture
def full(home: Path, tmp_path: Path) -> Path:
    """Make a home in which every verb has something to show, with long names and numbers."""
    sample_homes.log(home, range(40), "data_lifecycle")
    sample_homes.log(home, range(1000), "audit", records=400)
    with sample_homes.Writing(home, "data_lifecycle") as writing:
        for number in range(3):
            writing.handler.handle(
                sample_homes.record(number, name=f"ロガー.{'長い名前.' * 9}", user="利用者の名前 " * 9)
            )
    sample_homes.seal(home)
    path = tmp_path / "a report with a long name of the year 2026.csv"
    path.write_text("a,b\n" * 1000)
    assert run("archive", path, "--subsystem", "wal", "--version", "2026-03-02.rc1", home=home).code == 0
    assert run("prove", "audit", home.parent / "record.proof", "--seq", "7", home=home).code == 0
    return home


def arguments(verb: str, home: Path) -> list[object]:
    """Return the arguments of a verb."""
    cid = run("ls", "audit", home=home).objects[-1]["cid"]
    key = run("keys", "show", "-o", "text", home=home).out.strip()
    meant = {
        "CID": cid,
        "FILE": home.parent / "exported records.csv",
        "BUNDLE": home.parent / "record.proof",
        "KEY": key,
    }
    return [meant.get(each, each) for each in ARGUMENTS.get(verb, [verb])]


def is_word(line: str) -> bool:
    """Say whether a line has no place to break it: a CID, a path."""
    return " " not in line.strip()


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.soak)])
@pytest.mark.parametrize("verb", [verb for verb in ENDING if verb not in ("cat", "completion")])
def test_no_line_is_longer_than_the_terminal(full, verb, columns):
    """Tables leave out or shorten columns, sentences break between words."""
    shown = run_on_terminal(command("--home", full, *arguments(verb, full)), columns=columns)
    logical = screen_after(shown.output, 100_000)

    assert [] == [line for line in logical if cell_len(line) > columns and not is_word(line)]
    assert "".join(logical).strip()


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.soak)])
@pytest.mark.parametrize("verb", ENDING)
def test_nothing_of_a_bar_is_left(full, verb, columns):
    """A bar that was shown is erased, and what is printed stands on lines of its own."""
    program = [sys.executable, "-c", AT_ONCE, "--home", str(full), *map(str, arguments(verb, full))]
    shown = run_on_terminal(program, columns=columns)

    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" not in "".join(shown.screen)
    assert "0:00:0" not in "".join(shown.screen)
    if verb in ("verify", "ls", "status", "keys"):
        plain = run_on_terminal(command("--home", full, *arguments(verb, full)), columns=columns).screen
        assert shown.screen == plain


def test_a_bar_of_verify_names_the_subsystem(full):
    """While a log is checked, its subsystem, the checked batches and all of them are shown."""
    shown = run_on_terminal([sys.executable, "-c", AT_ONCE, "--home", str(full), "verify"])
    assert re.search(r"verifying audit .*\b3/3", STYLE.sub("", shown.output))
    assert "/100" not in shown.output


def test_a_bar_of_export_counts_the_records(full, tmp_path):
    """While a file is written, the records so far are shown; the bar is gone when the sum stands there."""
    target = tmp_path / "all.jsonl"
    shown = run_on_terminal([sys.executable, "-c", AT_ONCE, "--home", str(full), "export", str(target)])
    assert re.search(r"exporting .*\b[1-9][0-9]*/\?", STYLE.sub("", shown.output))
    assert "exporting" not in "".join(shown.screen)
    assert "1,043 records" in " ".join(" ".join(shown.screen).split())


@pytest.mark.parametrize("verb", [*ENDING, "--help", "nonsense"])
@pytest.mark.parametrize(
    "variables",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, pytest.param({"TERM": "unknown"}, marks=pytest.mark.soak)],
    ids=str,
)
def test_no_colour_and_no_bold_where_none_is_wanted(full, verb, variables):
    """With `NO_COLOR`, or on a terminal that is dumb, nothing is bold or coloured; a dumb one gets no bar either."""
    given = arguments(verb, full) if verb in VERBS else [verb]
    program = [sys.executable, "-c", AT_ONCE, "--home", str(full), *map(str, given)]
    shown = run_on_terminal(program, **variables)

    assert not STYLE.search(shown.output)
    if "TERM" in variables:
        assert "\x1b" not in shown.output


@pytest.mark.parametrize("columns", [80, 120])
def test_what_tail_shows_fits_too(full, columns):
    """`tail` breaks the lines of its records as `query` does; `NO_COLOR` holds for it, and Ctrl-C leaves one line."""
    terminal = Terminal(command("--home", full, "tail", "-n", "3"), columns=columns, NO_COLOR="1")
    terminal.read_until(lambda shown: shown.count("did ") == 3)
    terminal.interrupt()
    shown = terminal.end()

    assert not STYLE.search(shown.output)
    lines = [line for line in screen_after(shown.output, 100_000) if line.strip() != "^C"]
    assert [] == [line for line in lines if cell_len(line) > columns]
    assert (shown.code, lines[-1]) == (130, "ipfs-logs: interrupted")


@pytest.mark.parametrize("verb", ["ls", "status", "doctor", "query", "hist", "top"])
def test_what_is_no_terminal_gets_no_colour_even_where_it_is_forced(full, verb):
    """`FORCE_COLOR` puts no escape sequence into a pipe, which a program reads; `--color always` does."""
    ended = run(*arguments(verb, full), "-o", "text", home=full, FORCE_COLOR="1", CLICOLOR_FORCE="1")
    assert "\x1b" not in ended.out + ended.err
    if verb == "query":
        assert STYLE.search(run("query", "--color", "always", "-o", "text", home=full, NO_COLOR="1").out)


def test_a_usual_terminal_has_both(full):
    """Titles are bold, and levels of records and states of checks have a colour."""
    assert "\x1b[1mSUBSYSTEM" in run_on_terminal(command("--home", full, "ls")).output
    assert "\x1b[33mwarning" in run_on_terminal(command("--home", full, "cat", "audit")).output
    assert "\x1b[32mok" in run_on_terminal(command("--home", full, "doctor")).output


def test_ls_shows_whole_cids_as_soon_as_they_fit(full):
    """Columns are left out before CIDs are shortened; a shortened CID has its beginning and its end."""
    cid = run("ls", "audit", home=full).objects[0]["cid"]
    narrow, wide = (run_on_terminal(command("--home", full, "ls"), columns=width).screen for width in (80, 120))
    assert cid in wide[1]
    assert re.search(rf"{cid[:7]}\w*…\w*{cid[-7:]}$", narrow[1])
    assert "RAW" not in narrow[0]
    assert max(map(len, narrow)) <= 80


def test_a_terminal_without_unicode_gets_cells_of_the_same_width(full):
    """Where a CID is shortened, one character of ASCII stands for what was cut out; bars are of ASCII, too."""
    ascii_only: dict[str, Any] = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    shown = run_on_terminal(command("--home", full, "ls"), columns=80, **ascii_only)
    assert re.search(r"~\w{7,}$", shown.screen[1])
    shown = run_on_terminal(command("--home", full, "hist", "audit"), columns=80, **ascii_only)
    assert "##" in shown.screen[0]
    assert "\\u" not in shown.output


def test_a_line_that_is_no_terminal_is_never_broken_or_shortened(full):
    """In a pipe and in a file each line is whole, whatever `COLUMNS` says."""
    cids = {each["cid"] for each in run("ls", home=full).objects}
    ended = run("ls", "-o", "text", home=full, COLUMNS="60")
    assert cids == {line.split()[-1] for line in ended.out.splitlines()[1:]}


def test_ship_leaves_the_sum_alone(full):
    """The bar of a shipment is gone at the end; a store out of reach is one message."""
    with FakeDaemon() as daemon:
        shown = run_on_terminal(command("--home", full, "ship", "--kubo", daemon.url))
    assert shown.code == 0
    assert len(shown.screen) == 1
    assert re.fullmatch(r"\d+ batches shipped in [\d.]+ s", shown.screen[0])
    shown = run_on_terminal(command("--home", full, "ship", "--kubo", "http://127.0.0.1:9", "--timeout", "0"))
    assert shown.code == 4
    assert shown.screen[0].startswith("ipfs-logs: error: ")
    assert shown.screen[-1].startswith("0 batches shipped in ")


@pytest.mark.parametrize("columns", [80, 120])
def test_the_demo_leaves_whole_lines(columns):
    """`make demo` on a terminal shows nothing half erased; each log is verified on a line of its own."""
    make = ["make", "--no-print-directory", "demo", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed"]
    shown = run_on_terminal(make, columns=columns, cwd=ROOT)
    assert shown.code == 0
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" not in "".join(shown.screen)
    verified = shown.screen[shown.screen.index("$ ipfs-logs verify") + 1 :]
    assert [line.split(":")[:2] for line in verified] == [["audit", " ok"], ["logs", " ok"]]
