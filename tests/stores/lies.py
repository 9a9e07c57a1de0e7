"""A shipment, how to ship it, and what a daemon says of it."""

from __future__ import annotations

import asyncio
from typing import Any

from ipfs_log_handlers.stores import Shipment
from ipfs_log_handlers.stores.kubo import KuboStore
from ipfs_log_handlers.testing import FakeDaemon, confirmed, lines
from tests import shipments

DEADLINE_S = 0.4


def ship(daemon: FakeDaemon, *shipment: Shipment, **options: Any) -> None:
    """Ships with a new store, one shipment after the other."""

    async def work() -> None:
        store = KuboStore(daemon.url, **{"deadline_s": DEADLINE_S, **options})
        try:
            for each in shipment or (shipments.shipment(),):
                await store.ship(each)
        finally:
            await store.close()

    asyncio.run(work())


GOOD = shipments.shipment(shipments.batch(), shipments.batch())


FACTS = (GOOD.roots, GOOD.blocks, GOOD.block_bytes)


ROOTS, STATS = confirmed(*FACTS)[:-1], confirmed(*FACTS)[-1:]


def root(cid: object, problem: object = "") -> bytes:
    """A Root line."""
    return lines({"Root": {"Cid": {"/": cid}, "PinErrorMsg": problem}})[0]


def stats(blocks: object, block_bytes: object) -> bytes:
    """A Stats line."""
    return lines({"Stats": {"BlockCount": blocks, "BlockBytesCount": block_bytes}})[0]
