"""Log each event of fs_replication once; docs/subsystems/fs_replication.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import fs_replication

log = logging.getLogger("ipfs_kit_py.fs_journal_replication")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler(metadata={"node_id": "n-1", "role": "master"}))

log.info(
    "replicated",
    extra=fs_replication.entry(
        entry_id="e-5",
        status="complete",
        success=True,
        target_redundancy=2,
        verified_redundancy=2,
        verified_backend_ids=["ipfs", "s3"],
        actions=[{"kind": "copy", "backend_id": "s3", "state": "done"}],
        vector_clock={"n-1": 5, "n-2": 4},
    ),
)
log.warning("two writers", extra=fs_replication.conflict(entry_id="e-6", resolution="lww", peer_id="n-2"))
log.info("saved", extra=fs_replication.state_saved(status_count=6, peer_count=2, success=True))
log.info("checkpoint", extra=fs_replication.checkpoint(checkpoint_id="c-1", success=True))
log.info("a new peer", extra=fs_replication.peer(peer_id="n-3", peer_role="worker"))
logging.shutdown()
