"""Authentication, authorisation and administration: who did what, and was it allowed."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="audit",
        type="audit_log",
        loggers=("audit",),
        events={
            "audit.event": (
                "event_type",
                "action",
                "timestamp",
            ),
        },
        records=100,
    )
)
