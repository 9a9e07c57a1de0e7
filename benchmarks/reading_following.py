"""Measure `ipfs-logs tail`: from a logging call to the line on stdout, and what followers cost the program that logs.

python -m benchmarks.reading_following HOME COUNT PAUSE_S       logs, and prints the CPU of a call in µs
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

__all__ = ["rows"]

_LINES: Final = 200
"""Lines whose way from the call to stdout is measured."""
_FOLLOWERS: Final = 8
_CALLS: Final = 4000
_PAIRS: Final = 7
"""How often a program logs without and with followers, in turns."""


def _log(home: str, count: int, pause: float) -> None:
    """Log, with the moment of each call in the record; print the CPU of a call in µs."""
    from ipfs_log_handlers import IPFSHandler

    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(IPFSHandler("audit", home=home, batch={"records": 100_000, "seconds": 600.0}))
    logger.info("begin")
    taken = 0
    for number in range(count):
        time.sleep(pause)
        began = time.thread_time_ns()
        logger.info("call", extra={"called": time.time(), "number": number})
        taken += time.thread_time_ns() - began
    print(json.dumps(taken / count / 1000), flush=True)
    logging.shutdown()


def _run(home: str, count: int, pause: float) -> float:
    command = [sys.executable, "-m", "benchmarks.reading_following", home, str(count), str(pause)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def _tail(home: str, stack: ExitStack) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ipfs_log_handlers", "--home", home, "tail", "-n", "1", "-o", "json"]
    follower = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
    stack.callback(follower.kill)
    assert follower.stdout is not None
    follower.stdout.readline()  # it is at work
    return follower


def _latencies(home: str) -> list[float]:
    """Return the milliseconds from each call to its line."""
    milliseconds = []
    with ExitStack() as stack:
        follower = _tail(home, stack)
        command = [sys.executable, "-m", "benchmarks.reading_following", home, str(_LINES), "0.02"]
        stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        assert follower.stdout is not None
        for line in follower.stdout:
            seen, record = time.time(), json.loads(line)
            if "called" in record:
                milliseconds.append((seen - record["called"]) * 1000)
            if len(milliseconds) == _LINES:
                break
    return milliseconds


def _cost(home: str) -> float:
    """Return how many percent the CPU of a call is higher with followers."""
    ratios = []
    for _ in range(_PAIRS):
        alone = _run(home, _CALLS, 0.0002)
        with ExitStack() as stack:
            followers = [_tail(home, stack) for _ in range(_FOLLOWERS)]
            for follower in followers:
                stack.enter_context(_Drained(follower))
            ratios.append(_run(home, _CALLS, 0.0002) / alone)
    return 100 * (statistics.median(ratios) - 1)


class _Drained:
    """Read what a follower prints, so that it never waits."""

    def __init__(self, follower: subprocess.Popen[bytes]) -> None:
        self._follower = follower

    def __enter__(self) -> None:
        self._sink = subprocess.Popen(["cat"], stdin=self._follower.stdout, stdout=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self._follower.kill()
        self._sink.wait()


def rows(_: Path) -> list[str]:
    """Return the rows of the table of `reading.py`."""
    with tempfile.TemporaryDirectory() as directory:
        home = f"{directory}/home"
        _run(home, 1, 0.0)
        times = sorted(_latencies(home))
        cost = _cost(home)
    p99 = times[int(len(times) * 0.99)]
    return [
        f"| `tail`: from the call to the line, median and p99 | {statistics.median(times):.0f} and {p99:.0f} ms |",
        f"| {_FOLLOWERS} followers: CPU of a call of the writer (< 3 %) | {cost:+.1f} % |",
    ]


if __name__ == "__main__":
    _log(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
