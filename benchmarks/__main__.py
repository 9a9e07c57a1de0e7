"""Measure everything, or the named reports, and print the tables of benchmarks/README.md: `python -m benchmarks`.

Each of `REPORTS` is a heading and a function that takes the number of rounds and returns Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Final

from benchmarks import (
    asyncio_latency,
    caller_cost,
    compression,
    convoy,
    encryption,
    import_time,
    many_batches,
    proof,
    reading,
    redaction,
    reliability,
    serving,
    throughput,
)

REPORTS: Final[dict[str, tuple[str, Callable[[int], str]]]] = {
    "caller": ("What a call costs", caller_cost.report),
    "convoy": ("Beside a thread that computes", convoy.report),
    "redaction": ("Redaction", redaction.report),
    "import": ("Import and idling", import_time.report),
    "throughput": ("From the first call to pinned", throughput.report),
    "many": ("Many small batches", many_batches.report),
    "reading": ("Asking a log", reading.report),
    "serving": ("The server", serving.report),
    "proof": ("Proof and verification", proof.report),
    "asyncio": ("How long an event loop waits", asyncio_latency.report),
    "reliability": ("What arrives", reliability.report),
    "encryption": ("Encryption", encryption.report),
    "compression": ("zstd alone on the realistic lines", compression.report),
}


def main() -> None:
    """Measure the reports that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures, and prints Markdown tables.")
    parser.add_argument("what", nargs="*", metavar="REPORT", help=f"one of {', '.join(REPORTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is measured; the median is shown")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.what) - set(REPORTS)):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(REPORTS)}")
    print(
        f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, median of {chosen.rounds}."
    )
    for name in chosen.what or REPORTS:
        heading, report = REPORTS[name]
        began = time.perf_counter()
        print(f"\n## {heading}\n\n{report(chosen.rounds)}", flush=True)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
