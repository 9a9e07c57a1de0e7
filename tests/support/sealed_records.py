"""Read what a keeper has sealed."""

from __future__ import annotations

from ipfs_log_handlers.home.layout import SubsystemDir
from tests.support import oracle


def sealed_seqs(subsystem_dir: SubsystemDir) -> list[int]:
    """Return `seq` of each record in all logs of a subsystem, in order; the oracle verifies the logs."""
    return [
        record["seq"]
        for log in oracle.read_home(subsystem_dir.path.parent)[subsystem_dir.name]
        for record in log.records
    ]
