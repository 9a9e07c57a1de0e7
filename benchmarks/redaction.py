"""Measure the CPU that each setting of `redact` takes of the thread that logs, with the record of `caller_cost`.

All settings are measured in one process, in turn, so that a disturbance hits them alike; the quickest round is shown.
No keeper runs.

    python -m benchmarks redaction
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.caller_cost import call
from ipfs_log_handlers import IPFSHandler

__all__ = ["report"]

_SETTINGS: Final[dict[str, Any]] = {
    "none": None,
    '`"password"`': "password",
    '`"@credit_card"`': "@credit_card",
    '`"@iban"`': "@iban",
    '`"@email"`': "@email",
    '`"@jwt"`': "@jwt",
    '`"@aws_key"`': "@aws_key",
    '`"@bearer_token"`': "@bearer_token",
    "five detectors, without `@aws_key`": ["@credit_card", "@iban", "@email", "@jwt", "@bearer_token"],
    '`{"user_id": "pseudonym"}`': {"user_id": "pseudonym"},
    "a function that changes nothing": lambda record: record,
}
_CALLS: Final = 2000
"""Calls of one measurement."""


def report(rounds: int) -> str:
    """Return a Markdown table."""
    costs: dict[str, list[float]] = {name: [] for name in _SETTINGS}
    with tempfile.TemporaryDirectory() as directory:
        loggers = {}
        for number, (name, setting) in enumerate(_SETTINGS.items()):
            logger = logging.Logger("bench", logging.INFO)
            logger.addHandler(IPFSHandler("logs", home=Path(directory, str(number)), keeper="none", redact=setting))
            loggers[name] = logger
        for _ in range(rounds + 1):  # the first round is not counted
            for name, logger in loggers.items():
                began = time.thread_time()
                for number in range(_CALLS):
                    call(logger, number)
                costs[name].append((time.thread_time() - began) / _CALLS * 1e6)
        for logger in loggers.values():
            logger.handlers[0].close()
    rows = [f"| {name} | {min(times[1:]):.1f} |" for name, times in costs.items()]
    return "\n".join(["| `redact` | µs of CPU a call |", "|---|--:|", *rows])
