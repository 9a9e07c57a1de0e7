"""Measure how many records threads log beside a thread that computes: the convoy at Python's global lock (GIL).

A thread that gives the GIL up, for a `write(2)` of 1 µs too, gets it back only when the computing thread has had its
turn, after `sys.getswitchinterval()`, 5 ms. So a logging call that writes takes 5 ms beside one busy thread.

    python -m benchmarks.convoy [--rounds 5] [--seconds 1] [--only IPFSHandler]

Each measurement is a process of its own. The busy thread counts in pure Python. The keeper of our handler is off, so
that only the calls are measured.
"""

from __future__ import annotations

import argparse
import json
import logging
import logging.handlers
import os
import queue
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal

from benchmarks import caller_cost_servers
from benchmarks.caller_cost import call
from benchmarks.caller_cost_handlers import file, opentelemetry

__all__ = ["collect", "report"]

_ALONE: Final = (1, 0)
_CELLS: Final = (_ALONE, (1, 1), (4, 1))
"""Numbers of threads that log and of threads that compute, in the columns of the table."""
_TIMEOUT_S: Final = 120.0
"""Time for one measurement; without an end in time, the cell is left out."""

Cells = dict[tuple[int, int], list[float]]
Target = logging.Logger | logging.Handler


def _ours(_ports: Mapping[str, int], directory: str) -> logging.Handler:
    from ipfs_log_handlers import IPFSHandler

    gil: Literal["auto", "release"] = "release" if os.environ.get("BENCHMARK_GIL") else "auto"
    return IPFSHandler("logs", home=os.path.join(directory, "home"), keeper="none", gil=gil)


def _file(ports: Mapping[str, int], directory: str) -> logging.Handler:
    return file(ports, directory)[0]


def _queue(ports: Mapping[str, int], directory: str) -> logging.Handler:
    records: queue.Queue[logging.LogRecord] = queue.Queue()
    logging.handlers.QueueListener(records, _file(ports, directory)).start()
    return logging.handlers.QueueHandler(records)


def _opentelemetry(ports: Mapping[str, int], directory: str) -> logging.Handler:
    return opentelemetry(ports, directory)[0]


def _loguru(_ports: Mapping[str, int], directory: str) -> logging.Handler:
    from loguru import logger

    logger.remove()
    logger.add(os.path.join(directory, "app.log"), format="{time} {level} {message}")

    class Forward(logging.Handler):
        """Pass a record on: loguru has an interface of its own, which the loop of the others does not call."""

        def emit(self, record: logging.LogRecord) -> None:
            logger.log(record.levelname, record.getMessage())

    return Forward()


_PURE: Final = {"IPFS_LOGS_PURE": "1"}
_ROWS: Final[Mapping[str, tuple[Callable[[Mapping[str, int], str], logging.Handler], Mapping[str, str]]]] = {
    "FileHandler": (_file, {}),
    "IPFSHandler": (_ours, {}),
    'IPFSHandler, `gil="release"`': (_ours, {"BENCHMARK_GIL": "release"}),
    "IPFSHandler without the accelerator": (_ours, _PURE),
    "QueueHandler before a FileHandler": (_queue, {}),
    "loguru, behind a logging.Handler": (_loguru, {}),
    "OpenTelemetry": (_opentelemetry, {}),
}
"""Functions that make a handler, and what the environment of its process says besides, by row."""


def child(name: str, threads: int, busy: int, seconds: float, ports: Mapping[str, int]) -> None:
    """Measure in this process; print the number of records in a second, of all threads together."""
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        logger.addHandler(_ROWS[name][0](ports, scratch))
        for number in range(500):
            call(logger, number)
        ends = [False]

        def compute() -> None:
            count = 0
            while not ends[0]:
                count += 1

        counts = [0] * threads

        def log(thread: int) -> None:
            while not ends[0]:
                call(logger, counts[thread])
                counts[thread] += 1

        running = [threading.Thread(target=compute, daemon=True) for _ in range(busy)]
        running += [threading.Thread(target=log, args=(number,), daemon=True) for number in range(threads)]
        began = time.perf_counter()
        for thread in running:
            thread.start()
        time.sleep(seconds)
        ends[0] = True
        elapsed = time.perf_counter() - began
        print(json.dumps(sum(counts) / elapsed), flush=True)
        os._exit(0)


def measure(name: str, threads: int, busy: int, seconds: float, ports: Mapping[str, int]) -> float | None:
    """Return the records in a second of one cell; `None` where the handler is not installed or does not end."""
    command = [sys.executable, "-m", "benchmarks.convoy", "--child", name, str(threads), str(busy), str(seconds)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        environment = {**os.environ, "BENCHMARK_PORTS": json.dumps(dict(ports)), "TMPDIR": scratch, **_ROWS[name][1]}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:
        print(f"{name}: left out: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    rate: float = json.loads(done.stdout)
    return rate


def collect(rounds: int, seconds: float, names: list[str]) -> dict[str, Cells]:
    """Return the records in a second of each cell, in the order of the rounds."""
    rates: dict[str, Cells] = {name: {cell: [] for cell in _CELLS} for name in names}
    with caller_cost_servers.running() as ports:
        for _ in range(rounds):
            for name in names:
                for cell in _CELLS:
                    rate = measure(name, *cell, seconds, ports)
                    if rate is not None:
                        rates[name][cell].append(rate)
    return rates


def table(rates: dict[str, Cells]) -> str:
    """Return a Markdown table: medians, and in brackets the share of the row's own rate alone, and by the first row."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    configured = f"configured {'with' if optimised else 'without'} --enable-optimizations (PGO)"
    first = next(iter(rates.values()))
    lines = [
        f"Python {sys.version.split()[0]}, {configured}.",
        "",
        "| records in a second | alone | beside one busy thread | four threads beside one busy thread |",
        "|---|--:|--:|--:|",
    ]
    for name, cells in rates.items():
        alone = statistics.median(cells[_ALONE]) if cells[_ALONE] else 0.0
        shown = [f"{alone:,.0f}" if alone else "–"]
        for cell in _CELLS[1:]:
            if not cells[cell] or not first[cell] or not alone:
                shown.append("–")
                continue
            rate, by = statistics.median(cells[cell]), statistics.median(first[cell])
            share = f"{rate / alone:.3f} of alone, " if cell == (1, 1) else ""
            shown.append(f"{rate:,.0f} ({share}{rate / by:.1f} × {next(iter(rates))})")
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def report(rounds: int) -> str:
    """Return the table that `python -m benchmarks` prints."""
    return table(collect(rounds, 1.0, list(_ROWS)))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each measurement takes")
    parser.add_argument("--only", action="append", choices=list(_ROWS), help="besides FileHandler; repeatable")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        name, threads, busy, seconds = chosen.child
        child(name, int(threads), int(busy), float(seconds), json.loads(os.environ["BENCHMARK_PORTS"]))
    names = ["FileHandler", *chosen.only] if chosen.only else list(_ROWS)
    print(table(collect(chosen.rounds, chosen.seconds, names)))


if __name__ == "__main__":
    main()
