"""Measure many records from the first call until they are pinned in Kubo: time, CPU, memory and stored bytes.

    python -m benchmarks.throughput --records 1000000

Each measurement is a process of its own; one real daemon (that of the tests) runs on loopback. The loop is compared
with the same loop with a NullHandler, shipping with `ipfs add -Q` of the same raw lines on the same daemon, and stored
bytes with raw lines.
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
import threading
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.caller_cost import call
from benchmarks.lines import calls, log_record

__all__ = ["collect", "report"]

Sample = dict[str, float]
_SEED: Final = 7


def flood(home: str, kubo: str, records: int) -> Sample:
    """Log as fast as possible, then shut down; return seconds of the loop, of all, CPU of all, growth of the memory."""
    from ipfs_log_handlers import IPFSHandler

    handler: logging.Handler = logging.NullHandler()
    if home:
        handler = IPFSHandler("audit", home=home, kubo=kubo or None, flush_timeout=120.0)
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    for number in range(500):
        call(logger, number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(records):
        call(logger, number)
    loop = time.perf_counter() - began
    logging.shutdown()
    return {
        "loop": loop,
        "all": time.perf_counter() - began,
        "cpu": (time.process_time() - cpu) / records * 1e6,
        "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def realistic(home: str, records: int, *, pace: bool) -> Sample:
    """Log realistic records, in batches of 1000; return stored bytes (whole CAR files) by bytes of raw lines."""
    from ipfs_log_handlers import IPFSHandler
    from ipfs_log_handlers.home.batches import Batches
    from ipfs_log_handlers.home.layout import HomeDir

    handler = IPFSHandler("wal", home=home, batch={"records": 1000, "seconds": 600.0, "bytes": 8 << 20})
    for number, (now, logged) in enumerate(calls(records, _SEED), 1):
        handler.handle(log_record(now, logged))
        if pace and number % 1000 == 0:
            _until_sealed(handler, number)
    handler.flush()
    handler.close()
    batches = Batches(HomeDir(Path(home)).subsystem_dir("wal").current.batches)
    headers = [batches.facts(index) for index in batches.indexes()]
    stored = sum(batches.file(index).stat().st_size for index in batches.indexes())
    return {"ratio": stored / sum(header.manifest.raw for header in headers), "batches": float(len(headers))}


def _until_sealed(handler: Any, records: int) -> None:
    while handler.status()[0]["sealed"] < records - 500:
        time.sleep(0.02)


def calls_beside_keeper(home: str, keeper: Any, seconds: int) -> Sample:
    """Print the calls per second of a loop, with a keeper that always has a backlog to seal, or without a keeper."""
    from ipfs_log_handlers import IPFSHandler

    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(IPFSHandler("audit", home=home, keeper=keeper, batch={"records": 1000}))
    number, stop = 0, threading.Event()
    while number < 200_000:
        call(logger, number)
        number += 1
    begun = number
    threading.Timer(float(seconds), stop.set).start()
    while not stop.is_set():
        for _ in range(1000):
            call(logger, number)
            number += 1
    rate = (number - begun) / seconds
    print(json.dumps({"rate": rate}), flush=True)
    os._exit(0)


def _child(what: str, *arguments: object) -> Sample:
    command = [sys.executable, "-m", "benchmarks.throughput", "--child", what, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


def _ship_backlog(scratch: str, daemon: Any, records: int) -> Sample:
    """Return the seconds of `ipfs-logs ship` for a sealed backlog, and of `ipfs add -Q` for the same raw lines."""
    home = f"{scratch}/backlog"
    _child("flood", home, "", records)
    began = time.perf_counter()
    command = [sys.executable, "-m", "ipfs_log_handlers", "--home", home, "ship", "--kubo", daemon.url]
    subprocess.run([*command, "--timeout", "600"], check=True, stdout=subprocess.DEVNULL)
    shipped = time.perf_counter() - began
    raw = f"{scratch}/raw.jsonl"
    cat = [sys.executable, "-m", "ipfs_log_handlers", "--home", home, "cat", "--sealed", "-o", "json"]
    with open(raw, "wb") as out:
        subprocess.run(cat, check=True, stdout=out)
    began = time.perf_counter()
    daemon.cli("add", "-Q", raw)
    return {"ship": shipped, "add": time.perf_counter() - began}


def collect(rounds: int, records: int) -> list[Sample]:
    """Return one sample for each round."""
    from tests.kubo.build import kubo_binary
    from tests.kubo.daemon import Daemon

    samples: list[Sample] = []
    daemon = Daemon(kubo_binary(), offline=True)
    daemon.start()
    try:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                null = _child("flood", "", "", records)
                up = _child("flood", f"{scratch}/up", daemon.url, records)
                down = _child("flood", f"{scratch}/down", "http://127.0.0.1:9", records)
                backlog = _ship_backlog(scratch, daemon, records)
                lines = min(records, 100_000)
                off, on = (_child("beside", f"{scratch}/{keeper}", keeper, 5) for keeper in ("none", "thread"))
                samples.append(
                    {
                        "flood": up["all"] / null["all"],
                        "flood_s": up["all"],
                        "whole": up["cpu"] / null["cpu"],
                        "memory_up": up["memory"],
                        "memory_down": down["memory"],
                        "ship": backlog["ship"] / backlog["add"],
                        "ship_s": backlog["ship"],
                        "stored_flood": _child("realistic", f"{scratch}/flooded", "", lines)["ratio"],
                        "stored_pace": _child("paced", f"{scratch}/paced", "", lines // 4)["ratio"],
                        "beside": on["rate"] / off["rate"],
                    }
                )
                print(json.dumps(samples[-1]), file=sys.stderr)
    finally:
        daemon.stop()
    return samples


_ROWS: Final = {
    "flood": "all records, first call to the end of `logging.shutdown()`, pinned, by the NullHandler loop",
    "flood_s": "the same, seconds",
    "whole": "process CPU until pinned, by the NullHandler loop",
    "memory_up": "growth of the memory (peak RSS), daemon up, MiB",
    "memory_down": "the same, daemon down, MiB",
    "ship": "`ipfs-logs ship` of the sealed backlog, by `ipfs add -Q` of the raw lines",
    "ship_s": "the same, seconds of ours",
    "stored_flood": "stored by raw, realistic lines, in a flood",
    "stored_pace": "stored by raw, realistic lines, slowly enough for the stronger compression",
    "beside": "calls per second while the keeper works without a pause, by those without a keeper",
}


def report(rounds: int, records: int = 1_000_000) -> str:
    """Return the table that `python -m benchmarks` prints."""
    samples = collect(rounds, records)
    lines = [f"{records:,} records.", "", "| what | figure |", "|---|--:|"]
    lines += [f"| {_ROWS[name]} | {statistics.median(sample[name] for sample in samples):.3g} |" for name in _ROWS]
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not chosen.child:
        print(report(chosen.rounds, chosen.records))
        return
    what, home, second, number = chosen.child
    if what == "beside":
        calls_beside_keeper(home, second, int(number))
    elif what == "flood":
        print(json.dumps(flood(home, second, int(number))))
    else:
        print(json.dumps(realistic(home, int(number), pace=what == "paced")))


if __name__ == "__main__":
    main()
