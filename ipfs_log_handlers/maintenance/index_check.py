"""Compare index pages with the batches that they describe: an undamaged page may still state wrong facts.

The hashes in a damaged page are wrong, so the page is never used. The hashes are right in a page that was forged, or
that has an error because of a defect in this package. So entries and filters are made again from some batches, and
compared.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.bloom import may_hold
from ipfs_log_handlers.home.index_pages import IndexPages, StoredPage
from ipfs_log_handlers.home.logs import Log
from ipfs_log_handlers.keeper.indexing import IndexedBatch, read_batch, unpacked

__all__ = ["page_problem"]

_SAMPLED_BATCHES: Final = 8
"""Batches of a page that a sample reads."""

_T = TypeVar("_T")
_Filters = tuple[list[bytes | None], bytes | None]
"""The filters of the batches of a page, and that of the page."""


def page_problem(log: Log, first: int, *, sample: bool) -> str | None:
    """Read a whole index page and compare it with its batches; return the first error, or `None`.

    Args:
        log: the log.
        first: number of the first batch of the page.
        sample: read a few of its batches; else all of them.
    """
    pages = IndexPages(log.log_dir.batches)
    problem = pages.problem(first, log.name)
    if problem is not None:
        return problem
    page = pages.load(first, log.name)
    if page is None:
        return None  # the keeper has just replaced the page
    if first + page.count > log.newest + 1:
        return f"it has {page.count} batches; the log has fewer"
    numbers: Sequence[int] = range(page.count)
    if sample:
        numbers = sorted(random.sample(numbers, min(_SAMPLED_BATCHES, len(numbers))))
    try:
        filters = {name: (page.filters_of(name), page.page_filter(name)) for name in page.root.filters}
    except (OSError, FormatError, VerificationError):
        return None  # a keeper has just written it anew
    problems = (_difference(log, page, number, filters) for number in numbers)
    return next((problem for problem in problems if problem is not None), None)


def _difference(log: Log, page: StoredPage, number: int, filters: Mapping[str, _Filters]) -> str | None:
    """Return how the entry of a batch, or a filter, differs from the batch; `None` if they agree."""
    entry, index = page.entries[number], page.root.first + number
    stated = {name: data for name, (of_batches, _) in filters.items() if (data := of_batches[number]) is not None}
    made = _result(read_batch(log.batches, index, log.name, list(stated), stated))
    if entry is None or made.line == IndexedBatch().line:
        return None  # the batch could not be read, or cannot be read now; other checks report that
    if made.line != msgspec.json.encode(entry) or made.filters != stated:
        return f"its entry of batch {index} differs from the batch"
    for name, packed in made.hashes.items():
        of_page = filters[name][1]
        if of_page is not None and not all(may_hold(of_page, [hashed]) for hashed in unpacked(packed)):
            return f"its filter of {name} lacks an id of batch {index}"
    return None


def _result(steps: Generator[None, None, _T]) -> _T:
    """Run all steps; return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
