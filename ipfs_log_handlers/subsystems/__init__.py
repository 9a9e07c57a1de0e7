"""What each subsystem logs: one module each, and the registry that holds them.

`audit, logs, wal, telemetry, health, fs_monitor, fs_replication, lifecycle, data_lifecycle, mcp_files, mcp_actions`
are known, each read when it is first used; a program adds its own with `register(Subsystem(...))`. Each module has one
function for each of its events: it checks the fields and gives them in the form that logging and structlog take:

    from ipfs_log_handlers.subsystems import audit

    login = audit.event(event_type="authentication", action="login", timestamp=time.time(), status="success")
    logging.getLogger("audit").info("signed in", extra=login)     # logging
    structlog.get_logger("audit").info(**login)                   # structlog: `event` goes by its name

What else the record should hold goes beside them: `extra={**login, "tenant": 5}`, `log.info(**login, tenant=5)`.
"""

from __future__ import annotations

from ipfs_log_handlers.subsystems.registry import (
    DEFAULT,
    Router,
    Subsystem,
    check_metadata,
    get,
    load,
    names,
    register,
)

__all__ = ["DEFAULT", "Router", "Subsystem", "check_metadata", "get", "load", "names", "register"]
