"""Verify a home, and name what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.verify.log import Report, verify
from tests.support import sample_homes

__all__ = ["check", "fields", "file_of"]


def check(home: Path, **how: Any) -> Report:
    """Return the only report."""
    (report,) = verify(HomeDir(home), **how)
    return report


def fields(home: Path, **how: Any) -> set[tuple[int | None, str]]:
    """Batch and field of each problem."""
    return {(problem.batch, problem.field) for problem in check(home, **how).problems}


def file_of(home: Path, index: int) -> Path:
    """Return the file of a batch of the current log."""
    return Batches(sample_homes.subsystem_dir(home).current.batches).file(index)
