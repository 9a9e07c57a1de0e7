"""Make the home that `benchmarks.serving` shows: realistic lines over three days, sealed by the real keeper."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks import lines

__all__ = ["SUBSYSTEM", "make"]

SUBSYSTEM: Final = "logs"
_A_BATCH: Final = 1000
"""Records in a batch."""
_BATCHES_AT_ONCE: Final = 5
"""Batches after which the keeper seals."""
_SPAN_S: Final = 3 * 86_400
"""Seconds over which the records are spread."""
_MEAN_S: Final = 0.0025
"""Seconds from one call of `lines` to the next."""
_SEED: Final = 11


def make(home: Path, records: int) -> None:
    """Log and seal so many records."""
    from ipfs_log_handlers import IPFSHandler, open_home

    batch = {"records": _A_BATCH, "seconds": 600.0, "bytes": 8 << 20}
    handler = IPFSHandler(SUBSYSTEM, home=home, keeper="none", batch=batch)
    begin = lines.BEGIN.timestamp()
    for number, (now, call) in enumerate(lines.calls(records, _SEED), 1):
        record = lines.log_record(now, call)
        record.created = begin + (now - lines.BEGIN).total_seconds() * _SPAN_S / (records * _MEAN_S)
        handler.handle(record)
        if number % (_A_BATCH * _BATCHES_AT_ONCE) == 0:
            open_home(home).ship(timeout=60)
    handler.close()
    open_home(home).ship(timeout=60)
