"""Logs that a thief of the key has signed, and logs that the key has not signed: no reader may accept one."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of
from ipfs_log_handlers.reader.dataset import Dataset, Gap
from tests.support import gateways
from tests.vectors.build_chain import KEY

__all__ = ["FORGERIES", "Forged", "stored_lines"]


def stored_lines(home: Path, subsystem: str) -> list[bytes]:
    """Return the records of a subsystem byte for byte as they are stored, verified by our reader."""
    gaps: list[Gap] = []
    with Dataset(HomeDir(home), gaps.append) as dataset:
        lines = list(dataset.lines(subsystem))
    assert gaps == []
    return lines


class Forged:
    """The blocks of a home, and heads that a thief of its key signs.

    Args:
        home: a home with one log.
    """

    def __init__(self, home: Path) -> None:
        (self.log,) = logs_of(HomeDir(home).subsystem_dir("audit"))
        self.key = SecretKey.parse((home / "writer.key").read_text().strip())
        self.blocks = gateways.blocks_of(home)
        self.chain = [self.log.batches.manifest(index) for index in range(self.log.newest + 1)]

    def put(self, block: bytes) -> Cid:
        """Add a block of DAG-CBOR."""
        cid = Cid.of(DAG_CBOR, block)
        self.blocks[cid] = block
        return cid

    def with_newest(self, **changes: object) -> Cid:
        """Return the head of the log whose newest manifest has other values."""
        return self.head([*self.chain[:-1], replace(self.chain[-1], **changes)])  # type: ignore[arg-type]

    def head(self, chain: list[Manifest], *, key: SecretKey | None = None) -> Cid:
        """Sign a chain; return the CID of the head block."""
        for manifest in chain:
            self.put(manifest.encode())
        root = merkle.root([merkle.leaf_hash(manifest.cid) for manifest in chain])
        note = Checkpoint(self.log.name, len(chain), root).signed(key or self.key)
        head = Head(log=self.log.name, index=len(chain) - 1, manifest=chain[-1].cid, checkpoint=note)
        return self.put(head.encode())


def _another_signature(forged: Forged) -> Cid:
    head = Head.decode(forged.blocks[forged.head(forged.chain)])
    lines = head.checkpoint.split(b"\n")
    lines[2] = b64encode(bytes(32))
    return forged.put(replace(head, checkpoint=b"\n".join(lines)).encode())


def _a_batch_left_out(forged: Forged) -> Cid:
    left = forged.chain[1].cid
    return forged.head([forged.chain[0], replace(forged.chain[2], index=1, prev=left, jump=left, edge=bytes(32))])


def _another_prev(forged: Forged) -> Cid:
    return forged.with_newest(prev=forged.chain[0].cid, jump=forged.chain[0].cid)


FORGERIES: dict[str, tuple[str, Callable[[Forged], Cid]]] = {
    "another key": ("not signed by", lambda forged: forged.head(forged.chain, key=KEY)),
    "another text": ("a wrong signature", _another_signature),
    "a batch left out": ("is not batch 0", _a_batch_left_out),
    "another root": ("records have another root", lambda forged: forged.with_newest(root=bytes(32))),
    "another number": ("2 records", lambda forged: forged.with_newest(records=3)),
    "another edge": ("wrong edge", lambda forged: forged.with_newest(edge=bytes(32))),
    "another prev": ("is not batch 1", _another_prev),
    "another payload": ("a payload of", lambda forged: forged.with_newest(payload=forged.chain[0].payload)),
}  # fmt: skip
"""By the name of a forgery: the reason that the reader in Go gives, and the maker."""
