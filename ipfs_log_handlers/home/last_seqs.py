"""Find the last sequence number of each writer that is in a batch: without a head, it shows which lines are sealed.

A group of batches (`encryption.group_of`) is sealed in one step. If a crash has left only the first ones of it at the
end of a log, none of them counts: their lines are in the spool, and those of the other batches, too.
"""

from __future__ import annotations

from ipfs_log_handlers.format.encryption import group_of
from ipfs_log_handlers.format.manifest import Manifest

__all__ = ["LastSeqs"]


class LastSeqs:
    """The last sequence number of each writer in the manifests so far, log by log, each in its order."""

    def __init__(self) -> None:
        self.through: dict[str, int] = {}
        """By writer."""
        self._log = ""
        self._open: dict[str, int] = {}
        """The same of the batches of a group that is not complete yet."""

    def take(self, manifest: Manifest) -> None:
        """Take the next manifest."""
        number, size = group_of(manifest) or (1, 1)
        if manifest.log != self._log:
            self._log = manifest.log
            self._open.clear()
        if number == 1:
            self._close()  # a batch follows, so the group before it was complete, although a batch of it is lost
        for writer, _, _, last in manifest.sources:
            self._open[writer] = max(last, self._open.get(writer, 0))
        if number == size:
            self._close()

    def _close(self) -> None:
        for writer, last in self._open.items():
            self.through[writer] = max(last, self.through.get(writer, 0))
        self._open.clear()
