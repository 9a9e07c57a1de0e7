"""Answer `list_datasets` and `describe_dataset`, and the resources with the same content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.mcp_server.answers import Room, cut, left_out
from ipfs_log_handlers.mcp_server.reading import Reading, Refused

if TYPE_CHECKING:
    from ipfs_log_handlers.api import LogSummary

__all__ = ["batch_of", "describe_dataset", "list_datasets"]

_SAMPLE: Final = 100
"""Newest records whose fields are described."""
_SHOWN_SAMPLES: Final = 3
"""Records of an answer that serve as examples."""
_TOP: Final = 10
"""Values of level and logger that are counted."""
_TYPES: Final = {str: "text", bool: "boolean", int: "whole number", float: "number", list: "list", dict: "object"}
"""The names of the types of JSON."""


def list_datasets(reading: Reading, verified: Mapping[str, str]) -> dict[str, Any]:
    """Return each dataset with its logs.

    Args:
        reading: the reading of this call.
        verified: the outcome of the last verification of each log in this server.

    Raises:
        LogStoreError: a source cannot be read.
    """
    datasets: dict[str, list[dict[str, Any]]] = {}
    for log in reading.shown.logs():
        datasets.setdefault(log.subsystem, []).append(_described(log, verified))
    kept, others = Room().fitting({"name": name, "logs": logs} for name, logs in datasets.items())
    return {"datasets": kept, **left_out(others), **reading.gaps.as_json()}


def _described(log: LogSummary, verified: Mapping[str, str]) -> dict[str, Any]:
    members = log.as_json()
    del members["subsystem"]
    return {**members, "verified": verified.get(log.log, "not in this server: call verify")}


def describe_dataset(reading: Reading, name: str, verified: Mapping[str, str]) -> dict[str, Any]:
    """Return the logs, the fields, the usual values and some records of one dataset.

    Args:
        reading: the reading of this call.
        name: its name.
        verified: the outcome of the last verification of each log in this server.

    Raises:
        ConfigurationError: there is no such dataset; the error lists the others.
        LogStoreError: a source cannot be read.
    """
    dataset = reading.shown.filter(subsystem=name)
    logs = [_described(log, verified) for log in dataset.logs()]
    newest = list(dataset.last(_SAMPLE))
    samples, _ = Room(0.3).fitting(newest[-_SHOWN_SAMPLES:])
    fields, others = Room(0.5).fitting(_fields_of(newest))
    return {
        "name": name,
        "logs": cut(logs),
        "levels": cut(dict(_texts(dataset.top("level", _TOP)))),
        "loggers": cut(dict(_texts(dataset.top("logger", _TOP)))),
        "fields": fields,
        "fields_are_from": f"the newest {len(newest)} records",
        **left_out(others),
        "samples": samples,
        **reading.gaps.as_json(),
    }


def _texts(counts: list[tuple[Any, int]]) -> list[tuple[str, int]]:
    return [(str(value), count) for value, count in counts]


def _fields_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each field with its types and the number of records that have it, the most frequent first."""
    types: dict[str, Counter[str]] = {}
    for record in records:
        for name, value in record.items():
            types.setdefault(name, Counter())[_TYPES.get(type(value), "null")] += 1
    return [
        {"name": name, "types": sorted(counts), "in_records": counts.total()}
        for name, counts in sorted(types.items(), key=lambda item: -item[1].total())
    ]


def batch_of(reading: Reading, cid: str) -> dict[str, Any]:
    """Return the manifest of one batch.

    Args:
        reading: the reading of this call.
        cid: CID of its manifest.

    Raises:
        Refused: the text is not a CID, or no source has such a batch.
        LogStoreError: a source cannot be read.
    """
    try:
        batch = reading.shown.batch_with_cid(cid)
    except FormatError:
        raise Refused("not a CID") from None
    if batch is None:
        raise Refused("no batch has this CID; list_datasets shows the newest one of each log")
    return {name: cut(value) for name, value in batch.as_json().items()}
