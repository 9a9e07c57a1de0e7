"""Let a store keep the manifest of a batch whose payload is given up, and the evidence in it."""

from __future__ import annotations

from collections.abc import Iterable

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.stores import BlockKeeper

__all__ = ["keep_manifest"]


async def keep_manifest(store: BlockKeeper, cid: Cid, manifest: Manifest, blocks: Iterable[tuple[Cid, bytes]]) -> None:
    """Pin the blocks of a batch but its payload, each alone; its own pin is removed. Doing it again changes nothing.

    Args:
        store: the store.
        cid: CID of the manifest.
        manifest: the manifest.
        blocks: blocks of the batch, with the evidence among them; they are read only if there is evidence.

    Raises:
        StoreError: the store did not answer.
        FormatError, VerificationError, OSError: as reading `blocks`.
    """
    evidence = {*manifest.evidence}
    for other, block in blocks if evidence else ():
        if other in evidence:
            await store.keep_alone(other, block)
    await store.keep_alone(cid, manifest.encode())
