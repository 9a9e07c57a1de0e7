"""Pin a head block again that a store has lost, while the store still has its batch."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.holdings import newest_confirmed
from ipfs_log_handlers.stores import Shipment, Store
from ipfs_log_handlers.stores.pins import PinService

__all__ = ["has_pinned", "repin_head"]

_LINKED_BLOCKS: Final = 3
"""Blocks that the store reads because the head block links them: manifest, payload, evidence."""


async def repin_head(store: Store, log_dir: LogDir, state: DeliveryState, pruned: Pruned) -> str | None:
    """Send the head block of the newest batch that a store has confirmed, if the store has no head block pinned.

    Args:
        store: the store.
        log_dir: the log.
        state: what the store has confirmed; the newest batch must be there.
        pruned: the batches whose payloads were given up: no head block of them is sent.

    Returns:
        The CID of the head block that is pinned now, for the delivery state; `None` if there is none, because the batch
        is damaged in the home. Then the next check tries it again.

    Raises:
        StoreError: the store did not answer, or has not confirmed the pin.
        OSError: the home cannot be read.
    """
    newest = next(iter(newest_confirmed(state, 1)), None)
    if newest is None or pruned.has(state.log, newest):
        return state.head
    if state.head is not None and await store.pinned([Cid.parse(state.head)]):
        return state.head
    try:
        header = log_dir.sealed_batches.facts(newest)
    except (FormatError, FileNotFoundError):
        return None
    head = (header.head_cid, header.head.encode())
    await store.ship(Shipment.of_blocks(header.head_cid, [head], linked=_LINKED_BLOCKS))
    return header.head_cid.text


async def has_pinned(service: PinService, cid: Cid) -> bool:
    """Return whether a pin service has pinned a block.

    Raises:
        StoreUnavailable, StoreDenied: the service did not answer.
    """
    return (await service.statuses([cid]))[cid].state == "pinned"
