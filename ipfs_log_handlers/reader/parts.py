"""Define the parts that a query reads: a sealed batch, or the unsealed lines of one segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import rfc3339

__all__ = ["FIRST_MOMENT", "LAST_MOMENT", "OpenText", "Part", "Reads", "Source", "Verify", "moment_text", "time_of"]

Verify = Literal["off", "batch", "chain"]
"""Checks of a batch before one of its records is returned.

`batch`: each block is hashed, and the payload is that of its place, with the size that the manifest says. `chain`: the
tree of the records, from which proofs are made, is computed anew, too. `off`: the files of a home are not hashed.
"""


@dataclass(frozen=True, slots=True)
class OpenText:
    """The text of a part that is open: what it needs was read or requested."""

    inflate: Callable[[], bytes]
    """Returns the records as one text: the JSON of each, ended by LF, all of them verified.

    Any thread may call it. It begins no request, but may wait for one. It raises `OSError` or `LogStoreError` if the
    text cannot be read or verified; `Part.lines` says what gap that is.
    """
    cancel: Callable[[], object] = lambda: None
    """Gives up what was requested."""


FIRST_MOMENT: Final = b""
"""Text that sorts before the time of every record."""
LAST_MOMENT: Final = b"\xff"
"""Text that sorts after the time of every record."""
_BEGIN: Final = b'{"time":"'
_TIME: Final = slice(9, 36)
_DIGITS: Final = b"0123456789"


class Reads:
    """What was read to list parts, and to decide which of them to open; counts grow while that goes on."""

    __slots__ = ("manifests", "pages")

    def __init__(self) -> None:
        self.pages = 0
        """Index pages."""
        self.manifests = 0
        """Manifests, of batches that no page describes."""


class Part(Protocol):
    """A batch or segment that a query reads as a whole. Times are RFC 3339 text in UTC, which sorts by time."""

    @property
    def subsystem(self) -> str:
        """Name of the subsystem."""

    @property
    def log(self) -> str:
        """Name of the log; empty before the first batch."""

    @property
    def origin(self) -> str | None:
        """Name of the log, which its records show as `origin`; `None`: they show none."""

    @property
    def index(self) -> int:
        """Number of the batch; lines of the spool have the number of the next batch."""

    @property
    def number(self) -> int:
        """Number that distinguishes parts of the spool with the same index."""

    @property
    def first(self) -> bytes:
        """Time of the earliest record, or a time before it."""

    @property
    def last(self) -> bytes:
        """Time of the latest record, or a time after it."""

    @property
    def records(self) -> int:
        """Number of records."""

    @property
    def size(self) -> int:
        """Bytes that are read when the part is opened."""

    @property
    def sealed(self) -> bool:
        """Whether the part is a batch."""

    def zone(self) -> Mapping[str, Any]:
        """Return the zone map (`stats` of the manifest); empty if the values of the records are not known."""

    def manifest(self) -> Manifest | None:
        """Read the manifest, hashed; `None` for what is no batch, or whose manifest cannot be read."""

    def open_text(self) -> OpenText | None:
        """Read or request what the text of the records needs; reports no gap.

        Returns:
            `None`: it is too large to be held in memory, or `lines` is as fast.

        Raises:
            OSError, LogStoreError: it cannot be read or verified; `lines` says what `gap` that is.
        """

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        """Say whether a record may have one of some ids in a field; `False` is certain.

        Args:
            name: the field.
            hashes: the ids, as `format/bloom.py` hashes them.
        """

    def lines(self) -> Iterator[bytes]:
        """Verify all records, then yield their JSON; report a gap if they cannot be verified."""

    def lines_or_error(self) -> Iterator[bytes]:
        """Yield the same lines; report no gap.

        Raises:
            OSError, LogStoreError: they cannot be read or verified.
        """


class Source(Protocol):
    """A source of records."""

    def subsystems(self) -> Sequence[str]:
        """Name the subsystems that have records, in alphabetical order."""

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[Part]:
        """List the parts of a subsystem that are durable when this is called.

        Args:
            subsystem: its name.
            reads: counts what is read for that, and later to decide which parts to open.
        """

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find the log and the number of the batch that a head block or a manifest names; `None`: it is not here.

        Raises:
            VerificationError: it is a head of a log that has another batch of that number here.
        """

    def close(self) -> None:
        """Close files and connections; they are opened again when they are needed."""


def moment_text(micros: int) -> bytes:
    """Return a moment in µs since 1970 as text that sorts with the times of records, whatever the year."""
    if micros <= 0:
        return FIRST_MOMENT
    if micros >= 253_402_300_800_000_000:  # the year 10000 begins
        return LAST_MOMENT
    return rfc3339(micros).encode()


def time_of(line: bytes) -> bytes | None:
    """Return the time of a record as text; `None` for a line of another program, which does not begin with a time."""
    time = line[_TIME]
    if line[:9] != _BEGIN or len(time) != 27 or time[-1:] != b"Z" or time[10:11] != b"T" or time[0] not in _DIGITS:
        return None
    return time
