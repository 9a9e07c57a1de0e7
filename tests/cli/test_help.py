"""The help texts are what they were: a change to them is seen in review."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from ipfs_log_handlers.cli import VERBS
from tests.support.cli import command, run
from tests.support.programs import environment

TEXTS = Path(__file__).parent / "help"
PAGES = {"main": ["--help"], **{verb: [verb, "--help"] for verb in VERBS}}
PAGES |= {
    f"keys-{name}": ["keys", name, "--help"]
    for name in (
        "show",
        "rotate",
        "export",
        "import",
        "same-log",
        "new-log",
        "issue",
        "accept",
        "periods",
        "pseudonym",
        "shred",
    )
}
PAGES |= {f"retention-{name}": ["retention", name, "--help"] for name in ("plan", "apply")}
PAGES |= {f"hold-{name}": ["hold", name, "--help"] for name in ("set", "release", "list")}


@pytest.mark.parametrize("page", PAGES)
def test_help_is_the_golden_text(page):
    """`--help` prints the text in `help/`, the same on every terminal width above 80."""
    ended = run(*PAGES[page], COLUMNS="100")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (TEXTS / f"{page}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["main", "hold", "keys"])
def test_without_a_verb_the_help_is_shown(page):
    """Without a verb the help is shown as it stands in `help/`; by click from 8.2 on as wrong usage, on stderr."""
    ended = run(*PAGES[page][:-1], COLUMNS="100")
    assert ended.out + ended.err == (TEXTS / f"{page}.txt").read_text(encoding="utf-8")
    assert ended.code == (2 if ended.err else 0)


@pytest.mark.parametrize("page", PAGES)
def test_help_fits_a_terminal_of_80_columns(page):
    """No line of a help text is longer than a usual terminal is wide."""
    assert [] == [line for line in run(*PAGES[page], COLUMNS="80").out.splitlines() if len(line) > 80]


def test_no_help_text_is_left_over():
    """Each golden text is that of a verb."""
    assert {path.stem for path in TEXTS.iterdir()} == PAGES.keys()


def test_each_verb_has_a_help_of_its_own():
    """The table that `--help` prints names every verb, and each has a help of its own."""
    for verb in VERBS:
        assert run(verb, "--help").out.startswith(f"Usage: ipfs-logs {verb}")


def test_version_is_the_program_and_a_number():
    """`--version` names the program and a version."""
    assert run("--version").out.startswith("ipfs-logs, version ")


def test_help_takes_at_most_twelve_times_the_cpu_of_an_empty_python():
    """`--help` takes at most twelve times the CPU of an empty Python (median of seven runs, taken in turn)."""

    def cpu_s(args: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(args, env=environment(), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    pairs = [(cpu_s([sys.executable, "-c", "pass"]), cpu_s(command("--help"))) for _ in range(7)]
    empty, helped = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert helped <= 12 * empty


def test_help_imports_nothing_heavy():
    """`--help` imports click, and none of what the verbs need."""
    program = (
        "import sys\nfrom ipfs_log_handlers.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([n for n in ('rich','aiohttp','msgspec','cryptography','multiformats','asyncio') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
