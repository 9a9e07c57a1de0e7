"""Replication of a filesystem journal between nodes."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="fs_replication",
        type="fs_replication_operations",
        loggers=("ipfs_kit_py.fs_journal_replication",),
        events={
            "replication.entry": (
                "node_id",
                "role",
                "entry_id",
                "status",
            ),
            "replication.conflict": (
                "node_id",
                "role",
                "entry_id",
                "resolution",
            ),
            "replication.state_saved": (
                "node_id",
                "role",
                "status_count",
                "peer_count",
            ),
            "replication.checkpoint": (
                "node_id",
                "role",
            ),
            "replication.peer": (
                "node_id",
                "role",
            ),
        },
        records=50,
    )
)
