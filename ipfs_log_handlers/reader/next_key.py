"""Tell a reader who trusts an old key of a log elsewhere which key its owner named as the next one.

A log that begins after a change of the key has the change, signed by both keys, in its first batch. Nothing here is
trusted: the old key may have been stolen. The result is only a hint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.key_change import KeyChange, check_order
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.reader.sealed import check_head

__all__ = ["check_head_or_tell", "hint_about"]

_MAX_MANIFESTS: Final = 128
"""Manifests on the way back to the first batch; with the back pointers, a log of 2^63 batches needs fewer."""


def hint_about(text: str, by: Sequence[str]) -> str:
    """Return the sentence that names the next key.

    Args:
        text: the verifier key that was named.
        by: names of the trusted keys.
    """
    return (
        f"{' or '.join(by)} has named another key as the next one, {text}. Ask the owner of the log whether that is"
        " true, then trust that key, too"
    )


def check_head_or_tell(head: Head, keys: Sequence[VerifierKey], block: Callable[[Cid], bytes]) -> None:
    """Check that one of the keys has signed a head; if a key after them has, name it in the error.

    Args:
        head: the head.
        keys: the trusted keys; empty: the signature is not checked.
        block: returns a hashed block of the log.

    Raises:
        VerificationError: none of the keys has signed it.
    """
    try:
        check_head(head, keys)
    except VerificationError as error:
        told = None
        with suppress(LogStoreError):
            told = _named_next(head, {key.name for key in keys}, block)
        if told is None:
            raise
        raise VerificationError(
            error.message,
            expected=error.expected,
            found=error.found,
            hint=hint_about(told.text, [key.name for key in keys]),
        ) from error


def _named_next(head: Head, trusted: set[str], block: Callable[[Cid], bytes]) -> VerifierKey | None:
    manifest = Manifest.decode(block(head.manifest))
    for _ in range(_MAX_MANIFESTS):
        before = manifest.jump or manifest.prev
        if before is None:
            break
        manifest = Manifest.decode(block(before))
    if manifest.index or manifest.log != head.log or not manifest.evidence:
        return None
    changes = [KeyChange.decode(block(cid)) for cid in manifest.evidence]
    check_order(changes)
    named = any(change.old.name in trusted for change in changes)
    return changes[-1].new if named and head.log.startswith(f"{changes[-1].new.name}/") else None
