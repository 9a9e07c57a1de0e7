"""What one call of a logger costs: the caller's CPU and wall time, and the whole process's CPU until all has left.

Each measurement is a process of its own with one handler, so that no peer's threads disturb another. A round measures
every peer once, and rounds are repeated: the median of the rounds is shown, and ratios are those within a round.

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

from benchmarks import sinks
from benchmarks.peers import PEERS

__all__ = ["collect", "measure", "report", "table"]

_PATIENCE: Final = 180.0
"""Seconds that a peer has to hand over what it holds; afterwards its whole cost is left out."""

Sample = dict[str, float]


def call(logger: logging.Logger, number: int) -> None:
    """The record: a message with two arguments and seven extra fields, one of them nested."""
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


def child(peer: str, calls: int, ports: Mapping[str, int]) -> None:
    """Measures one peer in this process; prints one line after the calls and one after the close."""
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        handler, close = PEERS[peer](ports, scratch)
        logger.addHandler(handler)
        for number in range(500):
            call(logger, number)
        whole = time.process_time_ns()
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        for number in range(calls):
            call(logger, number)
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        print(json.dumps({"cpu": cpu / calls, "wall": wall / calls}), flush=True)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            close()
        print(json.dumps({"whole": (time.process_time_ns() - whole) / calls}), flush=True)
        sys.stdout.flush()
        os._exit(0)


def measure(peer: str, calls: int, ports: Mapping[str, int]) -> Sample | None:
    """One measurement in a child; None where the peer is not installed."""
    command = [sys.executable, "-m", "benchmarks.caller_cost", "--child", peer, "--calls", str(calls)]
    # What is left of a child's scratch directory goes with this one.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        environment = {**os.environ, "BENCHMARK_PORTS": json.dumps(dict(ports)), "TMPDIR": scratch}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_PATIENCE, check=False, env=environment
            )
            printed, errors = done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            printed, errors = (late.stdout or b"").decode(), "did not close in time"
    sample: Sample = {}
    for line in printed.splitlines():
        sample.update(json.loads(line))
    if "cpu" not in sample:
        reason = errors.strip().splitlines()[-1] if errors.strip() else "said nothing"
        print(f"{peer}: left out: {reason}", file=sys.stderr)
        return None
    return sample


def collect(rounds: int, calls: int, names: list[str]) -> dict[str, list[Sample]]:
    """The samples of each peer, in the order of the rounds."""
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    with sinks.running() as ports:
        for _ in range(rounds):
            for name in names:
                sample = measure(name, calls, ports)
                if sample is not None:
                    samples[name].append(sample)
    return samples


def table(samples: dict[str, list[Sample]]) -> str:
    """A Markdown table: medians in microseconds and, in brackets, medians of the ratios to the first peer."""
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
    """What `python -m benchmarks` prints of this."""
    return table(collect(rounds, 20_000, list(PEERS)))


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--only", action="append", choices=list(PEERS), help="beside NullHandler; may be repeated")
    parser.add_argument("--child", choices=list(PEERS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child, chosen.calls, json.loads(os.environ["BENCHMARK_PORTS"]))
        return
    first = next(iter(PEERS))
    names = [name for name in PEERS if not chosen.only or name == first or name in chosen.only]
    print(table(collect(chosen.rounds, chosen.calls, names)))


if __name__ == "__main__":
    main()
