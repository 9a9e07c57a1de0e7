"""Log each event of fs_monitor once; docs/subsystems/fs_monitor.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import fs_monitor

log = logging.getLogger("ipfs_kit_py.fs_journal_monitor")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info(
    "looked at the journal",
    extra=fs_monitor.stats(
        timestamp=1772438400.0,
        journal={"entry_count": 1200, "pending_entries": 7, "checkpoint_age": 95.0},
        health={"status": "warning", "issue_count": 1, "error_rate": 0.02},
        backend={"total_items": 310, "total_bytes": 5242880},
        transactions={"active_count": 1, "max_duration": 2.5},
        performance={"overall_avg_time": 0.004},
        node="n-1",
    ),
)
log.warning(
    "too many entries",
    extra=fs_monitor.alert(
        alert_type="journal_size",
        severity="warning",
        alert_message="1200 entries, 1000 are usual",
        value=1200.0,
        threshold=1000.0,
        timestamp=1772438400.0,
        node="n-1",
    ),
)
logging.shutdown()
