"""Measure how long a logging call blocks an event loop while the daemon does not answer and fsync is slow.

    python -m benchmarks.asyncio_latency [--rounds 5] [--calls 20000]

Each measurement is an asyncio program of its own: a task logs, sleeps for a moment, and logs again; the time of each
call is measured on the thread of the loop. The server accepts connections and never answers. In the row with a slow
disk, every fsync and fdatasync of the program takes half a second longer. The keeper works all the time: a batch is due
every 100 records. The same program with a FileHandler shows the latency that the machine itself causes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.caller_cost import call

__all__ = ["collect", "report"]

_FSYNC_DELAY_S: Final = 0.5
"""Time that each fsync takes longer in the row with a slow disk."""
_PAUSE_S: Final = 0.0005
"""Time between two calls."""
_QUANTILES: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_ROWS: Final[Mapping[str, Mapping[str, Any]]] = {
    "FileHandler": {"handler": "file"},
    "IPFSHandler, silent daemon": {"handler": "ours"},
    "IPFSHandler, silent daemon, each fsync takes 0.5 s longer": {"handler": "ours", "stall": True},
    'IPFSHandler, `durability: "power"`, fsync as the disk has it': {"handler": "ours", "durability": "power"},
}
"""Rows of the table; in the last one the call waits for the disk on purpose."""


def _stall() -> None:
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def stalled(descriptor: int, real: Any = real) -> None:
            time.sleep(_FSYNC_DELAY_S)
            real(descriptor)

        setattr(os, name, stalled)


def child(directory: str, port: int, calls: int, how: Mapping[str, Any]) -> None:
    """Measure in this process; print the seconds at each quantile as JSON."""
    if how.get("stall"):
        _stall()
    handler: logging.Handler = logging.FileHandler(os.path.join(directory, "app.log"))
    if how["handler"] == "ours":
        from ipfs_log_handlers import IPFSHandler

        handler = IPFSHandler(
            "logs",
            home=os.path.join(directory, "home"),
            kubo=f"http://127.0.0.1:{port}",
            batch={"records": 100, "seconds": 0.5},
            durability=how.get("durability", "process"),
        )
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    times = sorted(asyncio.run(_log(logger, calls)))
    quantiles = {name: times[min(len(times) - 1, int(len(times) * part))] for name, part in _QUANTILES.items()}
    print(json.dumps(quantiles), flush=True)
    os._exit(0)


async def _log(logger: logging.Logger, calls: int) -> list[float]:
    for number in range(1000):
        call(logger, number)
    await asyncio.sleep(1.5)  # until the keeper's thread is the keeper
    times = []
    for number in range(calls):
        begun = time.perf_counter()
        call(logger, number)
        times.append(time.perf_counter() - begun)
        await asyncio.sleep(_PAUSE_S)
    return times


def collect(rounds: int, calls: int) -> dict[str, list[dict[str, float]]]:
    """Return the samples of each row, in the order of the rounds."""
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in _ROWS}
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent_server:
        for _ in range(rounds):
            for name, how in _ROWS.items():
                row_calls = calls // 10 if how.get("durability") == "power" else calls
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
                    arguments = [directory, str(silent_server.getsockname()[1]), str(row_calls), json.dumps(how)]
                    command = [sys.executable, "-m", "benchmarks.asyncio_latency", "--child", *arguments]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                samples[name].append(json.loads(done.stdout))
    return samples


def table(samples: dict[str, list[dict[str, float]]]) -> str:
    """Return a Markdown table: the median of the rounds at each quantile, in microseconds."""
    lines = [f"| the loop waits, µs a call | {' | '.join(_QUANTILES)} |", "|---|" + "--:|" * len(_QUANTILES)]
    for row, own in samples.items():
        cells = [f"{statistics.median(sample[name] for sample in own) * 1e6:,.0f}" for name in _QUANTILES]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def report(rounds: int) -> str:
    """Return the table that `python -m benchmarks` prints."""
    return table(collect(rounds, 20_000))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        directory, port, calls, how = chosen.child
        child(directory, int(port), int(calls), json.loads(how))
    print(table(collect(chosen.rounds, chosen.calls)))


if __name__ == "__main__":
    main()
