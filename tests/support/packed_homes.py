"""Look into homes whose batches are in packs."""

from __future__ import annotations

from pathlib import Path

from ipfs_log_handlers.home.batches import Batches
from tests.support import oracle
from tests.support.cli import run

__all__ = ["damaged", "pack_of", "seqs"]


def pack_of(batches: Batches, number: int = 0) -> Path:
    """Return the path of a pack."""
    return batches.pack_file(0, number)


def seqs(home: Path) -> list[int]:
    """Return the numbers of the records in all batches, as an independent reader finds them."""
    (log,) = oracle.read_home(home)["logs"]
    return [record["seq"] for record in log.records]


def damaged(home: Path) -> list[int]:
    """Return the numbers of the batches that `verify` names."""
    (report,) = run("verify", home=home).objects
    return sorted({problem["batch"] for problem in report["problems"] if problem["batch"] is not None})
