"""Track a flush request: a process waits until all records that are in the home now are sealed and shipped."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.spool.scan import Spool

__all__ = ["FlushRequest"]


@dataclass(slots=True, eq=False)
class FlushRequest:
    """The lines in the spools at the time of the request, and the lines that are still unsealed."""

    unsealed: dict[str, dict[str, int]] = field(default_factory=dict)
    """By subsystem and segment: the offset up to which lines must be sealed. Sealed subsystems are removed."""
    failed_stores: set[str] = field(default_factory=set)
    """Addresses of stores that were called since, and failed."""

    @classmethod
    def of_all(cls, home: HomeDir) -> FlushRequest:
        """Return a request for all lines that are in the spools of a home now."""
        request = cls()
        for subsystem_dir in home.subsystem_dirs():
            with contextlib.suppress(OSError):
                request.unsealed[subsystem_dir.name] = Spool(subsystem_dir).sizes()
        return request

    def wants(self, subsystem: str, consumed: Mapping[str, int], sizes: Mapping[str, int]) -> bool:
        """Return whether a subsystem still has unsealed lines of this request; if not, note that it is done.

        Args:
            subsystem: its name.
            consumed: offset in each segment up to which its lines are in batches.
            sizes: bytes of each segment that exists.
        """
        if subsystem not in self.unsealed:
            return False
        wanted = self.unsealed[subsystem]
        if any(name in sizes and consumed.get(name, 0) < size for name, size in wanted.items()):
            return True
        del self.unsealed[subsystem]
        return False

    def sealed(self, failed: Container[str]) -> bool:
        """Return whether all lines are sealed, except in the subsystems that failed."""
        return all(subsystem in failed for subsystem in self.unsealed)
