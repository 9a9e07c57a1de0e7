"""Count `meta` and `stats` of a batch again, independently of the package, from tables written by hand.

Nothing of the package is used here; the rules of other subsystems are read as JSON. The code is slow and simple on
purpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MANY", "own_meta", "required_of", "rule_result", "zone_of"]

MANY = "many"
Records = list[dict[str, Any]]
_REPLICATION = ("node_id", "role")
_WAL = ("operation_id", "operation_type", "backend", "status", "updated_at")
_DATA = ("event_id", "event_type", "object_id", "action", "status", "timestamp")
_ACTIONS = ("classified", "retention", "archived", "compliance", "cost", "legal_hold", "policy_run", "metadata_saved")
_REQUIRED: dict[str, dict[str, tuple[str, ...]]] = {
    "audit": {"audit.event": ("event_type", "action", "timestamp")},
    "logs": {},
    "wal": {f"wal.operation.{each}": _WAL for each in ("added", "status", "archived", "deleted")},
    "telemetry": {"wal.metric": ("metric_type", "value", "timestamp")},
    "health": {"health.check": ("check_id", "status", "duration_ms")},
    "fs_monitor": {
        "fs_journal.stats": ("timestamp", "journal", "health"),
        "fs_journal.alert": ("alert_type", "severity", "alert_message"),
    },
    "fs_replication": {
        "replication.entry": (*_REPLICATION, "entry_id", "status"),
        "replication.conflict": (*_REPLICATION, "entry_id", "resolution"),
        "replication.state_saved": (*_REPLICATION, "status_count", "peer_count"),
        "replication.checkpoint": _REPLICATION,
        "replication.peer": _REPLICATION,
    },
    "lifecycle": {
        "lifecycle.rule": ("action", "rule_id", "rule_kind"),
        "lifecycle.content": ("action", "content_id"),
        **{f"lifecycle.{each}": ("action",) for each in _ACTIONS},
    },
    "data_lifecycle": {"data_lifecycle.event": _DATA, "data_lifecycle.policy": _DATA},
    "mcp_files": {"mcp.file": ("operation", "path", "success", "duration_ms")},
    "mcp_actions": {"mcp.action": ("success",)},
}
"""By subsystem and event, the fields that the table requires (`mcp.action` needs `command` or `method` besides)."""


def required_of(subsystem: str) -> dict[str, tuple[str, ...]]:
    """Return the fields that each event of a subsystem requires."""
    return _REQUIRED[subsystem]


def _is_own(subsystem: str, record: Mapping[str, Any], configured: Mapping[str, Any]) -> bool:
    events = _REQUIRED[subsystem]
    if not events:
        return True
    names = events.get(record["event"])
    if names is None or (subsystem == "mcp_actions" and "command" not in record and "method" not in record):
        return False
    return all(name in record or name in configured for name in names)


def own_meta(
    subsystem: str, records: Records, *, index: int, first: int, configured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the keys of `meta` that the subsystem defines.

    Args:
        subsystem: its name.
        records: all records of the batch.
        index: number of the batch.
        first: the manifest's, in µs since 1970.
        configured: the handler's `metadata`.
    """
    given = configured or {}
    own = [record for record in records if _is_own(subsystem, record, given)]
    told = _TABLE[subsystem](own, given, f"wal_{first // 1_000_000}_{index}")
    if len(own) < len(records):
        told["left_out"] = len(records) - len(own)
    return told


def _audit(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    return {"event_count": len(own), "event_types": _distinct(own, "event_type")}


def _logs(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    components = [
        record["component"] if _is_value(record.get("component")) else _component(record, given) for record in own
    ]
    return {"log_count": len(own), **_single("component", "components", components, given.get("component", "all"))}


def _wal(own: Records, given: Mapping[str, Any], made_up: str) -> dict[str, Any]:
    ids = [record["partition_id"] for record in own if "partition_id" in record]
    return {
        **_single("partition_id", "partition_ids", ids, given.get("partition_id", made_up)),
        "operation_count": len(_values(own, "operation_id")),
        "statuses": _few(Counter(_last(own, "operation_id", "status").values())),
    }


def _telemetry(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    intervals = [record.get("sampling_interval") for record in own]
    return {
        "metric_types": _distinct(own, "metric_type"),
        **_single("sampling_interval", "sampling_intervals", intervals, given.get("sampling_interval")),
    }


def _health(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    last = set(_last(own, "check_id", "status").values())
    overall = "unknown"
    for status in ("healthy", "degraded", "unhealthy"):
        if status in last:
            overall = status
    return {"check_count": len(_values(own, "check_id")), "overall_status": overall}


def _fs_monitor(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    events = Counter(record["event"] for record in own)
    nodes = [record.get("node") for record in own]
    return {
        "stats_count": events["fs_journal.stats"],
        "alert_count": events["fs_journal.alert"],
        **_single("monitor_node", "monitor_nodes", nodes, given.get("node")),
    }


def _fs_replication(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    return {
        **_single("node_id", "node_ids", [record.get("node_id") for record in own], given.get("node_id")),
        **_single("role", "roles", [record.get("role") for record in own], given.get("role")),
        "operation_count": len(own),
        "statuses": _few(Counter(_last(own, "entry_id", "status").values())),
        "conflict_count": sum(record["event"] == "replication.conflict" for record in own),
    }


def _lifecycle(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    violations = [r for r in own if r["event"] == "lifecycle.compliance" and r.get("compliant") is False]
    return {
        "operation_count": len(own),
        "event_counts": _few(Counter(record["event"] for record in own)),
        "violation_count": len(violations),
    }


def _data_lifecycle(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    statuses = Counter(_text(record["status"]) for record in own if _is_value(record["status"]))
    return {
        "event_count": len(own),
        "event_types": _distinct(own, "event_type"),
        "statuses": _few(statuses),
    }


def _mcp_files(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    components = [_component(record, given) for record in own]
    return {
        "operation_count": len(own),
        **_single("component", "components", components, given.get("component")),
    }


def _mcp_actions(own: Records, given: Mapping[str, Any], _: str) -> dict[str, Any]:
    servers = [record.get("server_id") for record in own]
    return {
        "operation_count": len(own),
        **_single("server_id", "server_ids", servers, given.get("server_id")),
        "error_count": sum(record["success"] is False for record in own),
    }


_TABLE = {
    "audit": _audit,
    "logs": _logs,
    "wal": _wal,
    "telemetry": _telemetry,
    "health": _health,
    "fs_monitor": _fs_monitor,
    "fs_replication": _fs_replication,
    "lifecycle": _lifecycle,
    "data_lifecycle": _data_lifecycle,
    "mcp_files": _mcp_files,
    "mcp_actions": _mcp_actions,
}


def zone_of(records: Iterable[Mapping[str, Any]], field: str) -> dict[str, Any]:
    """Return the entry of a field in the zone map."""
    values = [record[field] for record in records if _is_value(record.get(field))]
    numbers = [each for each in values if type(each) in {int, float}]
    told: dict[str, Any] = {}
    named = _listed([each for each in values if type(each) in {bool, str}])
    if named:
        told["values"] = named
    if numbers:
        told |= {"min": min(numbers), "max": max(numbers)}
    return told


def rule_result(rule: Mapping[str, Any], own: Records) -> Any:
    """Return the result of a rule (as JSON), except `single`, over the records that count."""
    for name, wanted in rule.get("where", {}).items():
        own = [each for each in own if name in each and type(each[name]) is type(wanted) and each[name] == wanted]
    field, per = rule.get("field", ""), rule.get("per", "")
    if rule["rule"] == "count":
        return len(own)
    if rule["rule"] == "distinct":
        return _distinct(own, field)
    if rule["rule"] == "distinct_count":
        return len(_values(own, field))
    if rule["rule"] == "worst":
        last = set(_last(own, per, field).values())
        return next((each for each in rule["order"] if each in last), rule["order"][-1])
    texts = [_text(each[field]) for each in own if _is_value(each.get(field))]
    return _few(Counter(_last(own, per, field).values() if per else texts))


# -- the words of the table


def _single(name: str, plural: str, values: Iterable[Any], otherwise: Any) -> dict[str, Any]:
    found = _listed([each for each in values if _is_value(each)])
    if len(found) == 1:
        return {name: found[0]}
    return {name: otherwise, plural: found} if found else {name: otherwise}


def _component(record: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    logger: str = record["logger"]
    fitting = [p for p in given.get("components", {}) if f"{logger}.".startswith(f"{p}.")]
    name: str = given["components"][max(fitting, key=len)] if fitting else logger.rsplit(".", maxsplit=1)[-1]
    return name


def _distinct(own: Records, field: str) -> Any:
    return _listed([each[field] for each in own if _is_value(each.get(field))])


def _values(own: Records, field: str) -> set[tuple[type, Any]]:
    return {(type(each[field]), each[field]) for each in own if _is_value(each.get(field))}


def _last(own: Records, per: str, field: str) -> dict[tuple[type, Any], str]:
    last: dict[tuple[type, Any], str] = {}
    for each in own:
        if _is_value(each.get(per)) and _is_value(each.get(field)):
            last[type(each[per]), each[per]] = _text(each[field])
    return last


def _is_value(value: Any) -> bool:
    return type(value) in {str, int, float, bool}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _listed(values: Iterable[Any]) -> Any:
    values = list(values)
    booleans = sorted({each for each in values if type(each) is bool})
    numbers = sorted({each for each in values if type(each) in {int, float}})
    texts = sorted({each for each in values if type(each) is str})
    if len(booleans) + len(numbers) + len(texts) > 32 or sum(len(each.encode()) for each in texts) > 2048:
        return MANY
    return [*booleans, *numbers, *texts]


def _few(counts: Mapping[str, int]) -> Any:
    large = len(counts) > 32 or sum(len(each.encode()) for each in counts) > 2048
    return MANY if large else dict(counts)
