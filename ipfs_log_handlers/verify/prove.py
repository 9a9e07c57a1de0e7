"""Make the bundle that proves one record of a sealed batch, from the edges of a few manifests.

Each perfect subtree of the log's tree ends at a manifest whose `edge`, with its own leaf, folds into the hash of the
subtree. So the inclusion proof of a batch needs one manifest for each hash on its right and its own for all on its
left: ten among a million on average, and 20 at most. Where the source lists CIDs of manifests (the index pages of a
home, a snapshot), the hashes over at most 256 batches come from the list: then seven manifests on average, and 13 at
most. A list is not signed, so a proof that was made from one is checked, and made again from manifests if it does not
hold. Every bundle is checked before it is handed out, all but the signature.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ipfs_log_handlers.errors import FormatError, LogStoreError, RecordError, VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import key_name_of, only_signature
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.proof import Bundle
from ipfs_log_handlers.format.tlog_proof import TlogProof
from ipfs_log_handlers.reader.batch import record_in_tree
from ipfs_log_handlers.reader.sealed import payload_of
from ipfs_log_handlers.reader.sealed_log import OpenedBatch, SealedLog

__all__ = ["prove_batch", "prove_record"]


def prove_record(log: SealedLog, index: int, number: int) -> Bundle:
    """Prove one record of a sealed batch.

    Args:
        log: the log.
        index: number of the batch.
        number: number of the record in the batch, from 0.

    Returns:
        The bundle, up to the newest signed head of the log; where manifests between are missing or damaged, up to the
        head that was signed with the batch.

    Raises:
        RecordError: the batch has no such record, or is an archive.
        FormatError, VerificationError: the batch is damaged, or the source has no signed head from which it can be
            proved.
        StoreError: no store has the payload.
        OSError: a file is missing or cannot be read.
    """
    with log.open_batch(index) as opened:
        manifest = opened.manifest
        where = f"{manifest.log} batch {manifest.index}"
        if not manifest.payload_encoding.has_records:
            raise RecordError(
                "the batch is an archived file or directory and has no records",
                where=where,
                hint="`ipfs-logs verify` checks it, and its CID is its proof.",
            )
        if not 0 <= number < manifest.records:
            raise RecordError(
                "the batch has no record of this number",
                where=where,
                expected=f"0 to {manifest.records - 1}",
                found=number,
            )
        line, tree = record_in_tree(manifest, payload_of(opened.batch, manifest, opened.elsewhere), number)
        proof = prove_batch(log, opened)
        bundle = Bundle(
            line=line, number=number, salt=tree.salt(number), path=tree.proof(number), manifest=manifest, proof=proof
        )
    bundle.check_hashes()
    return bundle


def prove_batch(log: SealedLog, opened: OpenedBatch) -> TlogProof:
    """Prove that a batch is in the tree of the newest head from which this can be shown.

    Raises:
        VerificationError: there is no such head.
    """
    problem: Exception | None = None
    for head in _heads(log, opened):
        try:
            return _proof(log, opened, head)
        except (LogStoreError, OSError) as error:
            problem = problem or error
    where = f"{log.name} batch {opened.manifest.index}"
    if problem is None:
        raise VerificationError(
            "the source has no signed head of this log",
            where=where,
            hint="Give the CID of a head block; `ipfs-logs status` shows it.",
        )
    raise VerificationError(f"no signed head leads to this batch: {problem}", where=where) from problem


def _heads(log: SealedLog, opened: OpenedBatch) -> Iterator[Head]:
    """Yield the heads to try: the newest, and that of the batch itself, which needs no other manifest."""
    if log.head is not None:
        yield log.head
    if opened.head is not None and opened.head != log.head:
        yield opened.head


def _proof(log: SealedLog, opened: OpenedBatch, head: Head) -> TlogProof:
    index, leaf = opened.manifest.index, merkle.leaf_hash(opened.manifest.cid)

    def read(number: int) -> tuple[merkle.Edge, bytes]:
        manifest = opened.manifest if number == index else log.manifest(number)
        if manifest.log != log.name:
            raise FormatError("a manifest of another log", expected=log.name, found=manifest.log)
        return manifest.edge_hashes, merkle.leaf_hash(manifest.cid)

    if head.log != log.name or head.index < index:
        raise VerificationError(
            "the head is older than the batch", expected=f"{log.name} batch {index}", found=head.log
        )

    def listed(low: int, high: int) -> list[bytes] | None:
        cids = log.listed(low, high)
        return None if cids is None else [merkle.leaf_hash(cid) for cid in cids]

    signed = only_signature(head.checkpoint, key_name_of(log.name))
    with suppress(VerificationError):  # a list may be wrong
        proof = TlogProof(index, merkle.inclusion_from_edges(index, head.index + 1, read, listed), signed)
        proof.check_leaf(leaf)
        return proof
    proof = TlogProof(index, merkle.inclusion_from_edges(index, head.index + 1, read), signed)
    proof.check_leaf(leaf)
    return proof
