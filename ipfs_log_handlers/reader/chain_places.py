"""Find the batches that a manifest, or the CID of a head block or manifest, names in a chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest, jump_index

if TYPE_CHECKING:
    from ipfs_log_handlers.reader.chain_part import ChainPart

__all__ = ["another_history", "leads_to", "place_in"]


def place_in(parts: Sequence[ChainPart], cid: Cid, get: Callable[[Cid], bytes]) -> tuple[str, int] | None:
    """Find the log and the number of the batch that a head block or a manifest names.

    Args:
        parts: the batches that it can be one of.
        cid: the CID of the head block or manifest.
        get: gives a block, hashed.

    Raises:
        VerificationError: it is a head of the same log, which has another batch of that number.
    """
    named = next(((part.log, part.index) for part in parts if part.cid == cid), None)
    if named is not None:
        return named
    with suppress(FormatError):
        head = Head.decode(get(cid))
        part = next((part for part in parts if (part.log, part.index) == (head.log, head.index)), None)
        if part is not None and part.cid != head.manifest:
            raise another_history(head.log, head.index, expected=part.cid, found=head.manifest)
        return None if part is None else (head.log, head.index)
    return None


def leads_to(manifest: Manifest, first: int) -> Iterator[tuple[int, Cid]]:
    """Yield the earlier manifests that a manifest names, from a number on, each with its index."""
    jump = jump_index(manifest.index)
    if manifest.prev is not None and manifest.index > first:
        yield manifest.index - 1, manifest.prev
    if manifest.jump is not None and jump is not None and first <= jump != manifest.index - 1:
        yield jump, manifest.jump


def another_history(log: str, index: int, *, expected: Cid, found: Cid) -> VerificationError:
    """Return the error for two batches of one number in one log."""
    return VerificationError(
        "a log has two histories: one was rolled back or forged",
        where=f"{log} batch {index}",
        expected=expected.text,
        found=found.text,
    )
