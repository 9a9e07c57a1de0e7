"""Log into all subsystems from one dictConfig, with logging and with structlog.

Every subsystem but `logs` has a logger here; all other loggers go to `logs`. One handler without `subsystem` would be
enough: it chooses the subsystem of each record by its `subsystem` field, its event or its logger. With one handler for
each subsystem, each has settings of its own. Typed functions make the fields and check them.
The home comes from IPFS_LOGS_HOME, or is the program's own directory under the user's state directory.
"""

from __future__ import annotations

import logging
import logging.config
import time

import structlog

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

HANDLER = "ipfs_log_handlers.IPFSHandler"
LOGGERS = {
    "audit": "audit",
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
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "audit": {"class": HANDLER, "subsystem": "audit", "durability": "power", "when_full": "block"},
        "logs": {"class": HANDLER, "subsystem": "logs", "metadata": {"components": {"shop": "shop"}}},
        "wal": {"class": HANDLER, "subsystem": "wal"},
        "telemetry": {"class": HANDLER, "subsystem": "telemetry", "metadata": {"sampling_interval": 15}},
        "health": {"class": HANDLER, "subsystem": "health"},
        "fs_monitor": {"class": HANDLER, "subsystem": "fs_monitor", "metadata": {"node": "node-1"}},
        "fs_replication": {
            "class": HANDLER,
            "subsystem": "fs_replication",
            "metadata": {"node_id": "node-1", "role": "master"},
        },
        "lifecycle": {"class": HANDLER, "subsystem": "lifecycle"},
        "data_lifecycle": {"class": HANDLER, "subsystem": "data_lifecycle"},
        "mcp_files": {"class": HANDLER, "subsystem": "mcp_files"},
        "mcp_actions": {"class": HANDLER, "subsystem": "mcp_actions"},
    },
    "loggers": {logger: {"handlers": [name], "propagate": False} for name, logger in LOGGERS.items()},
    "root": {"handlers": ["logs"], "level": "INFO"},
}


def stdlib() -> None:
    """Log with the standard library: the fields go into `extra`."""
    log = {name: logging.getLogger(logger) for name, logger in LOGGERS.items()}
    now = time.time()
    log["audit"].info(
        "mira signed in",
        extra=audit.event(event_type="authentication", action="login", timestamp=now, status="success"),
    )
    log["wal"].info(
        "added",
        extra=wal.added(
            operation_id="op-1", operation_type="add", backend="s3", status="pending", updated_at=int(now * 1000)
        ),
    )
    log["telemetry"].info(
        "measured", extra=telemetry.metric(metric_type="operation_latency", value=0.012, timestamp=now)
    )
    log["health"].info("checked", extra=health.check(check_id="disk", status="healthy", duration_ms=3.5))
    log["fs_monitor"].warning(
        "the journal grows",
        extra=fs_monitor.alert(
            alert_type="growth_rate", severity="warning", alert_message="40 entries a minute", value=40, threshold=20
        ),
    )
    log["fs_replication"].info("replicated", extra=fs_replication.entry(entry_id="e-1", status="complete"))
    log["lifecycle"].info(
        "a rule", extra=lifecycle.rule(action="created", rule_id="r-1", rule_kind="retention", rule_name="a year")
    )
    logging.getLogger("shop.orders").info("order %d placed", 4711, extra={"items": 3})


def with_structlog() -> None:
    """Log with structlog on top of the same handlers; `event` is a keyword like every other field."""
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    structlog.get_logger(LOGGERS["data_lifecycle"]).info(
        **data_lifecycle.event(
            event_id="ev-1",
            event_type="retention",
            object_id="bafy-1",
            action="expire",
            status="success",
            timestamp="2026-03-02T08:00:00",
        )
    )
    structlog.get_logger(LOGGERS["mcp_files"]).info(
        **mcp_files.file(operation="read", path="/reports/q1.pdf", success=True, duration_ms=1.5)
    )
    structlog.get_logger(LOGGERS["mcp_actions"]).info(**mcp_actions.action(command="pin", success=True))


def main() -> None:
    """Configure, log with both, shut down."""
    logging.config.dictConfig(LOGGING)
    stdlib()
    with_structlog()
    logging.shutdown()
    print("All logs are sealed: `ipfs-logs ls` lists their batches, `ipfs-logs cat wal` shows one of them.")


if __name__ == "__main__":
    main()
