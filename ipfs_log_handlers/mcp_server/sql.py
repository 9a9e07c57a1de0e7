"""Answer `query_sql`: one SELECT, in a child process that has no file, no network and little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.api import SqlLimits, Stats
from ipfs_log_handlers.mcp_server.answers import Room, scanned
from ipfs_log_handlers.mcp_server.reading import Reading

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset

__all__ = ["query_sql"]

_SECONDS: Final = 10.0
"""Seconds until the child is killed."""
_ANSWER_BYTES: Final = 4 << 20
"""Bytes of the answer of the child; what does not fit into the answer of the tool is left out."""


def query_sql(reading: Reading, dataset: Dataset, query: str, *, limit: int) -> dict[str, Any]:
    """Answer a SELECT over the records whose secrets are hidden.

    Args:
        reading: the reading of this call.
        dataset: the records.
        query: the SELECT.
        limit: largest number of rows.

    Raises:
        ConfigurationError: the query is wrong or exceeds a limit, or the extra `query` is not installed.
        LogStoreError: as for iteration over the dataset.
    """
    stats = Stats()
    answer = dataset.sql_untrusted(
        query, SqlLimits(rows=limit, seconds=_SECONDS, answer_bytes=_ANSWER_BYTES), stats=stats
    )
    rows, others = Room().fitting(answer.rows)
    return {
        "columns": list(answer.columns),
        "rows": rows,
        "truncated": answer.truncated or bool(others),
        **reading.gaps.as_json(),
        **scanned(stats),
    }
