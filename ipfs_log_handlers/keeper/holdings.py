"""Ask a store whether it still has complete batches: the pin exists, and each block is returned with the right hash.

A confirmation of Kubo alone proves little: a repository can be replaced by an empty one behind the same address, and
flatfs without sync loses confirmed blocks in a power cut. Retention asks before it deletes a payload, the keeper after
it has reached a store again, `ipfs-logs doctor` for a sample, and `ipfs-logs ship --again` for every batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import directory
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.stores import MissingBlockError, Store

__all__ = ["SAMPLE_BLOCKS", "Holding", "holding_of", "newest_confirmed", "sample_of"]

Holding = Literal["whole", "not pinned", "incomplete"]
"""`whole`: pinned, and each requested block was returned; `not pinned`: the store may delete its blocks;
`incomplete`: pinned, but a block is missing or damaged."""

SAMPLE_BLOCKS: Final = 16
"""Number of blocks of one batch that a sample asks for: all of them, except for archives of more than some 14 MiB."""


async def holding_of(store: Store, header: BatchHeader, *, max_blocks: int | None = None) -> Holding:
    """Ask a store for a batch: its pin, its manifest, and the tree of its payload.

    No block of the batch is read from the home, so it may be damaged there, or its payload may be deleted.

    Args:
        store: the store.
        header: the header with the CID of the manifest, which names the payload.
        max_blocks: number of blocks to ask for; `None`: all of them.

    Raises:
        StoreError: the store did not answer, so the result is not known.
    """
    if header.cid not in await store.pinned([header.cid]):
        return "not pinned"
    manifest = header.manifest
    waiting: list[Cid] = [manifest.payload, *manifest.evidence, header.cid]
    count = 0
    while waiting and (max_blocks is None or count < max_blocks):
        cid = waiting.pop()
        count += 1
        try:
            block = await store.get(cid)
            waiting.extend(link for link, _ in reversed(directory.links(cid, block)))
        except (MissingBlockError, VerificationError, FormatError):
            return "incomplete"
    return "whole"


def newest_confirmed(state: DeliveryState, count: int) -> list[int]:
    """Return the numbers of the newest batches that a store has confirmed, newest first.

    Args:
        state: what the store has confirmed.
        count: how many at most.
    """
    numbers = [*sorted(state.confirmed_after, reverse=True)[:count]]
    index = state.confirmed_through
    while index >= 0 and len(numbers) < count:
        if state.has(index):
            numbers.append(index)
        index -= 1
    return numbers


def sample_of(state: DeliveryState, newest: int, count: int) -> Sequence[int]:
    """Return numbers of batches that a store has confirmed: the oldest, the newest, and random ones between.

    Args:
        state: what the store has confirmed.
        newest: number of the newest batch.
        count: how many at most, at least two.
    """
    last = min(max((state.confirmed_through, *state.confirmed_after)), newest)
    drawn = {0, last, *random.sample(range(last + 1), min(last + 1, count - 2))} if last >= 0 else set[int]()
    return sorted(index for index in drawn if state.has(index))
