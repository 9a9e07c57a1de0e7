"""Retention, classification and archiving of content, as operations."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="lifecycle",
        type="lifecycle_operations",
        loggers=("ipfs_kit_py.mcp.enterprise.lifecycle",),
        events={
            "lifecycle.rule": (
                "action",
                "rule_id",
                "rule_kind",
            ),
            "lifecycle.content": (
                "action",
                "content_id",
            ),
            "lifecycle.classified": ("action",),
            "lifecycle.retention": ("action",),
            "lifecycle.archived": ("action",),
            "lifecycle.compliance": ("action",),
            "lifecycle.cost": ("action",),
            "lifecycle.legal_hold": ("action",),
            "lifecycle.policy_run": ("action",),
            "lifecycle.metadata_saved": ("action",),
        },
        records=50,
    )
)
