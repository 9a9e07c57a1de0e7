"""Answer `stream_logs`: the records since a cursor, and a short wait for the first one if there is none."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.mcp_server.answers import Room, cut
from ipfs_log_handlers.mcp_server.limits import CallEnd, TooSlow
from ipfs_log_handlers.mcp_server.reading import Reading, Refused

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Following

__all__ = ["MAX_CURSOR", "stream_logs"]

MAX_CURSOR: Final = 1_500_000
"""Characters of a cursor that is read."""
_SETTLE_S: Final = 5.0
"""Seconds that a call may still read after its wait is over: a long backlog is read in several calls."""


def stream_logs(reading: Reading, dataset: Dataset, *, cursor: str | None, wait_s: float, limit: int) -> dict[str, Any]:
    """Return the records that came after a cursor; wait for the first one if there is none yet.

    Args:
        reading: the reading of this call.
        dataset: the records to choose from.
        cursor: where the answer before has ended; `None`: begin now.
        wait_s: seconds to wait for the first record.
        limit: largest number of records.

    Raises:
        Refused: the cursor is malformed, or too large for an answer.
        LogStoreError: as for `Dataset.follow`.
    """
    wait = CallEnd(wait_s)
    late = CallEnd(wait_s + _SETTLE_S)

    def check() -> None:
        reading.end.check()
        late.check()

    following = _following(dataset.stopped_by(check), cursor)
    room, at, all_fit = Room(), _encoded(following), True
    records: list[dict[str, Any]] = []
    try:
        while len(records) < limit:
            found = following.poll(1)
            if found:
                record, after = cut(found[0].record), _encoded(following)
                all_fit = room.take(record, beside=len(after))
                if not all_fit:
                    break  # the next call begins with this record
                records.append(record)
                at = after
                continue
            if records:
                break
            wait.check()
            reading.end.check()
            following.wait()
    except TooSlow:
        pass
    finally:
        following.close()
    if all_fit and room.has(len(after := _encoded(following))):
        at = after  # also after records that do not pass
    elif not records:
        raise Refused(
            "the cursor is too large for an answer, because very many programs have logged since the last batch: "
            "choose one dataset, or let `ipfs-logs ship` seal the records"
        )
    return {"records": records, "next_cursor": at, **reading.gaps.as_json()}


def _encoded(following: Following) -> str:
    return base64.urlsafe_b64encode(following.cursor.encode()).decode()


def _following(dataset: Dataset, cursor: str | None) -> Following:
    wrong = Refused("not a cursor: give the `next_cursor` of an answer of this tool, unchanged")
    try:
        text = None if cursor is None else base64.urlsafe_b64decode(cursor.encode("ascii")).decode()
    except ValueError:
        raise wrong from None
    try:
        return dataset.follow(text)
    except FormatError:
        raise wrong from None
