"""Report records that a reading could not show; each damaged place is reported once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from ipfs_log_handlers.errors import (
    ErasedError,
    FormatError,
    NoIdentityError,
    PrunedError,
    StoreError,
    VerificationError,
)
from ipfs_log_handlers.home.logs import Log
from ipfs_log_handlers.home.os_errors import explain
from ipfs_log_handlers.home.segments import SegmentName, Span

__all__ = ["NO_IDENTITY_HINT", "AnotherBatchError", "Gap", "GapKind", "Gaps", "kind_of"]

NO_IDENTITY_HINT: Final = "Give an identity, with --identity FILE or IPFS_LOGS_IDENTITY."
"""What a reader without an identity does next."""
GapKind = Literal["absent", "damaged", "pruned", "encrypted", "erased"]
"""`absent`: the payload has left the home and no store returned it; `damaged`: it differs from the signed bytes;
`pruned`: it was given up, as a signed act in the log says;
`encrypted`: the reader has no identity that opens it; `erased`: its key was destroyed, so nobody has one."""


class AnotherBatchError(FormatError):
    """The file of a batch contains another batch: of another log, or with another number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records that could not be shown."""

    kind: GapKind
    """What kept them from being shown."""
    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log; for the spool, of the newest log, and empty before the first batch."""
    index: int | None
    """Number of the batch; `None` for the head of the log, and for the spool."""
    reason: str
    """The reason why the records could not be shown."""
    segment: str | None = None
    """The segment of the spool, or the path of a CAR file; `None` for a batch or a head."""
    records: int | None = None
    """Number of the records; `None`: it is not known."""

    def __str__(self) -> str:
        if self.segment is not None:
            return f"{self.subsystem or self.segment}: {self.reason}"
        batch = "" if self.index is None else f" batch {self.index}"
        return f"{self.subsystem}{batch} is {self.kind}: {self.reason}"


def kind_of(error: Exception) -> GapKind:
    """Return the kind of the gap that an error leaves."""
    if isinstance(error, NoIdentityError):
        return "erased" if isinstance(error, ErasedError) else "encrypted"
    if isinstance(error, PrunedError):
        return "pruned"
    return "absent" if isinstance(error, StoreError) else "damaged"


class Gaps:
    """Report the gaps of one reading.

    Args:
        subsystem: name of the subsystem.
        on_gap: called with each gap.
    """

    def __init__(self, subsystem: str, on_gap: Callable[[Gap], None]) -> None:
        self._subsystem = subsystem
        self._on_gap = on_gap
        self._reported: set[tuple[str, int]] = set()

    def batch(self, log: Log, index: int, kind: GapKind, reason: str, records: int | None = None) -> None:
        """Report a batch. A reading reaches each batch once."""
        self._on_gap(
            Gap(kind=kind, subsystem=self._subsystem, log=log.name, index=index, reason=reason, records=records)
        )

    @contextmanager
    def of_batch(self, log: Log, index: int) -> Iterator[None]:
        """Report a batch that cannot be read or verified inside a `with` block, and continue after the block.

        Raises:
            FileNotFoundError, AnotherBatchError: its file does not exist, or is that of another batch: the keeper may
                have moved its log.
        """
        try:
            yield
        except (FileNotFoundError, AnotherBatchError):
            raise
        except NoIdentityError as error:
            self.batch(log, index, kind_of(error), error.message, error.records)
        except PrunedError as error:
            self.batch(log, index, "pruned", error.message)
        except StoreError as error:
            self.batch(log, index, "absent", str(error))
        except (FormatError, VerificationError, OSError) as error:
            self.batch(log, index, "damaged", explain(error))

    def misplaced(self, log: Log, index: int, error: Exception) -> None:
        """Report a batch whose file does not exist, or is that of another batch."""
        reason = "its file is missing" if isinstance(error, FileNotFoundError) else explain(error)
        self.batch(log, index, "damaged", reason)

    def head(self, log: Log) -> None:
        """Report a problem of the head of the current log, once."""
        if log.head_problem is not None and not log.log_dir.is_former:
            self._once((log.name, -1), log.name, log.head_problem, None)

    def span(self, log: str, segment: SegmentName, span: Span) -> None:
        """Report damaged bytes of a segment, once.

        Args:
            log: name of the newest log.
            segment: the segment.
            span: the damaged bytes.
        """
        reason = (
            f"{span.end - span.start} bytes at {span.start} of segment {segment} are damaged and left out; "
            "`ipfs-logs doctor` says more"
        )
        self._once((str(segment), span.start), log, reason, str(segment))

    def segment(self, log: str, segment: SegmentName, reason: str) -> None:
        """Report a segment that is not a readable file, once.

        Args:
            log: name of the newest log.
            segment: the segment.
            reason: the thing in its place.
        """
        self._once((str(segment), -1), log, reason, str(segment))

    def _once(self, place: tuple[str, int], log: str, reason: str, segment: str | None) -> None:
        if place not in self._reported:
            self._reported.add(place)
            self._on_gap(
                Gap(kind="damaged", subsystem=self._subsystem, log=log, index=None, reason=reason, segment=segment)
            )
