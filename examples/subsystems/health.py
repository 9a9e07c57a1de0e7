"""Log each event of health once; docs/subsystems/health.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import health

log = logging.getLogger("ipfs_kit_py.mcp.monitoring.health")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.warning(
    "the disk is nearly full",
    extra=health.check(
        check_id="disk",
        status="degraded",
        duration_ms=1.5,
        check_name="Free disk space",
        check_type="resource",
        target="/var/lib/ipfs",
        critical=False,
        details={"free_percent": 8.5},
    ),
)
logging.shutdown()
