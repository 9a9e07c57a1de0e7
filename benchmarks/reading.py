"""Measure what it takes to ask a log: windows, the newest records, full scans, one id, latency, following.

    python -m benchmarks.reading --records 1000000 --batches 1000

The records are those of `lines.py`, spread over three days, sealed by the real keeper. DuckDB and ripgrep read an
export of the same records, as JSON Lines and as `.jsonl.zst`, with the columns of the question alone. Each measurement
is a process of its own that asks twice; the second time counts. Ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import reading_following, reading_remote
from benchmarks.reading_questions import WINDOW_RE, Sample, make

__all__ = ["collect", "report"]

_NOT_INSTALLED: Final = "not installed"
_OURS: Final = ("window", "newest", "scan", "scan_off", "slow", "request")
_DUCK: Final = ("duck_window", "duck_scan", "duck_slow")
_TABLES: Final = ("sql_levels", "sql_scan", "sql_numbers", "arrow")
"""Questions that need DuckDB and pyarrow; DuckDB is asked each of them, too."""


def _ask(scratch: Path, what: str) -> Sample:
    command = [sys.executable, "-m", "benchmarks.reading_questions", what, str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{what}: {done.stderr[-2000:]}")
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


def _command(*arguments: str) -> Sample:
    """Run a command twice, because the first time may compile its modules; the second time counts."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
        seconds = time.perf_counter() - began
    return {"s": seconds}


def _ripgrep(scratch: Path) -> Sample:
    seconds, found = 0.0, 0
    for _ in range(2):
        began = time.perf_counter()
        done = subprocess.run(["rg", WINDOW_RE, scratch / "all.jsonl"], capture_output=True, check=False)
        seconds, found = time.perf_counter() - began, done.stdout.count(b"\n")
    return {"s": seconds, "found": found}


def collect(scratch: Path, rounds: int) -> list[dict[str, Sample]]:
    """Return one sample of each question for each round; what is not installed is left out."""
    has_duck, has_ripgrep = importlib.util.find_spec("duckdb") is not None, shutil.which("rg") is not None
    has_arrow = has_duck and importlib.util.find_spec("pyarrow") is not None
    home = str(scratch / "home")
    samples = []
    for _ in range(rounds):
        sample = {name: _ask(scratch, name) for name in (*_OURS, *(_DUCK if has_duck else ()))}
        for name in _TABLES if has_arrow else ():
            sample |= {asked: _ask(scratch, asked) for asked in (name, f"duck_{name}")}
        if has_ripgrep:
            sample["ripgrep"] = _ripgrep(scratch)
        sample["pass"] = _command("-c", "pass")
        sample["help"] = _command("-m", "ipfs_log_handlers", "query", "--help")
        sample["newest_command"] = _command("-m", "ipfs_log_handlers", "--home", home, "query", "-n", "100")
        samples.append(sample)
    _check_answers(samples)
    return samples


def _check_answers(samples: Sequence[dict[str, Sample]]) -> None:
    """Compare the numbers of records that all of them found."""
    for ours, *others in (
        ("window", "duck_window", "ripgrep"),
        ("scan", "scan_off", "duck_scan"),
        ("slow", "duck_slow"),
        *((name, f"duck_{name}") for name in _TABLES),
    ):
        for sample in samples:
            for other in others:
                if other in sample and sample[other]["found"] != sample[ours]["found"]:
                    raise RuntimeError(f"{ours}: {sample[ours]['found']}, {other}: {sample[other]['found']}")


class _Table:
    """The rows of the table."""

    def __init__(self, samples: Sequence[dict[str, Sample]]) -> None:
        self._samples = samples
        self.rows = ["| what | figure |", "|---|--:|"]

    def add(self, what: str, figure: str) -> None:
        self.rows.append(f"| {what} | {figure} |")

    def median(self, figure: Callable[[dict[str, Sample]], float]) -> float:
        return statistics.median(map(figure, self._samples))

    def milliseconds(self, name: str) -> str:
        if any(name not in sample for sample in self._samples):
            return _NOT_INSTALLED
        return f"{self.median(lambda sample: sample[name]['s']) * 1000:.3g} ms"

    def ratio(self, name: str, other: str) -> str:
        """Return how many times as long the other takes."""
        if any(other not in sample for sample in self._samples):
            return _NOT_INSTALLED
        return (
            f"{self.median(lambda sample: sample[other]['s'] / sample[name]['s']):.3g} × ({self.milliseconds(other)})"
        )

    def opened(self, name: str) -> str:
        sample = self._samples[0][name]
        share = 100 * sample["opened"] / sample["batches"]
        return f"{sample['opened']} of {sample['batches']} batches ({share:.2g} %), {sample['found']} records"


def _described(samples: Sequence[dict[str, Sample]]) -> list[str]:
    table = _Table(samples)
    table.add("ten minutes, level and logger: opened (< 1 %)", table.opened("window"))
    table.add("ten minutes: time", table.milliseconds("window"))
    table.add("DuckDB over raw JSON Lines, by that (≥ 50)", table.ratio("window", "duck_window"))
    table.add("ripgrep over raw JSON Lines, by that (≥ 20)", table.ratio("window", "ripgrep"))
    table.add("last 100 records, in process (≤ 20 ms)", table.milliseconds("newest"))
    table.add("last 100 records, as a command (≤ 250 ms)", table.milliseconds("newest_command"))
    table.add("full scan, text field, verified: opened", table.opened("scan"))
    table.add("full scan: time", table.milliseconds("scan"))
    table.add("DuckDB over `.jsonl.zst`, by that (≥ 1)", table.ratio("scan", "duck_scan"))
    memory = table.median(lambda sample: max(sample[name]["mib"] for name in ("scan", "slow")))
    table.add("full scan: memory of the process (≤ 300 MB)", f"{memory:.0f} MiB")
    verified = table.median(lambda sample: 100 * (sample["scan"]["s"] / sample["scan_off"]["s"] - 1))
    table.add('`verify="batch"` over `"off"` (≤ 15 %)', f"{verified:+.1f} %")
    table.add("full scan, `duration_ms > 500`: time", f"{table.milliseconds('slow')}, {table.opened('slow')}")
    table.add("DuckDB over `.jsonl.zst`, by that", table.ratio("slow", "duck_slow"))
    for name, what in (
        ("sql_levels", "SQL, records by level in one day of three"),
        ("sql_scan", "SQL, records by logger, of all"),
        ("sql_numbers", "SQL, mean of a field that few records have"),
        ("arrow", "`to_arrow()` of all fields of six hours"),
    ):
        table.add(f"{what}: time", table.milliseconds(name))
        table.add("DuckDB over `.jsonl.zst`, by that", table.ratio(name, f"duck_{name}"))
    table.add("one request id: opened (≤ 2 %)", f"{table.opened('request')}, {table.milliseconds('request')}")
    help_ratio = table.median(lambda sample: sample["help"]["s"] / sample["pass"]["s"])
    table.add("`query --help` by `python -c pass` (≤ 6)", f"{help_ratio:.2f} × ({table.milliseconds('help')})")
    return table.rows


def report(rounds: int, records: int = 1_000_000, batches: int = 1000, *, keep: Path | None = None) -> str:
    """Return a Markdown table.

    Args:
        rounds: how often each figure is measured, at least 5 times.
        records: how many records are asked.
        batches: how many batches they are in.
        keep: a directory in which the home is made, or is already from an earlier run; it stays.
    """
    rounds = max(rounds, 5)
    with tempfile.TemporaryDirectory() as directory:
        scratch = keep or Path(directory)
        scratch.mkdir(parents=True, exist_ok=True)
        if not (scratch / "request").exists():
            make(scratch, records, batches)
        rows = _described(collect(scratch, rounds))
        rows += reading_remote.rows(scratch, rounds)
        rows += reading_following.rows(scratch)
    return "\n".join((f"{records} records in {batches} batches.", "", *rows))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description="Measures what a query takes.")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the home here, or use the one that is there")
    chosen = parser.parse_args()
    print(report(chosen.rounds, chosen.records, chosen.batches, keep=chosen.keep))


if __name__ == "__main__":
    main()
