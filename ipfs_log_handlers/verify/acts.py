"""Check the acts of a log: each can be read, has a batch of its own, and names the one before it."""

from __future__ import annotations

from ipfs_log_handlers.format.act import EXT_KEY, act_in
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.verify.problems import Problems

__all__ = ["ActOrder"]


class ActOrder:
    """The acts of one log, up to the current batch. A reader that goes from one to the one before it passes over none.

    An act of a kind that this release does not know is a problem: verify cannot say what it gives up.
    """

    def __init__(self) -> None:
        self._newest: int | None = None

    def take(self, index: int, manifest: Manifest, problems: Problems, *, complete: bool) -> None:
        """Check the act of the next batch, if it has one.

        Args:
            index: number of the batch.
            manifest: its manifest.
            problems: the list that problems are added to.
            complete: whether all batches before it were taken.

        Raises:
            FormatError: the act cannot be read.
        """
        if EXT_KEY not in manifest.ext:
            return
        before, self._newest = self._newest, index
        read = act_in(manifest.ext)
        if read is not None and complete and read[1] != before:
            problems.add(index, "act.before", before, read[1])
        if manifest.records:
            problems.add(index, "act", "a batch without records", f"{manifest.records} records")
