"""Make homes with many small batches whose records have ids, and index pages of few batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.format import index_page, line
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import index_pages
from ipfs_log_handlers.home.index_pages import IndexPages
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper import indexing
from ipfs_log_handlers.keeper.batch_builder import BatchLimits
from ipfs_log_handlers.keeper.due import DueBatch
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.keeper.upkeep import Upkeep
from ipfs_log_handlers.reader import home_parts
from tests.support.logging_home import keeping, put_segment, record

__all__ = ["START_US", "index", "pages_of", "seal_records", "small_pages"]

START_US = 1_772_000_000_000_000
"""Time of the first record, µs since 1970; each next one comes a second later."""


def small_pages(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Make pages of so many batches."""
    for module in (index_page, index_pages, indexing, home_parts):  # imported before: each has taken over the real size
        monkeypatch.setattr(module, "PAGE_BATCHES", batches)


def seal_records(
    home: Path,
    fields: Sequence[dict[str, Any]],
    *,
    subsystem: str = "logs",
    first: int = 1,
    a_batch: int = 1,
    encrypt: Encrypt | None = None,
) -> SubsystemDir:
    """Seal records with these fields, so many in a batch; nothing is synced.

    Args:
        home: the home.
        fields: the fields of each record.
        subsystem: whose log they go into.
        first: sequence number of the first record.
        a_batch: records in a batch.
        encrypt: whom the batches are encrypted to.
    """
    subsystem_dir = HomeDir(home).subsystem_dir(subsystem)
    content = b"".join(
        line.record(record(seq, at=rfc3339(START_US + seq * 1_000_000), **given))
        for seq, given in enumerate(fields, first)
    )
    put_segment(subsystem_dir, content, number=first, encrypt=encrypt)
    with mock.patch("os.fsync", return_value=None), keeping(HomeDir(home)) as held:
        sealer = Sealer.open(held, subsystem_dir)
        sealer.backlog(time.monotonic())
        for _ in range(-(-len(fields) // a_batch)):
            for _ in sealer.seal(DueBatch(BatchLimits(a_batch, 1 << 20, 1)), urgent=True):
                pass
        sealer.delete_consumed()
    return subsystem_dir


def index(subsystem_dir: SubsystemDir) -> IndexPages:
    """Write all index pages that a keeper writes at its end; return those of the current log."""
    for _ in Upkeep(subsystem_dir).steps(at_end=True):
        pass
    return pages_of(subsystem_dir)


def pages_of(subsystem_dir: SubsystemDir) -> IndexPages:
    """Return the index pages of the current log."""
    return IndexPages(subsystem_dir.current.batches)
