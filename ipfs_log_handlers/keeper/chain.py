"""Place batches in the chain of a log: predecessors, edge and evidence of a manifest, and the checkpoint after it.

A chain belongs to one log: it starts at the state that `new_log.resume_or_end` returns, and advances with each batch,
or with a group of batches that one head file makes valid: each is staged, so that the next one follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest, jump_index
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.keeper.new_log import LogState

__all__ = ["BatchContent", "Chain", "Link"]

_MAX_CACHED_CIDS: Final = 256
"""Number of Number of CIDs of manifests that are remembered: a manifest names its predecessor and an older one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContent:
    """The content of a manifest about its own batch; its place in the chain comes from `Chain`."""

    sealed: int
    """Time at which it is sealed, µs since 1970."""
    first: int
    """Smallest `time` of its records, µs since 1970."""
    last: int
    """Largest `time` of its records, µs since 1970."""
    payload: Cid
    """Root of the payload."""
    size: int
    """Bytes of the payload as stored."""
    raw: int
    """Bytes of the payload, uncompressed."""
    encoding: str
    """Encoding of the payload."""
    meta: Mapping[str, Any]
    """The metadata that its subsystem promises."""
    records: int = 0
    """Number of records."""
    root: bytes = merkle.EMPTY_ROOT
    """Root of the salted tree over its records."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Records that writers dropped, by reason."""
    stats: Mapping[str, Any] = field(default_factory=dict)
    """The zone map."""
    sources: tuple[tuple[str, int, int, int], ...] = ()
    """Runs of sequence numbers: writer, pid, first, last."""
    ext: Mapping[str, Any] = field(default_factory=dict)
    """Additions, such as an act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One manifest, ready to be written, with its signed head block."""

    manifest: Manifest
    """The manifest."""
    cid: Cid
    """Its CID."""
    block: bytes
    """Its block."""
    head_cid: Cid
    """CID of the head block."""
    head_block: bytes
    """The head block: names the manifest, and contains the signed checkpoint over all manifests up to it."""
    edge: merkle.Edge
    """Right edge of the tree over all manifests up to it."""


class Chain:
    """Make the next link at the end of one log.

    Args:
        batches: the batches of the log.
        state: the state of the log.

    Raises:
        FormatError: the newest batch is damaged.
        OSError: it cannot be read.
    """

    def __init__(self, batches: Batches, state: LogState) -> None:
        self.state = state
        self._batches = batches
        self._cids: dict[int, Cid] = {}
        self.staged: list[Link] = []
        """The links that were written, and that no head file names yet."""
        self._sealed_edge: merkle.Edge = ()
        if state.sealed is not None:
            newest = batches.facts(state.sealed.index)
            self._sealed_edge = newest.manifest.edge_after()
            self._cids[state.sealed.index] = newest.cid

    @property
    def sealed(self) -> HeadState | None:
        """Return the newest head of the log; `None` before its first batch."""
        return self.state.sealed

    @property
    def next_index(self) -> int:
        """Return the number of the next batch."""
        return (self.sealed.index + 1 if self.sealed else 0) + len(self.staged)

    @property
    def _edge(self) -> merkle.Edge:
        return self.staged[-1].edge if self.staged else self._sealed_edge

    def manifest(self, log: str, content: BatchContent) -> Manifest:
        """Return the manifest of the next batch.

        Args:
            log: name of the log.
            content: the content of the manifest about its batch.

        Raises:
            FormatError, OSError: an earlier batch that it must name cannot be read.
        """
        index = self.next_index
        jump = jump_index(index)
        return Manifest(
            log=log,
            index=index,
            prev=self._cid(index - 1) if index else None,
            jump=self._cid(jump) if jump is not None else None,
            edge=b"".join(self._edge),
            evidence=tuple(cid for cid, _ in self.evidence()),
            **{name: getattr(content, name) for name in content.__slots__},
        )

    def evidence(self) -> list[tuple[Cid, bytes]]:
        """Return the blocks with the last checkpoint of the log before this one; only for the first batch.

        If the key was changed, these are the notes of the change, which have this checkpoint.
        """
        if self.next_index or self.state.evidence is None:
            return []
        return [(Cid.of(RAW, note), note) for note in self.state.key_changes or (self.state.evidence,)]

    def link(self, manifest: Manifest, key: SecretKey) -> Link:
        """Sign the checkpoint over all manifests up to this one.

        No signature may leave the process before the head file names it.
        """
        block = manifest.encode()
        cid = Cid.of(DAG_CBOR, block)
        edge = merkle.edge_append(self._edge, manifest.index, merkle.leaf_hash(cid))
        checkpoint = Checkpoint(origin=manifest.log, size=manifest.index + 1, root=merkle.edge_root(edge))
        head_block = Head(
            log=manifest.log, index=manifest.index, manifest=cid, checkpoint=checkpoint.signed(key)
        ).encode()
        return Link(
            manifest=manifest,
            cid=cid,
            block=block,
            head_cid=Cid.of(DAG_CBOR, head_block),
            head_block=head_block,
            edge=edge,
        )

    def stage(self, link: Link) -> None:
        """Let the next link follow this one, which was written."""
        self.staged.append(link)

    def unstage(self) -> None:
        """Forget the links that no head file names; the next link has the number of the first of them."""
        self.staged.clear()

    def advance(self, head: HeadState) -> None:
        """Advance the chain after the staged links were sealed.

        Args:
            head: the head file that names the last one.
        """
        self.state = LogState(sealed=head)
        self._sealed_edge = self._edge
        if len(self._cids) >= _MAX_CACHED_CIDS:
            self._cids.clear()
        self._cids.update((link.manifest.index, link.cid) for link in self.staged)
        self.unstage()

    def _cid(self, index: int) -> Cid:
        """Return the CID of an earlier manifest; if its batch is damaged, from the next manifest."""
        if self.staged and index >= self.staged[0].manifest.index:
            return self.staged[index - self.staged[0].manifest.index].cid
        cid = self._cids.get(index)
        if cid is None:
            try:
                cid = self._batches.facts(index).cid
            except (FormatError, FileNotFoundError):
                cid = self._batches.facts(index + 1).manifest.prev
                if cid is None:
                    raise
            self._cids[index] = cid
        return cid
