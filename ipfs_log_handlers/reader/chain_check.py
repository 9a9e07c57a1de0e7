"""Compare the manifests of one log with one another, and the newest with the signed checkpoint of the head.

The hash of each manifest is already checked against the next manifest. This module compares the claims: the back
pointers, the edge of the tree over all earlier manifests, and the signed root.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest, jump_index

__all__ = ["Difference", "Link", "differences", "refuse_differences"]


class Link(Protocol):
    """One manifest of a chain."""

    @property
    def cid(self) -> Cid:
        """CID of the manifest."""

    @property
    def index(self) -> int:
        """Number of the batch."""

    def manifest(self) -> Manifest:
        """Decode the manifest."""


class Difference(NamedTuple):
    """A wrong claim of a log."""

    batch: int | None
    """Number of the batch; `None`: the head."""
    field: str
    """The claim."""
    expected: str
    """The right value."""
    found: str
    """The value in the log."""


def differences(links: Sequence[Link], head: Head | None, *, whole: bool) -> Iterator[Difference]:
    """Yield the wrong claims in a chain.

    Args:
        links: manifests of one log, by the numbers at which they were found.
        head: the newest head block, with a checked signature; `None`: the log has no head.
        whole: whether the links must begin with the first batch of the log.
    """
    if not links:
        return
    known = {link.index: link for link in links}
    log = links[-1].manifest().log if head is None else head.log
    start = 0 if whole else links[0].index
    edge: merkle.Edge | None = () if start == 0 else None
    for index in range(start, links[-1].index + 1):
        link = known.get(index)
        if link is None:
            yield Difference(index, "manifest", "the manifest", "missing")
            edge = None
            continue
        manifest = link.manifest()
        if (manifest.log, manifest.index) != (log, index):
            yield Difference(index, "log", f"{log} batch {index}", f"{manifest.log} batch {manifest.index}")
            edge = None
            continue
        jump = jump_index(index)
        for field, place, claimed in (("prev", index - 1, manifest.prev), ("jump", jump, manifest.jump)):
            before = known.get(place) if place is not None else None
            if before is not None and before.cid != claimed:
                yield Difference(index, field, before.cid.text, "none" if claimed is None else claimed.text)
        if edge is not None and b"".join(edge) != manifest.edge:
            yield Difference(index, "edge", b"".join(edge).hex(), manifest.edge.hex())
        edge = merkle.edge_append(manifest.edge_hashes if edge is None else edge, index, merkle.leaf_hash(link.cid))
    if head is not None and edge is not None:
        yield from _head_differences(links[-1], head, edge)


def _head_differences(newest: Link, head: Head, edge: merkle.Edge) -> Iterator[Difference]:
    if head.manifest != newest.cid:
        yield Difference(None, "head.manifest", newest.cid.text, head.manifest.text)
    root, claim = merkle.edge_root(edge), Checkpoint.parse(head.checkpoint)
    if claim.root != root:
        yield Difference(None, "checkpoint.root", root.hex(), claim.root.hex())


def refuse_differences(log: str, links: Sequence[Link], head: Head | None, *, whole: bool) -> None:
    """Raise `VerificationError` for the first of the `differences` in a chain."""
    for difference in differences(links, head, whole=whole):
        place = "its head" if difference.batch is None else f"batch {difference.batch}"
        raise VerificationError(
            f"the log {log} differs from its signed state: {place}, {difference.field}",
            expected=difference.expected,
            found=difference.found,
        )
