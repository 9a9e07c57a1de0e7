"""Log each event of wal once; docs/subsystems/wal.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import wal

log = logging.getLogger("ipfs_kit_py.storage_wal")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info(
    "added",
    extra=wal.added(
        operation_id="op-17",
        operation_type="add",
        backend="ipfs",
        partition_id="p-3",
        status="pending",
        updated_at=1772438400000,
        parameters={"path": "/data/a.bin"},
        max_retries=5,
    ),
)
log.info(
    "done",
    extra=wal.status(
        operation_id="op-17",
        operation_type="add",
        backend="ipfs",
        partition_id="p-3",
        status="completed",
        updated_at=1772438400250,
        completed_at=1772438400250,
        result={"cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "size": 4096},
        retry_count=0,
    ),
)
log.info(
    "archived",
    extra=wal.archived(
        operation_id="op-17",
        operation_type="add",
        backend="ipfs",
        partition_id="p-3",
        status="completed",
        updated_at=1772442000000,
    ),
)
log.info(
    "deleted",
    extra=wal.deleted(
        operation_id="op-17",
        operation_type="add",
        backend="ipfs",
        partition_id="p-3",
        status="completed",
        updated_at=1772445600000,
    ),
)
logging.shutdown()
