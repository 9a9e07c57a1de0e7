"""Log each event of audit once; docs/subsystems/audit.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import audit

log = logging.getLogger("audit")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info(
    "mira signed in",
    extra=audit.event(
        event_type="authentication",
        action="login",
        timestamp=1772438400.0,
        user_id="mira",
        ip_address="192.0.2.7",
        status="success",
        details={"method": "passkey"},
    ),
)
logging.shutdown()
