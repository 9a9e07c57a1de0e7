"""What a keeper has sealed."""

from __future__ import annotations

from ipfs_log_handlers.home.layout import Room
from tests import oracle


def sealed_seqs(room: Room) -> list[int]:
    """The sequence numbers in all logs of a subsystem, in their order; every claim of the logs is verified."""
    return [each["seq"] for log in oracle.read_home(room.path.parent)[room.name] for each in log.records]
