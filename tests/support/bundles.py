"""Bundles of the records of the log in `vectors/chain.json`, made from its parts without the prover."""

from __future__ import annotations

from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.proof import Bundle
from ipfs_log_handlers.format.tlog_proof import TlogProof
from tests.vectors import build_chain
from tests.vectors.build_chain import KEY, LINES, salt_of

__all__ = ["CHAIN", "HEADS", "KEY", "LEAVES", "bundle"]

CHAIN = build_chain.manifests()
HEADS = build_chain.heads()
LEAVES = [merkle.leaf_hash(manifest.cid) for manifest in CHAIN]


def bundle(index: int, number: int, *, size: int = len(CHAIN)) -> Bundle:
    """Make the bundle of record `number` in batch `index`, in the tree of the first `size` batches."""
    tree = merkle.RecordTree(salt_of(index))
    tree.add(LINES)
    proof = TlogProof(index, merkle.inclusion_proof(LEAVES[:size], index), HEADS[size - 1].checkpoint)
    return Bundle(
        line=LINES[number],
        number=number,
        salt=tree.salt(number),
        path=tree.proof(number),
        manifest=CHAIN[index],
        proof=proof,
    )
