"""Build chains of manifests in memory, signed and of any length, without payloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, log_name
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import JSONL, Manifest, jump_index
from ipfs_log_handlers.verify.report import SignedChain

__all__ = ["KEY", "LOG", "SISTER", "Link", "SignedLog", "build"]

KEY = SecretKey.generate(bytes(range(32)))
LOG = log_name(KEY.name, "audit", "01234567")
SISTER = log_name(KEY.name, "audit", "89abcdef")
START = 1_767_225_600_000_000


@dataclass(frozen=True)
class Link:
    """A manifest at the place where a reader has found it."""

    index: int
    kept: Manifest
    cid: Cid

    def manifest(self) -> Manifest:
        """Return the manifest."""
        return self.kept


@dataclass(frozen=True)
class SignedLog:
    """A chain of manifests and the heads that were signed after each."""

    manifests: tuple[Manifest, ...]
    key: SecretKey = KEY

    @cached_property
    def cids(self) -> tuple[Cid, ...]:
        """The CIDs of the manifests."""
        return tuple(manifest.cid for manifest in self.manifests)

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """The head after each manifest."""
        return tuple(
            Head(log=manifest.log, index=manifest.index, manifest=cid, checkpoint=self._note(manifest))
            for manifest, cid in zip(self.manifests, self.cids, strict=True)
        )

    def _note(self, manifest: Manifest) -> bytes:
        root = merkle.edge_root(manifest.edge_after())
        return Checkpoint(manifest.log, manifest.index + 1, root).signed(self.key)

    @cached_property
    def links(self) -> list[Link]:
        """The manifests at their places."""
        return self.placed(range(len(self.manifests)))

    def placed(self, order: Sequence[int]) -> list[Link]:
        """Return some manifests at the places 0, 1, 2, …."""
        return [Link(place, self.manifests[index], self.cids[index]) for place, index in enumerate(order)]

    def signed(self, size: int | None = None, *, start: int = 0) -> SignedChain:
        """Return the first manifests as a verified chain."""
        count = len(self.manifests) if size is None else size
        return SignedChain(
            note=self.heads[count - 1].checkpoint,
            key=self.key.verifier,
            start=start,
            manifest=lambda index: self.manifests[index],
            cid=lambda index: self.cids[index],
        )


def build(
    count: int, *, log: str = LOG, key: SecretKey = KEY, after: Sequence[Manifest] = (), mark: int = 0
) -> SignedLog:
    """Build a chain.

    Args:
        count: number of manifests in all.
        log: name of the log.
        key: the key that signs.
        after: manifests that it begins with.
        mark: distinguishes chains with the same beginning.
    """
    chain = list(after)
    for index in range(len(chain), count):
        jump = jump_index(index)
        content = sha256(b"%d %d" % (index, mark)).digest()
        sealed = START + index * 10_000_000
        chain.append(
            Manifest(
                log=log,
                index=index,
                prev=chain[-1].cid if chain else None,
                jump=None if jump is None else chain[jump].cid,
                edge=b"".join(chain[-1].edge_after()) if chain else b"",
                sealed=sealed,
                first=sealed,
                last=sealed,
                records=1,
                dropped={},
                payload=Cid.of(RAW, content),
                size=100,
                raw=100,
                encoding=JSONL,
                root=content,
                meta={"type": "audit_log", "record_count": 1},
                stats={"levels": {"info": 1}},
                sources=(("0123456789abcdef", 4711, index + 1, index + 1),),
                evidence=(),
            )
        )
    return SignedLog(tuple(chain), key)
