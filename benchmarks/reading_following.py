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
_PAUSE_S: Final = 0.0002
"""Seconds between two calls, of which there are some 2,500 in a second."""
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


def _run(*homes: str, count: int, pause: float) -> list[float]:
    """Log into some homes at the same time; return the CPU of a call in each, in µs."""
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.reading_following", home, str(count), str(pause)],
                    stdout=subprocess.PIPE,
                )
            )
            for home in homes
        ]
        return [float(json.loads(writer.communicate()[0])) for writer in writers]


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


def _cost(followed: str, other: str) -> tuple[float, float]:
    """Return two costs of followers, in percent of the CPU of a call.

    First: a home with followers, compared with another home at the same time. Second: that other home, compared with a
    time without followers, because followers also use the caches and cores of other programs.
    """
    pairs = []
    for _ in range(_PAIRS):
        [alone] = _run(other, count=_CALLS, pause=_PAUSE_S)
        with ExitStack() as stack:
            followers = [_tail(followed, stack) for _ in range(_FOLLOWERS)]
            for follower in followers:
                stack.enter_context(_Drained(follower))
            pairs.append((alone, *_run(followed, other, count=_CALLS, pause=_PAUSE_S)))
    followed_more = statistics.median(with_followers / beside for _, with_followers, beside in pairs)
    other_more = statistics.median(beside / alone for alone, _, beside in pairs)
    return 100 * (followed_more - 1), 100 * (other_more - 1)


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
        followed, other = f"{directory}/followed", f"{directory}/other"
        _run(followed, other, count=1, pause=0.0)
        times = sorted(_latencies(followed))
        more, beside = _cost(followed, other)
    p99 = times[int(len(times) * 0.99)]
    cost = f"{_FOLLOWERS} followers: CPU of a call"
    return [
        f"| `tail`: from the call to the line, median and p99 | {statistics.median(times):.0f} and {p99:.0f} ms |",
        f"| {cost}, compared with a second home at the same time (< 3 %) | {more:+.1f} % |",
        f"| the second home, compared with a time without followers | {beside:+.0f} % |",
    ]


if __name__ == "__main__":
    _log(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
