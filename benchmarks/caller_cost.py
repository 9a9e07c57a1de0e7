"""Measure the cost of one logging call: CPU and wall time of the caller, and CPU of the process until all is sent.

Each measurement is a process of its own with one handler, so that the threads of one handler do not disturb another. A
round measures every handler once. The median of the rounds is shown; ratios are taken within a round.

    python -m benchmarks.caller_cost --rounds 5 --calls 20000 [--only IPFSHandler]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Final

from benchmarks import caller_cost_servers
from benchmarks.caller_cost_handlers import HANDLERS

__all__ = ["collect", "measure", "report", "table"]

_CLOSE_TIMEOUT_S: Final = 180.0
"""Time in which a handler must send its records and close; if it does not, the cost of its process is left out."""

Sample = dict[str, float]


def call(logger: logging.Logger, number: int) -> None:
    """Log the measured record: a message with two arguments and seven extra fields, one of them nested."""
    logger.info(
        "%s read %s",
        "mira.okafor",
        "res-7d632ca65f",
        extra={
            "user_id": "mira.okafor",
            "ip_address": "10.25.107.114",
            "resource": "res-7d632ca65f",
            "action": "read",
            "status": "granted",
            "size": number,
            "details": {"method": "oauth", "path": "/reports/2026/q1.pdf", "attempt": 1},
        },
    )


def child(name: str, calls: int, ports: Mapping[str, int]) -> None:
    """Measure one handler in this process; print one line after the calls and one after the close."""
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        handler, close = HANDLERS[name](ports, scratch)
        logger.addHandler(handler)
        for number in range(500):
            call(logger, number)
        process_cpu = time.process_time_ns()
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        for number in range(calls):
            call(logger, number)
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        print(json.dumps({"cpu": cpu / calls, "wall": wall / calls}), flush=True)
        with open(os.devnull, "w") as devnull, contextlib.redirect_stderr(devnull):
            close()
        print(json.dumps({"whole": (time.process_time_ns() - process_cpu) / calls}), flush=True)
        sys.stdout.flush()
        os._exit(0)


def measure(name: str, calls: int, ports: Mapping[str, int]) -> Sample | None:
    """Measure one handler in a child process; return `None` where it is not installed."""
    command = [sys.executable, "-m", "benchmarks.caller_cost", "--child", name, "--calls", str(calls)]
    # The temporary files of a killed child are deleted with this directory.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        environment = {**os.environ, "BENCHMARK_PORTS": json.dumps(dict(ports)), "TMPDIR": scratch}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_CLOSE_TIMEOUT_S, check=False, env=environment
            )
            printed, errors = done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            printed, errors = (late.stdout or b"").decode(), "did not close in time"
    sample: Sample = {}
    for line in printed.splitlines():
        sample.update(json.loads(line))
    if "cpu" not in sample:
        reason = errors.strip().splitlines()[-1] if errors.strip() else "it printed nothing"
        print(f"{name}: left out: {reason}", file=sys.stderr)
        return None
    return sample


def collect(rounds: int, calls: int, names: list[str]) -> dict[str, list[Sample]]:
    """Return the samples of each handler, in the order of the rounds."""
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    with caller_cost_servers.running() as ports:
        for _ in range(rounds):
            for name in names:
                sample = measure(name, calls, ports)
                if sample is not None:
                    samples[name].append(sample)
    return samples


def table(samples: dict[str, list[Sample]]) -> str:
    """Return a Markdown table: medians in microseconds and, in brackets, medians of the ratios to the first handler."""
    base = next(iter(samples.values()))
    lines = [
        "| handler | caller's CPU, µs a call | caller's wall, µs a call | whole process CPU, µs a call |",
        "|---|--:|--:|--:|",
    ]
    for name, own in samples.items():
        cells = [_cell(own, base, what) for what in ("cpu", "wall", "whole")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(own: list[Sample], base: list[Sample], what: str) -> str:
    values = [sample[what] / 1000 for sample in own if what in sample]
    ratios = [sample[what] / first[what] for sample, first in zip(own, base, strict=False) if what in sample]
    if not values:
        return "–"
    return f"{statistics.median(values):.2f} ({statistics.median(ratios):.2f} ×)"


def report(rounds: int) -> str:
    """Return the table that `python -m benchmarks` prints."""
    return table(collect(rounds, 20_000, list(HANDLERS)))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument(
        "--only",
        action="append",
        choices=list(HANDLERS),
        help="measured beside NullHandler; may be repeated",
    )
    parser.add_argument("--child", choices=list(HANDLERS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child, chosen.calls, json.loads(os.environ["BENCHMARK_PORTS"]))
        return
    first = next(iter(HANDLERS))
    names = [name for name in HANDLERS if not chosen.only or name == first or name in chosen.only]
    print(table(collect(chosen.rounds, chosen.calls, names)))


if __name__ == "__main__":
    main()
