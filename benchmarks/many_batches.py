"""Measure a home with many small batches: files, bytes, the verbs, and what a first record waits for.

    python -m benchmarks.many_batches --rounds 3

Two homes are made. A program sealed one batch each ten seconds for a day, 8,640 of one record each, and then
`ipfs-logs ship` ran: that is the quiet day. In the other home lie 100,000 such batches. Both are made in this process
by the writer and the sealer of the package, without a sync of the disk; so they have the files of a home whose program
has just ended. One real daemon (that of the tests) runs on loopback. Each verb is a process, and its time includes the
start of the interpreter.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks.caller_cost import call

__all__ = ["collect_beside", "collect_day", "report", "seal_many"]

Sample = dict[str, float]
DAY: Final = 8640
"""Batches of a day with one record each ten seconds."""
BESIDE: Final = 100_000
"""Batches beside which verbs and a first record are measured."""
_SUBSYSTEM: Final = "audit"
_RECORDS_AT_ONCE: Final = 5000
"""Records that wait in the spool at a time while a home is made: the sealer reads what it has not sealed yet."""
_RUNS_OF_A_VERB: Final = 3
"""Runs of each verb in one round; the median counts."""
_READING: Final[Mapping[str, Sequence[str]]] = {
    "status": ("status",),
    "ls": ("ls", "-o", "json"),
    "doctor": ("doctor",),
    "cat --cid": ("cat", "-o", "json", "--cid", "{cid}"),
    "show": ("show", "{cid}"),
    "query -n 10": ("query", "-n", "10", "-o", "json"),
    "versions": ("versions",),
    "keys show": ("keys", "show"),
}
"""Verbs whose work should not grow with the number of batches, by the name that the table gives them."""
_EVERYTHING: Final[Mapping[str, Sequence[str]]] = {"verify": ("verify",), "cat": ("cat", "-o", "json")}
"""Verbs that read every batch."""


def seal_many(home: Path, batches: int) -> None:
    """Make a home with so many batches of one record each, the record of `caller_cost.py`; nothing is synced.

    Args:
        home: the directory, which is made.
        batches: number of batches.
    """
    from ipfs_log_handlers import IPFSHandler
    from ipfs_log_handlers.home import lock
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.keeper.batch_builder import BatchLimits
    from ipfs_log_handlers.keeper.due import DueBatch
    from ipfs_log_handlers.keeper.seal import Sealer

    due = DueBatch(BatchLimits(1, 1 << 20, 1))
    for first in range(0, batches, _RECORDS_AT_ONCE):
        count = min(_RECORDS_AT_ONCE, batches - first)
        handler = IPFSHandler(_SUBSYSTEM, home=home, keeper="none")
        logger = logging.Logger("bench")
        logger.addHandler(handler)
        for number in range(first, first + count):
            call(logger, number)
        handler.close()
        held = lock.take(HomeDir(home))
        if held is None:
            raise RuntimeError(f"another process keeps {home}")
        try:
            with mock.patch("os.fsync", return_value=None):
                sealer = Sealer.open(held, HomeDir(home).subsystem_dir(_SUBSYSTEM))
                sealer.backlog(time.monotonic())
                for _ in range(count):
                    for _ in sealer.seal(due, urgent=False):
                        pass
                sealer.delete_consumed()
        finally:
            held.release()


def first_record(home: str, scratch: str) -> Sample:
    """Log one record into a home that was never used, and one into `home`; return the milliseconds of each call.

    The first call of a process also imports what a record needs, so it shows what a new process pays; the others show
    what the home costs.
    """
    from ipfs_log_handlers import IPFSHandler

    milliseconds = {}
    for name, path in (("new_process", f"{scratch}/a"), ("no_batches", f"{scratch}/b"), ("beside", home)):
        handler = IPFSHandler(_SUBSYSTEM, home=path, kubo="http://127.0.0.1:9")
        logger = logging.Logger("bench")
        logger.addHandler(handler)
        began = time.perf_counter()
        logger.info("the first record")
        milliseconds[name] = (time.perf_counter() - began) * 1000
    return milliseconds


def _cli(home: Path, *arguments: str) -> tuple[float, float, str]:
    """Run a verb; return its seconds, its CPU seconds, and what it prints."""
    began, cpu = time.perf_counter(), _children_cpu()
    done = subprocess.run(
        [sys.executable, "-m", "ipfs_log_handlers", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 1):  # 1: no archive, no record
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-300:]}")
    return seconds, _children_cpu() - cpu, done.stdout


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _time_verbs(home: Path, verbs: Mapping[str, Sequence[str]], cid: str, runs: int) -> Sample:
    sample = {}
    for name, arguments in verbs.items():
        times = [_cli(home, *(argument.format(cid=cid) for argument in arguments))[:2] for _ in range(runs)]
        sample[name], sample[f"{name} CPU"] = map(statistics.median, zip(*times, strict=True))
    return sample


def _middle_cid(home: Path) -> str:
    """Return the CID of a batch in the middle of the log."""
    lines = _cli(home, "ls", "-o", "json")[2].splitlines()
    cid: str = json.loads(lines[len(lines) // 2])["cid"]
    return cid


def _size(home: Path) -> Sample:
    """Count the files of a home, their bytes, and the bytes that the disk gave for them."""
    paths = [path for path in home.rglob("*") if path.is_file()]
    reserved = sum(path.parent.name == "reserve-files" for path in paths)
    return {
        "files": len(paths) - reserved,
        "reserve_files": reserved,
        "mb": sum(path.stat().st_size for path in paths) / 1e6,
        "disk_mb": sum(path.stat().st_blocks * 512 for path in home.rglob("*")) / 1e6,
    }


@contextmanager
def _daemon() -> Iterator[Any]:
    from tests.kubo.build import kubo_binary
    from tests.kubo.daemon import Daemon

    daemon = Daemon(kubo_binary(), offline=True)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def collect_day(batches: int = DAY) -> Sample:
    """Measure the quiet day once: `ship`, the home after it, and each verb."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, _daemon() as daemon:
        home = Path(scratch) / "day"
        seal_many(home, batches)
        seconds, cpu, _ = _cli(home, "ship", "--kubo", daemon.url, "--timeout", "600")
        sample = {"ship": seconds, "ship CPU": cpu, **_size(home)}
        sample |= _time_verbs(home, {**_READING, **_EVERYTHING}, _middle_cid(home), _RUNS_OF_A_VERB)
    print(json.dumps(sample), file=sys.stderr, flush=True)
    return sample


def collect_beside(batches: int = BESIDE, runs: int = 5) -> Sample:
    """Measure the verbs and a first record beside so many batches.

    Args:
        batches: number of batches.
        runs: how often each verb and each first record is measured; the median counts.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        home = Path(scratch) / "home"
        seal_many(home, batches)
        subprocess.run(  # it seals nothing and ships nothing, but packs what lies here; code 2: no store is configured
            [sys.executable, "-m", "ipfs_log_handlers", "--home", str(home), "ship", "--timeout", "600"],
            capture_output=True,
            check=False,
        )
        sample = {**_size(home), **_time_verbs(home, _READING, _middle_cid(home), runs)}
        records = [_first_record_in_a_process(home, f"{scratch}/{run}") for run in range(runs)]
        sample |= {name: statistics.median(record[name] for record in records) for name in records[0]}
    print(json.dumps(sample), file=sys.stderr, flush=True)
    return sample


def _first_record_in_a_process(home: Path, scratch: str) -> Sample:
    os.mkdir(scratch)
    command = [sys.executable, "-m", "benchmarks.many_batches", "--child", str(home), scratch]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


def _table(day: Sample, beside: Sample, batches: int, batches_beside: int) -> str:
    def seconds(sample: Sample, name: str, target: str = "") -> str:
        return f"{sample[name]:.2f}{target}; {sample[f'{name} CPU']:.2f}"

    def files(sample: Sample, target: str = "") -> str:
        return f"{sample['files']:.0f}{target} + {sample['reserve_files']:.0f}"

    rows = [
        ("what", f"quiet day, {batches:,} batches", f"beside {batches_beside:,} batches"),
        ("---", "--:", "--:"),
        ("files, and those that hold inodes in reserve", files(day, " (≤ 20)"), files(beside)),
        ("bytes of all files, MB", f"{day['mb']:.1f} (≤ 20)", f"{beside['mb']:.1f}"),
        ("bytes that the disk gave, MB", f"{day['disk_mb']:.1f}", f"{beside['disk_mb']:.1f}"),
        ("`ship`, seconds; CPU seconds", seconds(day, "ship"), "–"),
        *((f"`{name}`, the same", seconds(day, name), seconds(beside, name, " (≤ 1)")) for name in _READING),
        *((f"`{name}`, the same", seconds(day, name), "–") for name in _EVERYTHING),
        ("first record in a home, ms", f"{beside['no_batches']:.2f}, no batch", f"{beside['beside']:.2f} (≤ 5)"),
        ("first record of a process, imports included, ms", f"{beside['new_process']:.1f}, no batch", "–"),
    ]
    return "\n".join(f"| {' | '.join(row)} |".replace("| --- | --: | --: |", "|---|--:|--:|") for row in rows)


def report(rounds: int, batches: int = DAY, beside: int = BESIDE) -> str:
    """Return the table that `python -m benchmarks` prints.

    Args:
        rounds: how often the day is measured, and each figure beside many batches.
        batches: number of batches of the quiet day.
        beside: number of batches in the second home.
    """
    days = [collect_day(batches) for _ in range(rounds)]
    day = {name: statistics.median(sample[name] for sample in days) for name in days[0]}
    return _table(day, collect_beside(beside, rounds), batches, beside)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is measured; the median is shown")
    parser.add_argument("--batches", type=int, default=DAY, metavar="N", help="batches of the quiet day")
    parser.add_argument("--beside", type=int, default=BESIDE, metavar="N", help="batches in the second home")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(first_record(*chosen.child)), flush=True)
        os._exit(0)  # the keeper's thread would begin to ship
    print(report(chosen.rounds, chosen.batches, chosen.beside))


if __name__ == "__main__":
    main()
