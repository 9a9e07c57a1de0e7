"""`ipfs-logs mirror`: what it prints, and its exit codes."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.support import sample_homes
from tests.support.cli import run, start


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make the home of another machine, with a log of three batches."""
    sample_homes.make(tmp_path / "other", 30)
    return tmp_path / "other"


def test_outcomes(home, other, tmp_path):
    """Copied, up to date, rolled back, gone, out of reach, no key: each is said, with its exit code."""
    key = sample_homes.key_of(other)
    assert run("mirror", str(other), home=home).code == 2
    first = run("mirror", str(other), "--key", key, home=home)
    (found,) = first.objects
    assert list(found) == [
        "source", "subsystem", "log", "result", "batches", "new_batches", "problem", "evidence", "directory",
        "pruned", "absent",
    ]  # fmt: skip
    assert (first.code, found["result"], found["batches"], found["new_batches"]) == (0, "ok", 3, 3)
    told = run("mirror", str(other), "-o", "text", home=home)
    assert (told.code, told.out) == (0, f"audit: ok: 3 here: {found['log']}\n")

    shutil.copytree(other, tmp_path / "backup")
    sample_homes.make(other, 10)
    told = run("mirror", str(other), "-o", "text", home=home)
    assert told.out == f"audit: ok: 1 batch copied, 4 here: {found['log']}\n"
    told = run("mirror", str(tmp_path / "backup"), "-o", "text", home=home)
    assert told.code == 3
    assert told.out.startswith(
        f"audit: NOT OK (stale); 4 batches here: {found['log']}\n  remembered: expected at least 4"
    )

    told = run("mirror", "/ipns/k51abc", str(other), "--gateway", "http://127.0.0.1:9", home=home)
    assert [each["result"] for each in told.objects] == ["unreachable", "ok"]
    assert told.code == 4
    (tmp_path / "empty").mkdir()
    assert run("mirror", str(tmp_path / "empty"), home=home).code == 1
    assert run("mirror", str(tmp_path / "nowhere"), home=home).code == 2
    assert run("mirror", str(other), "--pin", home=home).code == 2


def test_it_follows_until_a_signal(home, other):
    """One line for each change; SIGTERM ends it with 0."""
    key = sample_homes.key_of(other)
    with start("--home", home, "mirror", other, "--follow", "--key", key, "-o", "text", text=True) as running:
        assert running.stdout is not None
        try:
            shown = running.stdout.readline()
            assert str(shown).startswith("audit: ok: 3 batches copied, 3 here")
            sample_homes.make(other, 10)
            shown = running.stdout.readline()
            assert str(shown).startswith("audit: ok: 1 batch copied, 4 here")
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
