"""Give what a proof is made of from the files of a home; payloads that have left it come from stores."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.checkpoint import subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.index_page import PAGE_BATCHES, PageEntry
from ipfs_log_handlers.home.index_pages import IndexPages
from ipfs_log_handlers.home.logs import Log, logs_of
from ipfs_log_handlers.reader.dataset import Dataset
from ipfs_log_handlers.reader.sealed import check_head, holders, open_sealed
from ipfs_log_handlers.reader.sealed_log import OpenedBatch, SealedLog

__all__ = ["log_of_home"]


def log_of_home(reader: Dataset, name: str) -> SealedLog:
    """Return what records of a log of a home are proved from.

    Args:
        reader: the home, its stores, and the keys that must have signed.
        name: name of the log.

    Raises:
        FormatError: not the name of a log.
        VerificationError: the home does not have the log, or no key that is trusted has signed its newest head.
        OSError: the home cannot be read.
    """
    subsystem_dir = reader.home.subsystem_dir(subsystem_of(name))
    log = next((log for log in logs_of(subsystem_dir) if log.name == name), None)
    if log is None:
        raise VerificationError("the home does not have this log any more", where=reader.home.path, found=name)
    head: Head | None = None
    with suppress(FormatError, OSError):  # the head of the batch itself is enough for a proof
        head = log.batches.facts(log.newest).head
    if head is not None:
        check_head(head, reader.keys)

    @contextmanager
    def open_batch(index: int) -> Iterator[OpenedBatch]:
        def elsewhere(cid: Cid) -> bytes:
            return reader.fetcher.get(cid, holders(subsystem_dir, log, index))

        with open_sealed(log, index, keys=reader.keys) as (batch, manifest):
            own: Head | None = None
            with suppress(FormatError, VerificationError):
                own = batch.head()
            yield OpenedBatch(reader.keyring.open(manifest), batch, elsewhere, own)

    return SealedLog(name, head, log.batches.manifest, open_batch, _listed_in_pages(log))


def _listed_in_pages(log: Log) -> Callable[[int, int], Sequence[Cid] | None]:
    """Return a function that gives the CIDs of manifests of one index page."""
    pages = IndexPages(log.batches.path)

    @functools.lru_cache(maxsize=2)
    def entries_from(first: int) -> Sequence[PageEntry | None]:
        page = pages.load(first, log.name)
        return () if page is None else page.entries

    def listed(low: int, high: int) -> Sequence[Cid] | None:
        first = low - low % PAGE_BATCHES
        if high > first + PAGE_BATCHES:
            return None
        entries = entries_from(first)[low - first : high - first]
        if len(entries) < high - low:
            return None
        try:
            return [Cid.parse(entry.cid) for entry in entries if entry is not None]
        except FormatError:  # a page is a cache, and nobody has signed it
            return None

    return listed
