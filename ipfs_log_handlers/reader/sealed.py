"""Open one sealed batch of a log in a home, and yield its records after all of them are verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import Log, policy_of
from ipfs_log_handlers.reader.batch import BatchFile, OpenBatch, checked_lines, decrypted, open_batch
from ipfs_log_handlers.reader.blocks_ahead import wait_for_block
from ipfs_log_handlers.reader.gaps import AnotherBatchError
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.parts import OpenText, Verify
from ipfs_log_handlers.reader.source import Fallback

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "check_head",
    "holders",
    "open_sealed",
    "open_text",
    "open_text_elsewhere",
    "open_text_in",
    "payload_of",
    "verified_lines",
]

_MAX_HELD_BYTES: Final = 32 << 20
"""Bytes of the lines, and of the stored payload, up to which a verified batch is held in memory; a larger batch is
decompressed a second time."""


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


def open_text(
    log: Log,
    index: int,
    ask: Callable[[Cid], Future[bytes]],
    *,
    verify: Verify,
    keys: Sequence[VerifierKey] = (),
    keyring: Keyring = NO_KEYS,
) -> OpenText | None:
    """Read the file of a batch of a log, hash its blocks, and open the text of the batch; see `Part.open_text`.

    Args:
        log: the log.
        index: number of the batch.
        ask: begins to get a hashed block that has left the home.
        verify: as for `verified_lines`.
        keys: as for `open_sealed`.
        keyring: opens the batch if it is encrypted.

    Raises:
        OSError, LogStoreError: as `open_sealed` and `Keyring.open`; a block of the payload is damaged.
    """
    batch = BatchFile(BytesIO(log.batches.content(index)), hashed=verify != "off")
    manifest = keyring.open(_manifest(batch, log, index, keys))
    if not manifest.records:
        return None
    if manifest.payload in batch:
        return open_text_in(batch, manifest, verify=verify)
    return open_text_elsewhere(manifest, ask, verify=verify)


def open_text_in(batch: OpenBatch, manifest: Manifest, *, verify: Verify) -> OpenText | None:
    """Open the text of a batch, all of whose blocks are at hand: read its payload.

    Args:
        batch: the batch, open.
        manifest: as for `verified_lines`.
        verify: as for `verified_lines`.

    Returns:
        `None` for a batch that is too large for the memory limit; no block is read.

    Raises:
        FormatError, VerificationError: a block is damaged or missing.
    """
    if not _can_be_held(manifest):
        return None
    return OpenText(partial(_text, manifest, list(batch.payload(manifest)), verify))


def open_text_elsewhere(manifest: Manifest, ask: Callable[[Cid], Future[bytes]], *, verify: Verify) -> OpenText | None:
    """Open the text of a batch whose payload is elsewhere: ask for it.

    Args:
        manifest: as for `verified_lines`.
        ask: begins to get a hashed block.
        verify: as for `verified_lines`.

    Returns:
        `None` for a payload of several blocks, or one that is too large for the memory limit; nothing is asked for.

    Raises:
        LogStoreError: as `ask`.
    """
    if manifest.payload.codec != RAW or not _can_be_held(manifest):
        return None
    coming = ask(manifest.payload)
    return OpenText(partial(_text_elsewhere, manifest, coming, verify), coming.cancel)


def _text_elsewhere(manifest: Manifest, coming: Future[bytes], verify: Verify) -> bytes:
    return _text(manifest, [wait_for_block(manifest.payload, coming)], verify)


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
    if _can_be_held(manifest):
        yield from _text(manifest, payload_of(batch, manifest, elsewhere), verify).split(b"\n")[:-1]
        return
    for _ in _checked(batch, manifest, elsewhere, verify):
        pass
    yield from _checked(batch, manifest, elsewhere, verify)


def _can_be_held(manifest: Manifest) -> bool:
    """Return whether a batch fits into the memory limit."""
    return max(manifest.raw, manifest.size) <= _MAX_HELD_BYTES


def _text(manifest: Manifest, chunks: Iterable[bytes], verify: Verify) -> bytes:
    """Inflate and check the lines of a batch."""
    if verify == "chain":
        return b"".join(line + b"\n" for line in checked_lines(manifest, chunks))
    pieces, size = decrypted(manifest, chunks)
    return manifest.payload_encoding.text(pieces, log=manifest.log, index=manifest.index, raw=manifest.raw, size=size)


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
