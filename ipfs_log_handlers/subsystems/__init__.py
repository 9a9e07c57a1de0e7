"""Define the events of each subsystem: one module for every subsystem, and the registry of all.

`names()` lists the known ones, and docs/subsystems/ has a page for each. A module is imported when its
subsystem is first used. A program adds more with `register(Subsystem(...))`.
A module has one function for every event: it checks the fields and returns them in the form that logging and structlog
take:

    from ipfs_log_handlers.subsystems import audit

    login = audit.event(event_type="authentication", action="login", timestamp=time.time(), status="success")
    logging.getLogger("audit").info("signed in", extra=login)     # logging
    structlog.get_logger("audit").info(**login)                   # structlog: `event` goes by its name

Add other fields of the record to them: `extra={**login, "tenant": 5}`, `log.info(**login, tenant=5)`.
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
