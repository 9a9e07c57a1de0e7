"""Log each event of mcp_files once; docs/subsystems/mcp_files.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import mcp_files

log = logging.getLogger("ipfs_kit_py.mcp.ipfs_kit")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info(
    "written",
    extra=mcp_files.file(
        operation="write",
        path="/vfs/notes.txt",
        success=True,
        duration_ms=3.5,
        backend="ipfs",
        bucket="notes",
        size=4096,
        request_id="q-12",
    ),
)
logging.shutdown()
