"""Realistic events of all subsystems, made with their own functions, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from ipfs_log_handlers.subsystems import (
    audit,
    data_lifecycle,
    fs_monitor,
    fs_replication,
    health,
    lifecycle,
    mcp_actions,
    mcp_files,
    telemetry,
    wal,
)

__all__ = ["LOGGERS", "samples"]

BEGIN: Final = 1_772_438_400.0
LOGGERS: Final = {
    "audit": "audit",
    "logs": "app.orders",
    "wal": "ipfs_kit_py.storage_wal",
    "telemetry": "ipfs_kit_py.wal_telemetry",
    "health": "ipfs_kit_py.mcp.monitoring.health",
    "fs_monitor": "ipfs_kit_py.fs_journal_monitor",
    "fs_replication": "ipfs_kit_py.fs_journal_replication",
    "lifecycle": "ipfs_kit_py.mcp.enterprise.lifecycle",
    "data_lifecycle": "ipfs_kit_py.mcp.enterprise.data_lifecycle",
    "mcp_files": "ipfs_kit_py.mcp.ipfs_kit",
    "mcp_actions": "ipfs_kit_py.mcp.enhanced_server",
}
"""The logger that each subsystem's records come from."""
Dice = random.Random
Fields = dict[str, Any]


def samples(subsystem: str, count: int, seed: int = 7) -> Iterator[tuple[str, Fields]]:
    """Text and `extra` of records; one in fifty lacks a field, one in fifty is a plain sentence.

    Args:
        subsystem: its name.
        count: how many.
        seed: two runs with the same seed do not differ.
    """
    dice = random.Random(f"{subsystem} {seed}")
    make = _MAKE[subsystem]
    for number in range(count):
        fields = make(dice, number)
        odd = dice.randrange(100)
        if odd < 2 and fields:
            fields.pop(dice.choice(sorted(fields)))
        elif odd < 4:
            fields = {}
        yield f"{subsystem} {number} of {count}", fields


def _audit(dice: Dice, number: int) -> Fields:
    return audit.event(
        event_type=dice.choice(["authentication", "authorization", "data", "admin"]),
        action=dice.choice(["login", "logout", "read", "write"]),
        timestamp=BEGIN + number / 7,
        user_id=f"u{dice.randrange(500)}",
        ip_address=f"10.0.{dice.randrange(9)}.{dice.randrange(250)}",
        status=dice.choice(["success", "granted", "denied"]),
        details={"session": f"{dice.getrandbits(64):016x}"},
    )


def _logs(dice: Dice, number: int) -> Fields:
    return {"component": dice.choice(["db", "api"]), "items": dice.randrange(9)} if number % 1000 < 300 else {}


def _wal(dice: Dice, number: int) -> Fields:
    make = dice.choice([wal.added, wal.status, wal.status, wal.archived, wal.deleted])
    return make(
        operation_id=f"op-{number // 3}",
        operation_type=dice.choice(["add", "pin", "get"]),
        backend=dice.choice(["ipfs", "s3"]),
        status=dice.choice(["pending", "processing", "completed", "failed", "retrying"]),
        updated_at=int(BEGIN * 1000) + number,
        parameters={"path": f"/data/{number}", "recursive": True},
        retry_count=dice.randrange(3),
        partition_id=f"p-{number // 2500}" if number > 5000 else None,
    )


def _telemetry(dice: Dice, number: int) -> Fields:
    return telemetry.metric(
        metric_type=dice.choice(["operation_latency", "queue_size", "throughput", "retry_count"]),
        value=round(dice.lognormvariate(0, 1), 6),
        timestamp=BEGIN + number,
        backend=dice.choice(["ipfs", "s3"]),
        sampling_interval=60.0 if number % 4000 < 2000 else dice.choice([30, 60.0, None]),
        aggregate={"count": 5, "mean": 0.5} if number % 10 == 0 else None,
    )


def _health(dice: Dice, number: int) -> Fields:
    return health.check(
        check_id=f"check-{dice.randrange(12)}",
        status="healthy" if dice.random() < 0.9 else dice.choice(["degraded", "unhealthy", "unknown"]),
        duration_ms=round(dice.uniform(0.1, 90), 3),
        target="http://127.0.0.1:5001",
        critical=dice.random() < 0.2,
        details={"cpu_percent": 12.5, "memory_used": 1 << 30},
    )


def _fs_monitor(dice: Dice, number: int) -> Fields:
    if number % 9 == 0:
        return fs_monitor.alert(
            alert_type=dice.choice(["journal_size", "error_rate"]),
            severity=dice.choice(["warning", "critical"]),
            alert_message="over its threshold",
            value=0.7,
            threshold=0.5,
            node="n-1",
        )
    return fs_monitor.stats(
        timestamp=BEGIN + number,
        journal={"entry_count": number, "pending_entries": dice.randrange(9), "checkpoint_age": 1.5},
        health={"status": "ok", "issue_count": 0, "alert_count": 1, "error_rate": 0.25},
        node=dice.choice(["n-1", "n-2"]) if number > 9000 else None,
    )


def _fs_replication(dice: Dice, number: int) -> Fields:
    role = "master" if number < 5000 else dice.choice(["master", "worker"])
    kind = number % 10
    if kind == 0:
        return fs_replication.conflict(entry_id=f"e{number // 4}", resolution="lww", node_id="n-1", role=role)
    if kind == 1:
        return fs_replication.state_saved(status_count=number, peer_count=3, node_id="n-1", role=role)
    if kind == 2:
        return fs_replication.peer(node_id="n-1", role=role, peer_id=f"n-{dice.randrange(5)}")
    if kind == 3:
        return fs_replication.checkpoint(node_id="n-1", role=role, checkpoint_id=f"c{number}", success=True)
    return fs_replication.entry(
        entry_id=f"e{number // 4}",
        status=dice.choice(["pending", "in_progress", "complete", "failed"]),
        node_id="n-1",
        role=role,
        verified_backend_ids=["ipfs", "s3"],
        actions=[{"kind": "copy", "backend_id": "s3", "state": "done"}],
        vector_clock={"n-1": number},
    )


def _lifecycle(dice: Dice, number: int) -> Fields:
    content = f"c{dice.randrange(500)}"
    makes: list[Callable[[], Fields]] = [
        lambda: lifecycle.rule(action="created", rule_id=f"r{number}", rule_kind="retention"),
        lambda: lifecycle.content(action="accessed", content_id=content, size_bytes=dice.randrange(1 << 30)),
        lambda: lifecycle.classified(action="classified", content_id=content, classification="internal"),
        lambda: lifecycle.retention(action="expired", content_id=content, old_state="active", new_state="deleted"),
        lambda: lifecycle.archived(action="archived", content_id=content, target_backend="s3"),
        lambda: lifecycle.compliance(action="checked", regulation="gdpr", compliant=dice.random() < 0.8),
        lambda: lifecycle.cost(action="advised", strategy="cold_storage"),
        lambda: lifecycle.legal_hold(action="placed", content_id=content, reason="case 7"),
        lambda: lifecycle.policy_run(action="run", evaluated=100, affected=dice.randrange(9), duration_ms=12.5),
        lambda: lifecycle.metadata_saved(action="saved", metadata_count=500, rule_counts={"retention": 3}),
    ]
    return dice.choice(makes)()


def _data_lifecycle(dice: Dice, number: int) -> Fields:
    told: Fields = {
        "event_id": f"{dice.getrandbits(64):016x}",
        "event_type": dice.choice(["retention", "archive", "access"]),
        "object_id": f"o{dice.randrange(500)}",
        "status": dice.choice(["success", "failure", "pending"]),
        "timestamp": "2026-03-02T08:00:00+00:00",
        "policy_id": f"p{dice.randrange(5)}",
    }
    if number % 20 == 0:
        return data_lifecycle.policy(**told, action="updated")
    return data_lifecycle.event(**told, action="evaluate", object_path=f"/o/{number}")


def _mcp_files(dice: Dice, number: int) -> Fields:
    return mcp_files.file(
        operation=dice.choice(["read", "write", "list"]),
        path=f"/vfs/{number % 300}",
        success=dice.random() < 0.95,
        duration_ms=round(dice.expovariate(0.1), 3),
        backend="ipfs",
        size=dice.randrange(1 << 20),
    )


def _mcp_actions(dice: Dice, number: int) -> Fields:
    return mcp_actions.action(
        success=dice.random() < 0.9,
        command="pin" if number % 2 else None,
        method=None if number % 2 else "tools/call",
        category="storage",
        server_id="s-1",
        params={"cid": f"bafy{number}"},
    )


_MAKE: Final[dict[str, Callable[[Dice, int], Fields]]] = {
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
