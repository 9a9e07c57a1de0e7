"""Retention: shipped payloads leave the home when it grows beyond its bound; manifests stay for ever (docs/home.md 23).

A payload goes only when enough stores, asked now, have it: the pin stands, and the blocks come back and hash to their
CIDs. Kubo's yes alone does not survive its own power cut.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import FormatError, StoreError, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import disk, shipped
from ipfs_log_handlers.home.batches import Batches, Facts
from ipfs_log_handlers.home.layout import Room, Shelf
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.keeper.ship import newest_of
from ipfs_log_handlers.stores import Store

__all__ = ["retain"]

_DAY: Final = 86_400.0
_MOST_A_TURN: Final = 64
"""Payloads that go in one turn, so that shipping is not held up."""


async def retain(room: Room, stores: Sequence[Store], policy: Policy, *, make_room: int = 0) -> int:
    """Take shipped payloads out of the home where the policy says so, oldest first.

    Args:
        room: the subsystem.
        stores: the configured stores that can be asked. Without one nothing leaves.
        policy: its bounds.
        make_room: bytes that a full disk lacks: age and bound of the store do not count then, `replicas` and the proof
            do.

    Returns:
        Bytes freed.
    """
    if not stores or (policy.max_store_bytes is None and not make_room):
        return 0
    freed = 0
    excess = make_room or _size(room) - (policy.max_store_bytes or 0)
    for shelf in room.shelves():
        newest = newest_of(shelf)
        if newest is None or freed >= excess:
            continue
        freed += await _retain_shelf(shelf, newest[0], stores, policy, excess - freed, make_room=make_room > 0)
    return freed


def _size(room: Room) -> int:
    return sum(disk.allocated(shelf.batches) for shelf in room.shelves())


async def _retain_shelf(
    shelf: Shelf, log: str, stores: Sequence[Store], policy: Policy, excess: int, *, make_room: bool
) -> int:
    batches = Batches(shelf.batches)
    marks = [(store, shipped.load(shelf.shipped, store.name, log, store.address)) for store in stores]
    freed = turns = 0
    for index in batches.indexes():
        if freed >= excess or turns >= _MOST_A_TURN:
            break
        facts = batches.facts(index)
        young = time.time() - facts.manifest.sealed / 1e6 < policy.keep_days * _DAY
        holders = [store for store, mark in marks if mark.has(index)]
        if (young and not make_room) or len(holders) < policy.replicas:
            break
        if not batches.has_payload(index, facts.manifest.payload):
            continue
        turns += 1
        if await _confirmed(holders, batches, facts) >= policy.replicas:
            freed += batches.strip(index)
    return freed


async def _confirmed(holders: Sequence[Store], batches: Batches, facts: Facts) -> int:
    """How many stores prove now that they have the whole batch."""
    count = 0
    needed = _payload_blocks(batches.file(facts.manifest.index), batches, facts)
    for store in holders:
        try:
            if facts.cid not in await store.pinned([facts.cid]):
                continue
            for cid in needed:
                await store.get(cid)
        except (StoreError, VerificationError):
            continue
        count += 1
    return count


def _payload_blocks(path: Path, batches: Batches, facts: Facts) -> list[Cid]:
    try:
        return [cid for cid, _ in batches.blocks(facts.manifest.index) if cid != facts.head_cid]
    except FormatError as error:
        raise FormatError("a batch is damaged; its payload stays", where=path) from error
