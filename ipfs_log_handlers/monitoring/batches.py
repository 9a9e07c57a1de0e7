"""List the batches of a home, from its catalogues and manifests alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.encoding import encoding_of
from ipfs_log_handlers.home.catalogue import GROUP, Catalogue, all_shipped, as_shipped, describe, line_of
from ipfs_log_handlers.home.delivery_state import Confirmations
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of, policy_of

__all__ = ["BatchInfo", "batch_lines_in", "batches_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInfo:
    """One sealed batch, as its manifest describes it. Times are RFC 3339 in UTC."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log."""
    index: int
    """Number of the batch in its log, from 0."""
    cid: str
    """CID of the manifest."""
    payload: str
    """CID of the payload; of an archive, CID of the archived file or directory."""
    records: int
    """Number of records; 0 for an archive."""
    first: str
    """Time of the first record."""
    last: str
    """Time of the last record."""
    raw: int
    """Bytes of the lines before compression."""
    size: int
    """Bytes of the payload."""
    encoding: str
    """`jsonl+zstd` for records, `unixfs` for an archive."""
    sealed: str
    """Time at which the batch was sealed."""
    state: Literal["sealed", "shipped", "imported"]
    """`shipped` once as many stores as configured have confirmed the batch, else `sealed`; `imported`: it is a batch of
    another home."""
    meta: Mapping[str, Any]
    """Metadata of the batch, as its subsystem defines it."""
    origin: str | None = None
    """The name of the log, of a batch of another home; `None`: this home has sealed it."""

    @property
    def contents(self) -> str:
        """Kind of the content: `records`, or `archive` for a file or directory."""
        return encoding_of(self.encoding).title

    def as_json(self) -> dict[str, Any]:
        """Return the batch with the keys of `ipfs-logs ls`."""
        members = {name: getattr(self, name) for name in self.__slots__ if name != "origin"}
        return members | {"meta": dict(self.meta)} | ({} if self.origin is None else {"origin": self.origin})


def batches_in(subsystem_dirs: Sequence[SubsystemDir], on_damage: Callable[[Exception], None]) -> Iterator[BatchInfo]:
    """List the batches of some subsystems, each log's oldest first, former logs before the current one.

    Args:
        subsystem_dirs: the subsystems.
        on_damage: called with the error for each batch or head that cannot be read; the listing goes on after it.

    Raises:
        OSError: the home cannot be read.
    """
    import msgspec

    decode = msgspec.json.Decoder(BatchInfo).decode
    for lines in batch_lines_in(subsystem_dirs, on_damage):
        for line in lines.splitlines():
            try:
                yield decode(line)
            except msgspec.MsgspecError as error:
                on_damage(FormatError(f"a line in the catalogue of a log is not a batch: {error}", found=line[:200]))


def batch_lines_in(subsystem_dirs: Sequence[SubsystemDir], on_damage: Callable[[Exception], None]) -> Iterator[bytes]:
    """List the batches as JSON lines with the keys of `ipfs-logs ls`, fast also for very many batches.

    Batches in the catalogue of their log are read from the catalogue, 250 at a time; for others the manifest is read.

    Args:
        subsystem_dirs: as for `batches_in`.
        on_damage: as for `batches_in`.

    Yields:
        One or more lines, each ended by LF.

    Raises:
        OSError: the home cannot be read.
    """
    for subsystem_dir in subsystem_dirs:
        policy = policy_of(subsystem_dir)
        for log in logs_of(subsystem_dir):
            if log.head_problem is not None and not log.log_dir.is_former:
                on_damage(FormatError(log.head_problem))
            confirmations = log.confirmations(policy.replicas)
            listing = _Listing(log, confirmations, on_damage)
            yield from listing.lines()


class _Listing:
    """The listing of one log."""

    def __init__(self, log: Log, confirmations: Confirmations, on_damage: Callable[[Exception], None]) -> None:
        self._log = log
        self._confirmations = confirmations
        self._on_damage = on_damage
        self._not_shipped_below = frozenset(confirmations.set_aside)
        self._shipped_above = frozenset(confirmations.shipped_after())

    def lines(self) -> Iterator[bytes]:
        first = 0
        for text in Catalogue(self._log.log_dir.batches).groups():
            if first + GROUP > self._log.newest + 1:
                break
            yield self._group(text, first)
            first += GROUP
        for index in range(first, self._log.newest + 1):
            yield self._line(index)

    def _group(self, text: bytes, first: int) -> bytes:
        """Return the lines of a group with the state that each batch has now."""
        numbers = range(first, first + GROUP)
        through = self._confirmations.settled_through
        exceptions = self._not_shipped_below.union(self._shipped_above)
        uniform = first > through or numbers[-1] <= through
        if uniform and b"\n\n" not in text and text[:1] != b"\n" and exceptions.isdisjoint(numbers):
            return text if first > through else all_shipped(text)
        lines = zip(numbers, text.splitlines(), strict=True)
        return b"".join(self._with_state(index, line) if line else self._line(index) for index, line in lines)

    def _line(self, index: int) -> bytes:
        """Return the line of a batch from its manifest; empty bytes if it cannot be read."""
        try:
            header = self._log.batches.facts(index)
        except (FormatError, FileNotFoundError) as error:
            self._on_damage(error)
            return b""
        return self._with_state(index, line_of(describe(self._log.subsystem, header)))

    def _with_state(self, index: int, line: bytes) -> bytes:
        return (as_shipped(line) if self._confirmations.has(index) else line) + b"\n"
