"""Measure the time of importing the handler after `import logging`, and the cost of an unused handler."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

__all__ = ["report"]

_IMPORT = """
import logging, time
began = time.perf_counter()
from ipfs_log_handlers import IPFSHandler
print((time.perf_counter() - began) * 1000)
"""
_IDLE = """
import json, logging, logging.config, os, tempfile, threading
with tempfile.TemporaryDirectory() as home:
    before = threading.active_count(), len(os.listdir("/dev/fd"))
    logging.config.dictConfig({"version": 1, "handlers": {"audit": {
        "class": "ipfs_log_handlers.IPFSHandler", "subsystem": "audit", "home": home + "/home"}}})
    after = threading.active_count(), len(os.listdir("/dev/fd"))
    print(json.dumps([b - a for a, b in zip(before, after)]))
"""


def _run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def report(rounds: int) -> str:
    """Return a Markdown table."""
    times = [float(text) for text in (_run(_IMPORT) for _ in range(max(rounds, 5))) if text]
    idle = _run(_IDLE)
    threads, files = json.loads(idle) if idle else ("–", "–")
    milliseconds = f"{statistics.median(times):.1f} ms" if times else "–"
    return "\n".join(
        [
            "| what | figure |",
            "|---|--:|",
            f"| `from ipfs_log_handlers import IPFSHandler` after `import logging` | {milliseconds} |",
            f"| threads of a handler that is configured and not used | {threads} |",
            f"| open files of such a handler | {files} |",
        ]
    )
