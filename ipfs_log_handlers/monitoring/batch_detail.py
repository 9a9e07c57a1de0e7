"""Describe one batch: all values of its manifest, and its place in its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import logs_of

__all__ = ["BatchDetail", "batch_at", "batch_with_cid", "detail_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDetail:
    """One sealed batch: its manifest, and its place in the chain. Times are RFC 3339 in UTC, CIDs and hashes text."""

    subsystem: str
    """Its subsystem."""
    log: str
    """Name of its log."""
    index: int
    """Its number in the log, from 0."""
    cid: str
    """CID of its manifest."""
    head: str | None
    """CID of the head block that was signed with it; `None`: it is a batch of another home, and not its newest one."""
    tree_size: int
    """Number of batches in the signed checkpoint of that head block: all batches up to and including this one."""
    prev: str | None
    """CID of the manifest before it; `None` for the first."""
    jump: str | None
    """CID of the earlier manifest in `jump`; `None` for the first."""
    sealed: str
    """Time at which it was sealed."""
    first: str
    """Time of its first record."""
    last: str
    """Time of its last record."""
    records: int
    """Number of records; 0 for an archive."""
    dropped: Mapping[str, int]
    """Number of records that were lost since the previous batch, by reason."""
    payload: str
    """CID of its payload."""
    size: int
    """Bytes of its payload."""
    raw: int
    """Bytes of its lines before compression."""
    encoding: str
    """`jsonl+zstd` for records, `unixfs` for an archive."""
    root: str
    """Root of the tree over its records, hex."""
    meta: Mapping[str, Any]
    """The metadata that its subsystem promises of each batch."""
    stats: Mapping[str, Any]
    """Its zone map: levels, loggers, events, and values of fields."""
    sources: Sequence[Sequence[Any]]
    """Runs of its records: writer, process id, first and last sequence number."""
    origin: str | None = None
    """Name of its log, if it is one of another home."""

    def as_json(self) -> dict[str, Any]:
        """Return the batch with the keys of `ipfs-logs show`."""
        members = {name: getattr(self, name) for name in self.__slots__}
        if self.origin is None:
            del members["origin"]
        return members | {"sources": [list(run) for run in self.sources]}


def batch_with_cid(subsystem_dirs: Sequence[SubsystemDir], wanted: Cid) -> BatchDetail | None:
    """Find the batch whose manifest or payload has a CID; `None` when there is none.

    Raises:
        FormatError: its manifest cannot be read.
    """
    for subsystem_dir in subsystem_dirs:
        for log in logs_of(subsystem_dir):
            index = log.batches.with_cid(wanted, log.newest)
            if index is not None:
                return _of_header(subsystem_dir.name, log.batches.facts(index))
    return None


def batch_at(subsystem_dir: SubsystemDir, index: int) -> BatchDetail | None:
    """Find the batch with a number in the newest log of a subsystem that has one; `None` when there is none.

    Raises:
        FormatError: its manifest cannot be read.
    """
    for log in reversed(logs_of(subsystem_dir)):
        if 0 <= index <= log.newest:
            return _of_header(subsystem_dir.name, log.batches.facts(index))
    return None


def _of_header(subsystem: str, header: BatchHeader) -> BatchDetail:
    return detail_of(subsystem, header.cid, header.manifest, header.head_cid)


def detail_of(
    subsystem: str, cid: Cid, manifest: Manifest, head: Cid | None, *, origin: str | None = None
) -> BatchDetail:
    """Describe the batch with a manifest.

    Args:
        subsystem: its subsystem.
        cid: CID of the manifest.
        manifest: the manifest.
        head: the head block that was signed with it; `None`: it is not here.
        origin: name of its log, if it is one of another home.
    """
    return BatchDetail(
        subsystem=subsystem,
        log=manifest.log,
        index=manifest.index,
        cid=cid.text,
        head=None if head is None else head.text,
        tree_size=manifest.index + 1,
        prev=None if manifest.prev is None else manifest.prev.text,
        jump=None if manifest.jump is None else manifest.jump.text,
        sealed=rfc3339(manifest.sealed),
        first=rfc3339(manifest.first),
        last=rfc3339(manifest.last),
        records=manifest.records,
        dropped=dict(manifest.dropped),
        payload=manifest.payload.text,
        size=manifest.size,
        raw=manifest.raw,
        encoding=manifest.encoding,
        root=manifest.root.hex(),
        meta=dict(manifest.meta),
        stats=dict(manifest.stats),
        sources=manifest.sources,
        origin=origin,
    )
