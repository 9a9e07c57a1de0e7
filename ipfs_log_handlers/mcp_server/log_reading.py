"""Answer `get_logs`, `track` and `count_logs`."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal

from ipfs_log_handlers.api import Stats
from ipfs_log_handlers.mcp_server.answers import Room, left_out, scanned
from ipfs_log_handlers.mcp_server.limits import MAX_COUNTED
from ipfs_log_handlers.mcp_server.pages import Order, page_of
from ipfs_log_handlers.mcp_server.reading import Reading, Refused

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Match

__all__ = ["TRACKED", "Tracked", "count_logs", "get_logs", "track"]

Tracked = Literal["path", "tool", "user", "trace", "request", "cid"]
"""The things whose history can be asked for."""
TRACKED: Final[dict[Tracked, tuple[str, ...]]] = {
    "path": ("path", "object_path"),
    "tool": ("tool", "command", "method"),
    "user": ("user_id", "user"),
    "trace": ("trace_id",),
    "request": ("request_id",),
    "cid": ("cid",),
}
"""The fields that name such a thing, in the events of the subsystems of this package."""


def get_logs(
    reading: Reading,
    dataset: Dataset,
    *,
    fields: Sequence[str],
    order: Order,
    limit: int,
    cursor: str | None,
) -> dict[str, Any]:
    """Return one page of records.

    Args:
        reading: the reading of this call.
        dataset: the records to choose from.
        fields: the fields of each record; empty: all.
        order: the record that comes first.
        limit: largest number of records.
        cursor: where the page before has ended.

    Raises:
        Refused: the cursor is malformed.
        LogStoreError: as for iteration over the dataset.
    """
    stats = Stats()
    page = page_of(
        dataset.select(*fields) if fields else dataset,
        lambda rest: (rest.reverse() if order == "newest" else rest).matches(stats),
        order=order,
        limit=limit,
        cursor=cursor,
    )
    return {"order": order, **page.as_json(), **reading.gaps.as_json(), **scanned(stats)}


def track(
    reading: Reading, dataset: Dataset, kind: Tracked, value: str, *, limit: int, cursor: str | None
) -> dict[str, Any]:
    """Return the records about one thing, oldest first.

    Args:
        reading: the reading of this call.
        dataset: the records to choose from.
        kind: the kind of the thing.
        value: its name.
        limit: largest number of records.
        cursor: where the page before has ended.

    Raises:
        Refused: the cursor is malformed.
        LogStoreError: as for iteration over the dataset.
    """
    stats = Stats()

    def matches(rest: Dataset) -> Iterator[Match]:
        of_fields = [rest.filter(where={name: {"=": value}}).matches(stats) for name in TRACKED[kind]]
        ordered = heapq.merge(*of_fields, key=lambda match: match[:5])
        return (next(same) for _, same in groupby(ordered, key=lambda match: match[:5]))

    page = page_of(dataset, matches, order="oldest", limit=limit, cursor=cursor)
    return {
        "fields_searched": TRACKED[kind],
        **page.as_json(),
        **reading.gaps.as_json(),
        **scanned(stats),
    }


def count_logs(reading: Reading, dataset: Dataset, *, step: str | None, by: str | None) -> dict[str, Any]:
    """Count records: all of them, over time, or by the values of a field.

    Args:
        reading: the reading of this call.
        dataset: the records.
        step: the span of a bucket, such as `5m`; `None`: they are not counted over time.
        by: the field whose values are counted; `None`: none.

    Raises:
        Refused: there are more buckets than one answer has.
        LogStoreError: as for iteration over the dataset.
    """
    if step is None and by is None:
        return {"count": dataset.count(), **reading.gaps.as_json()}
    if step is None:
        values = dataset.top(by or "", MAX_COUNTED)
        kept, others = Room().fitting({"value": value, "count": number} for value, number in values)
        return {"by": by, "values": kept, **left_out(others), **reading.gaps.as_json()}
    buckets = dataset.histogram(step, by=by)
    if len(buckets) > MAX_COUNTED:
        raise Refused(
            f"{len(buckets)} spans of {step} have records, more than {MAX_COUNTED}: give a longer `step`, or a shorter "
            "range of time"
        )
    shown = [bucket.as_json() if by is not None else {"time": bucket.time, "count": bucket.count} for bucket in buckets]
    kept, others = Room().fitting(shown)
    total = sum(bucket.count for bucket in buckets)
    return {"count": total, "step": step, "buckets": kept, **left_out(others), **reading.gaps.as_json()}
