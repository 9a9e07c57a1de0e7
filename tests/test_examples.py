"""The programs in examples/ and `make demo` run, end well and show what they are for."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.slow
def test_demo_lists_reads_and_verifies_what_it_logged():
    """`make demo` lists, reads and verifies what it logged, with less than ten seconds of CPU once all is installed."""
    before = _children_cpu_s()
    done = subprocess.run(
        ["make", "--no-print-directory", "demo", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = re.split(r"^\$ (.*)\n", done.stdout, flags=re.MULTILINE)
    output = dict(zip(shown[1::2], shown[2::2], strict=True))
    listed, read, verified = (
        [json.loads(line) for line in output[command].splitlines() if line]
        for command in ("ipfs-logs ls", "ipfs-logs cat audit", "ipfs-logs verify")
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert {"audit", "logs"} == {batch["subsystem"] for batch in listed}
    assert all(batch["cid"].startswith("bafyrei") for batch in listed)
    assert ["mira signed in", None] == [record.get("message") for record in read]
    assert [True, True] == [log["ok"] for log in verified]
    assert _children_cpu_s() - before < 10


def _children_cpu_s() -> float:
    """Return the CPU seconds of all child processes that have ended; a busy machine hardly changes them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_the_example_of_make_demo_is_among_the_examples():
    """examples/ holds at least the program that `make demo` runs."""
    assert ROOT / "examples" / "quickstart.py" in EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_ends_well_without_a_daemon(example, tmp_path):
    """Each example ends with 0, in a home of its own and without a daemon, and no warning is raised."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        env={**kept, "IPFS_LOGS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 0 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
