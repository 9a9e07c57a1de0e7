"""Operations of a storage write-ahead log and how they end."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="wal",
        type="wal_partition",
        loggers=("ipfs_kit_py.storage_wal",),
        events={
            "wal.operation.added": (
                "operation_id",
                "operation_type",
                "backend",
                "status",
                "updated_at",
            ),
            "wal.operation.status": (
                "operation_id",
                "operation_type",
                "backend",
                "status",
                "updated_at",
            ),
            "wal.operation.archived": (
                "operation_id",
                "operation_type",
                "backend",
                "status",
                "updated_at",
            ),
            "wal.operation.deleted": (
                "operation_id",
                "operation_type",
                "backend",
                "status",
                "updated_at",
            ),
        },
        records=1000,
    )
)
