"""Open one sealed batch of a log in a home, and yield its records after all of them are verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import Log, policy_of
from ipfs_log_handlers.reader.batch import OpenBatch, checked_lines, decrypted, open_batch, open_content
from ipfs_log_handlers.reader.gaps import AnotherBatchError
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.parts import Verify
from ipfs_log_handlers.reader.source import Fallback

__all__ = ["check_head", "holders", "open_sealed", "payload_of", "sealed_text", "verified_lines", "verified_text"]

_MAX_HELD_BYTES: Final = 32 << 20
"""Bytes of lines up to which a verified batch is held in memory; a larger batch is decompressed a second time."""


def check_head(head: Head, keys: Sequence[VerifierKey]) -> None:
    """Check that one of the keys has signed a head; without keys the signature is not checked.

    Raises:
        VerificationError: none of them has signed it.
    """
    if not keys:
        return
    for key in keys:
        if key.name == key_name_of(head.log):
            head.verify(key)
            return
    raise VerificationError(
        "no trusted key has signed the log", expected=" or ".join(key.name for key in keys), found=head.log
    )


@contextmanager
def open_sealed(
    log: Log, index: int, *, hashed: bool = True, keys: Sequence[VerifierKey] = ()
) -> Iterator[tuple[OpenBatch, Manifest]]:
    """Open a batch of a log, with its manifest.

    Args:
        log: the log.
        index: number of the batch.
        hashed: hash each block before it is used.
        keys: one of them must have signed the head block of the batch; empty: the signature is not checked.

    Raises:
        FileNotFoundError: its file does not exist.
        AnotherBatchError: the file is that of another batch.
        FormatError: the file is not a batch.
        VerificationError: the block of the manifest is damaged, or none of the keys has signed the batch.
    """
    with open_batch(log.batches, index, hashed=hashed) as batch:
        yield batch, _manifest(batch, log, index, keys)


def sealed_text(
    log: Log,
    index: int,
    elsewhere: Callable[[Cid], bytes],
    *,
    verify: Verify,
    keys: Sequence[VerifierKey] = (),
    keyring: Keyring = NO_KEYS,
) -> bytes | None:
    """Return the lines of a batch of a log as `verified_text` does; its file is read at once.

    Returns:
        `None` for a batch that is too large for the memory limit, or has no records.

    Raises:
        OSError, LogStoreError: as `open_sealed`, `Keyring.open` and `verified_text`.
    """
    content = log.batches.content(index)
    with open_content(content, hashed=verify != "off") as batch:
        manifest = keyring.open(_manifest(batch, log, index, keys))
        return verified_text(batch, manifest, elsewhere, verify=verify) if manifest.records else None


def _manifest(batch: OpenBatch, log: Log, index: int, keys: Sequence[VerifierKey]) -> Manifest:
    manifest = batch.manifest()
    if (manifest.log, manifest.index) != (log.name, index):
        raise AnotherBatchError(
            "the file contains another batch than its name says",
            expected=index,
            found=f"{manifest.log} batch {manifest.index}",
        )
    if keys:
        _check_signed(batch, manifest, keys)
    return manifest


def _check_signed(batch: OpenBatch, manifest: Manifest, keys: Sequence[VerifierKey]) -> None:
    """Check that one of the keys has signed the tree of manifests that ends with this batch.

    Raises:
        FormatError: the head block cannot be read.
        VerificationError: the head block is damaged or of another batch, or none of the keys has signed this tree.
    """
    head = batch.head()
    check_head(head, keys)
    claim = Checkpoint.parse(head.checkpoint)
    for field, expected, found in (
        ("log", manifest.log, head.log),
        ("index", manifest.index, head.index),
        ("manifest", batch.cid.text, head.manifest.text),
        ("checkpoint.root", merkle.edge_root(manifest.edge_after()).hex(), claim.root.hex()),
    ):
        if expected != found:
            raise VerificationError(
                f"the signed head block of a batch is not of this batch: {field} differs",
                expected=expected,
                found=found,
                where=f"{manifest.log} batch {manifest.index}",
            )


def holders(subsystem_dir: SubsystemDir, log: Log, index: int) -> Sequence[str]:
    """List the addresses of the stores that may have a batch, the most likely one first.

    Raises:
        PrunedError: its payload was given up.
    """
    from ipfs_log_handlers.home.pruned import refuse_pruned

    refuse_pruned(subsystem_dir, log.name, index)
    return log.holders(index, policy_of(subsystem_dir).stores)


def verified_lines(
    batch: OpenBatch, manifest: Manifest, elsewhere: Callable[[Cid], bytes], *, verify: Verify = "chain"
) -> Iterator[bytes]:
    """Yield the lines of a batch after all of them are verified.

    Args:
        batch: the batch, open.
        manifest: its manifest; of an encrypted batch, the revealed one (`Keyring.open`).
        elsewhere: returns a hashed block that has left the home.
        verify: `chain`: count the records, and compute their tree again; otherwise check the hashes of the blocks, and
            place and size of the payload.

    Raises:
        FormatError, VerificationError: as `checked_lines`.
        StoreError: no store returns the payload.
    """
    text = verified_text(batch, manifest, elsewhere, verify=verify)
    if text is not None:
        yield from text.split(b"\n")[:-1]
        return
    for _ in _checked(batch, manifest, elsewhere, verify):
        pass
    yield from _checked(batch, manifest, elsewhere, verify)


def verified_text(
    batch: OpenBatch, manifest: Manifest, elsewhere: Callable[[Cid], bytes], *, verify: Verify = "chain"
) -> bytes | None:
    """Return the lines of a batch as one text, each ended by LF, once they are verified as for `verified_lines`.

    Returns:
        `None` for a batch that is too large for the memory limit.

    Raises:
        FormatError, VerificationError, StoreError: as `verified_lines`.
    """
    if manifest.raw > _MAX_HELD_BYTES:
        return None
    if verify == "chain":
        return b"".join(line + b"\n" for line in _checked(batch, manifest, elsewhere, verify))
    chunks, size = decrypted(manifest, payload_of(batch, manifest, elsewhere))
    return manifest.payload_encoding.text(chunks, log=manifest.log, index=manifest.index, raw=manifest.raw, size=size)


def _checked(
    batch: OpenBatch, manifest: Manifest, elsewhere: Callable[[Cid], bytes], verify: Verify
) -> Iterator[bytes]:
    """Yield the lines while they are decompressed; damage at the end is found only after the last line."""
    chunks = payload_of(batch, manifest, elsewhere)
    if verify == "chain":
        yield from checked_lines(manifest, chunks)
        return
    pieces, size = decrypted(manifest, chunks)
    yield from manifest.payload_encoding.lines(
        pieces, log=manifest.log, index=manifest.index, raw=manifest.raw, size=size
    )


def payload_of(batch: OpenBatch, manifest: Manifest, elsewhere: Callable[[Cid], bytes]) -> Iterator[bytes]:
    """Yield the payload of a batch in pieces; blocks that the batch does not have come from elsewhere."""
    return batch.payload(manifest, None if manifest.payload in batch else Fallback(batch.source, elsewhere))
