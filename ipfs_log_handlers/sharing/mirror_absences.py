"""Decide which payloads a mirror does without: those that were given up, and those that a source does not have."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ipfs_log_handlers.errors import LogStoreError, PrunedError, StoreError, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.source import MissingSectionError
from ipfs_log_handlers.stores import MissingBlockError

__all__ = ["Absences"]

_MAX_UNANSWERED: Final = 3
"""Payloads in a row about which a source may give no answer; then it is asked whether it answers at all."""


class Absences:
    """The payloads that were not copied, while the batches of a log are.

    Args:
        newest: CID of the newest manifest, which a source has if it answers at all.
    """

    def __init__(self, newest: Cid) -> None:
        self._newest = newest
        self.pruned: set[int] = set()
        """Batches whose payload was given up."""
        self.missing: set[int] = set()
        """Batches whose payload the source does not have."""
        self.reason: str | None = None
        """What the source said of the first missing payload."""
        self._unanswered = 0

    @property
    def all(self) -> set[int]:
        """All batches without a payload."""
        return self.pruned | self.missing

    def note(self, part: ChainPart, error: LogStoreError) -> None:
        """Note a payload that was not got; raise the error where it does not mean that the payload is absent.

        Raises:
            StoreError: the source is out of reach, refuses to answer, or has not answered several times in a row, also
                not about the newest manifest.
            VerificationError: it has sent other bytes.
        """
        if isinstance(error, PrunedError):
            self.pruned.add(part.index)
            return
        if not isinstance(error, (MissingBlockError, MissingSectionError)):
            if isinstance(error, VerificationError) or not isinstance(error, StoreError):
                raise error
            self._unanswered += 1
            if error.kind in ("unreachable", "denied"):
                raise error
            if self._unanswered > _MAX_UNANSWERED:
                self._check_source(part, error)
        self.missing.add(part.index)
        self.reason = self.reason or str(error)

    def _check_source(self, part: ChainPart, error: StoreError) -> None:
        """Raise the error unless the source still answers about other blocks: then these payloads are lost there."""
        with suppress(MissingBlockError, MissingSectionError):  # this is an answer, too
            try:
                with part.blocks() as source:
                    source.block(self._newest)
            except StoreError as again:
                if isinstance(again, MissingBlockError):
                    raise
                raise error from again
        self._unanswered = 0

    def note_copied(self) -> None:
        """Note that the source has given a payload."""
        self._unanswered = 0
