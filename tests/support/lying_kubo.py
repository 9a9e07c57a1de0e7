"""Ship to a fake daemon, and make the lines with which a daemon answers."""

from __future__ import annotations

import asyncio
from typing import Any

from ipfs_log_handlers.stores import Shipment
from ipfs_log_handlers.stores.kubo import KuboStore
from ipfs_log_handlers.testing import FakeKubo
from tests.support import shipments

DEADLINE_S = 0.4
"""The deadline of tests in which a daemon does not answer."""
PATIENT_S = 10.0
"""The deadline of all others: a loaded machine must not end them."""


def ship(daemon: FakeKubo, *shipment: Shipment, **options: Any) -> None:
    """Ship with a new store, one shipment after the other."""

    async def work() -> None:
        store = KuboStore(daemon.url, **{"deadline_s": PATIENT_S, **options})
        try:
            for part in shipment or (shipments.shipment(),):
                await store.ship(part)
        finally:
            await store.close()

    asyncio.run(work())


GOOD = shipments.shipment(shipments.batch(), shipments.batch())


FACTS = (GOOD.roots, GOOD.blocks, GOOD.block_bytes)


ROOTS, STATS = FakeKubo.import_confirmation(*FACTS)[:-1], FakeKubo.import_confirmation(*FACTS)[-1:]


def root(cid: object, problem: object = "") -> bytes:
    """Return a Root line."""
    return FakeKubo.json_lines({"Root": {"Cid": {"/": cid}, "PinErrorMsg": problem}})[0]


def stats(blocks: object, block_bytes: object) -> bytes:
    """Return a Stats line."""
    return FakeKubo.json_lines({"Stats": {"BlockCount": blocks, "BlockBytesCount": block_bytes}})[0]
