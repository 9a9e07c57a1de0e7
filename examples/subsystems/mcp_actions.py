"""Log each event of mcp_actions once; docs/subsystems/mcp_actions.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import mcp_actions

log = logging.getLogger("ipfs_kit_py.mcp.enhanced_server")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.error(
    "not pinned",
    extra=mcp_actions.action(
        success=False,
        command="pin",
        subcommand="add",
        category="storage",
        server_id="s-1",
        user_id="mira",
        params={"name": "notes"},
        duration_ms=41.5,
        error="no such content",
    ),
)
logging.shutdown()
