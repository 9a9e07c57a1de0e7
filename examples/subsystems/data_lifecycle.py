"""Log each event of data_lifecycle once; docs/subsystems/data_lifecycle.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import data_lifecycle

log = logging.getLogger("ipfs_kit_py.mcp.enterprise.data_lifecycle")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info(
    "archived",
    extra=data_lifecycle.event(
        event_id="ev-1",
        event_type="archive",
        object_id="o-7",
        action="archive",
        status="success",
        timestamp="2026-03-02T08:00:00+00:00",
        object_path="/reports/2019",
        policy_id="p-2",
        policy_name="Old reports",
    ),
)
log.info(
    "changed",
    extra=data_lifecycle.policy(
        event_id="ev-2",
        event_type="retention",
        object_id="p-2",
        action="updated",
        status="success",
        timestamp="2026-03-02T08:05:00+00:00",
        policy_id="p-2",
        user_id="mira",
        details={"years": [5, 7]},
    ),
)
logging.shutdown()
