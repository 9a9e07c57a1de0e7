"""The help texts are what they were: a change to them is seen in review."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipfs_log_handlers.cli import VERBS
from tests.cli.running import command, run
from tests.programs import environment

TEXTS = Path(__file__).parent / "help"
PAGES = {"main": ["--help"], **{verb: [verb, "--help"] for verb in VERBS}}
PAGES |= {"keys-show": ["keys", "show", "--help"], "keys-new-log": ["keys", "new-log", "--help"]}


@pytest.mark.parametrize("page", PAGES)
def test_help_is_the_golden_text(page):
    """`--help` prints the text in `help/`, the same on every terminal width above 80."""
    ended = run(*PAGES[page], COLUMNS="100")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (TEXTS / f"{page}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["main", "keys"])
def test_without_a_verb_the_help_is_shown(page):
    """Without a verb the help is shown as it stands in `help/`; by click from 8.2 on as wrong usage, on stderr."""
    ended = run(*PAGES[page][:-1], COLUMNS="100")
    assert ended.out + ended.err == (TEXTS / f"{page}.txt").read_text(encoding="utf-8")
    assert ended.code == (2 if ended.err else 0)


def test_no_help_text_is_left_over():
    """Each golden text is that of a verb."""
    assert {path.stem for path in TEXTS.iterdir()} == PAGES.keys()


def test_verbs_are_told_as_they_are():
    """The table that `--help` prints names every verb, and each has a help of its own."""
    for verb in VERBS:
        assert run(verb, "--help").out.startswith(f"Usage: ipfs-logs {verb}")


def test_version():
    """`--version` names the program and a version."""
    assert run("--version").out.startswith("ipfs-logs, version ")


def test_help_is_quick():
    """`--help` takes at most six times what an empty Python does (median of seven, taken in turn)."""

    def seconds(args: list[str]) -> float:
        begun = time.perf_counter()
        subprocess.run(args, env=environment(), capture_output=True, check=True)
        return time.perf_counter() - begun

    pairs = [(seconds([sys.executable, "-c", "pass"]), seconds(command("--help"))) for _ in range(7)]
    empty, helped = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert helped <= 6 * empty


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
