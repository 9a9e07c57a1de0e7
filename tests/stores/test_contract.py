"""One contract, every store: real Kubo daemons of each kind, a scripted one that is honest here, and memory."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from ipfs_log_handlers.errors import StoreRejected, StoreUnavailable
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.stores import BlockKeeper, Shipment, Store
from ipfs_log_handlers.stores.kubo import KuboStore
from ipfs_log_handlers.testing import FakeKubo
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import shipments
from tests.support.machine import assert_in_time
from tests.support.shipments import run

T = TypeVar("T")
DEADLINE_S = 5.0


def _kubo(request: pytest.FixtureRequest, fixture: str, **options: Any) -> KuboStore:
    daemon = request.getfixturevalue(fixture)
    if options or fixture == "kubo_daemon":
        daemon = daemon(**options)
    address = daemon.address if daemon.socket_path else daemon.host_url
    return KuboStore(address, token=daemon.secret, deadline_s=DEADLINE_S)


PLACES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {
    "memory": lambda _: MemoryStore("contract", deadline_s=DEADLINE_S),
    "fake": lambda r: KuboStore(r.getfixturevalue("lying").url, deadline_s=DEADLINE_S),
    "kubo offline": lambda r: _kubo(r, "kubo"),
    "kubo online": lambda r: _kubo(r, "kubo_online"),
    "kubo on a unix socket": lambda r: _kubo(r, "kubo_daemon", unix_socket=True),
    "kubo with a bearer token": lambda r: _kubo(r, "kubo_daemon", authorizations={"us": "bearer:s3cret"}),
    "kubo with a password": lambda r: _kubo(r, "kubo_daemon", authorizations={"us": "basic:us:s3cret"}),
}


@pytest.fixture
def lying() -> Iterator[FakeKubo]:
    """Run a fake daemon that answers like Kubo."""
    with FakeKubo() as daemon:
        yield daemon


@pytest.fixture(
    params=[pytest.param(p, marks=pytest.mark.kubo) if p.startswith("kubo") else p for p in PLACES],
)
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    return PLACES[request.param](request)


def is_pinned(store: Store, shipment: Shipment) -> bool:
    """Asks the store itself."""
    return run(store, lambda: store.pinned(shipment.roots)) == frozenset(shipment.roots)


class TestKeepAlone:
    def test_a_manifest_stays_without_what_it_links(self, store: Any) -> None:
        """Its recursive pin is gone, the block is there; doing it again, also after an unpin, changes nothing."""
        keeper = store
        assert isinstance(keeper, BlockKeeper)
        shipment = shipments.shipment(shipments.batch())
        run(store, lambda: store.ship(shipment))
        root = shipment.roots[0]
        block = run(store, lambda: store.get(root))
        for _ in range(2):
            run(store, lambda: keeper.keep_alone(root, block))
            assert not is_pinned(store, shipment)
            assert block == run(store, lambda: store.get(root))
        run(store, lambda: store.ship(shipment))
        assert is_pinned(store, shipment), "a batch cannot be pinned again"


class TestShip:
    def test_pins_every_root(self, store):
        """When ship returns, every root is pinned recursively."""
        shipment = shipments.shipment(*(shipments.batch() for _ in range(3)))
        run(store, lambda: store.ship(shipment))
        assert is_pinned(store, shipment), "a root was not pinned although ship returned"

    def test_carries_a_hundred_batches(self, store):
        """A backlog goes a hundred batches to a call."""
        shipment = shipments.shipment(*(shipments.batch() for _ in range(100)))
        run(store, lambda: store.ship(shipment))
        assert is_pinned(store, shipment), "a root of a hundred was not pinned"

    def test_takes_the_same_car_again(self, store):
        """The same CAR may be shipped any number of times."""
        shipment = shipments.shipment()

        async def thrice() -> None:
            for _ in range(3):
                await store.ship(shipment)

        run(store, thrice)
        assert is_pinned(store, shipment), "shipping again took the pin away"

    def test_carries_more_than_a_piece(self, store):
        """A CAR of several MiB, read in pieces, arrives whole."""
        batches = [shipments.batch(os.urandom(1 << 20)) for _ in range(5)]
        shipment = shipments.shipment(*batches)
        run(store, lambda: store.ship(shipment))
        cid, payload = batches[-1][0]
        assert run(store, lambda: store.get(cid)) == payload, "a large payload came back as other bytes"

    def test_opens_the_car_once_for_each_try(self, store):
        """The CAR is opened afresh, and once, for each try."""
        opened: list[int] = []
        shipment = shipments.shipment()

        def open_it() -> Iterator[bytes]:
            opened.append(1)
            return iter(shipment.open())

        watched = replace(shipment, open=open_it)

        async def twice() -> None:
            await store.ship(watched)
            await store.ship(watched)

        run(store, twice)
        assert len(opened) == 2, "the CAR was not opened once for each try"

    def test_takes_a_block_of_two_mib(self, store):
        """A block of exactly 2 MiB is taken."""
        shipment = shipments.sized(2 << 20)
        run(store, lambda: store.ship(shipment))
        assert is_pinned(store, shipment), "a block of 2 MiB was not pinned"

    @pytest.mark.parametrize("make", [shipments.wrong_hash, shipments.too_big, shipments.bad_codec])
    def test_rejects_what_is_bad_for_ever(self, store, make):
        """Bytes with a wrong hash, size or codec are rejected, and nothing is pinned."""
        shipment = make()
        with pytest.raises(StoreRejected):
            run(store, lambda: store.ship(shipment))
        assert not run(store, lambda: store.pinned(shipment.roots)), "a rejected shipment was pinned"

    @pytest.mark.parametrize("make", [shipments.cut, shipments.unfinished])
    def test_does_not_confirm_what_is_short(self, store, make):
        """A CAR that lost its end, even between two blocks, is not confirmed, and not called bad either."""
        shipment = make()
        with pytest.raises(StoreUnavailable):
            run(store, lambda: store.ship(shipment))

    def test_does_not_confirm_a_root_without_its_payload(self, store):
        """A root whose payload is nowhere ends within the deadline, unconfirmed and unpinned."""
        shipment = shipments.without_payload()
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"could not find|deadline exceeded"):
            run(store, lambda: store.ship(shipment))
        assert_in_time(time.monotonic() - start, DEADLINE_S + 3, "the missing payload was waited for")
        assert not run(store, lambda: store.pinned(shipment.roots)), "a root was pinned without its payload"

    def test_succeeds_after_it_failed(self, store):
        """A failed shipment leaves the store fit for the next one, the same connection or not."""
        bad, good = shipments.wrong_hash(), shipments.shipment()

        async def both() -> None:
            with pytest.raises(StoreRejected):
                await store.ship(bad)
            await store.ship(good)

        run(store, both)
        assert is_pinned(store, good), "a good shipment failed after a bad one"

    def test_can_be_cancelled(self, store):
        """A shipment that is cancelled may be shipped again at once."""
        shipment = shipments.shipment(*(shipments.batch(os.urandom(1 << 20)) for _ in range(3)))

        async def work() -> None:
            task = asyncio.ensure_future(store.ship(shipment))
            await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.wait([task])
            await store.ship(shipment)

        run(store, work)
        assert is_pinned(store, shipment), "a shipment could not be repeated after it was cancelled"


class TestLook:
    def test_pinned_names_roots_only(self, store):
        """A payload that a root reaches is not itself pinned recursively; what is unknown is not pinned."""
        blocks = shipments.batch()
        shipment = shipments.shipment(blocks)
        unknown = Cid.of(RAW, os.urandom(8))
        run(store, lambda: store.ship(shipment))
        found = run(store, lambda: store.pinned([blocks[0][0], blocks[1][0], unknown]))
        assert found == {blocks[1][0]}, "pinned() named other CIDs than the root"

    def test_get_gives_the_bytes(self, store):
        """Each block of a shipment comes back byte for byte."""
        blocks = shipments.batch()
        shipment = shipments.shipment(blocks)
        run(store, lambda: store.ship(shipment))

        async def all_of_them() -> list[bytes]:
            return [await store.get(cid) for cid, _ in blocks]

        assert run(store, all_of_them) == [block for _, block in blocks], "a block came back as other bytes"

    def test_get_asks_nobody_else(self, store):
        """A block that the store does not have is told at once: the network is not asked."""
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match="could not find"):
            run(store, lambda: store.get(Cid.of(RAW, os.urandom(8))))
        assert_in_time(time.monotonic() - start, 1, "a missing block was searched for")

    def test_unpin_is_idempotent(self, store):
        """A pin is taken away, and taking it away twice is no error."""
        shipment = shipments.shipment()
        run(store, lambda: store.ship(shipment))

        async def twice() -> frozenset[Cid]:
            await store.unpin(shipment.roots)
            await store.unpin(shipment.roots)
            return await store.pinned(shipment.roots)

        assert run(store, twice) == frozenset(), "a pin was still there after unpin"

    def test_probe_tells_who_it_is(self, store):
        """A store says what it is, and how far its word goes when the power fails."""
        info = run(store, store.probe)
        assert info.kind in {"kubo", "memory"}
        assert re.match(r"\d", info.version), "a store without a version"


class TestLife:
    def test_has_a_name_that_can_be_a_file(self, store):
        """A store has a file name, and an address without a secret in it."""
        assert re.fullmatch(r"[0-9a-f]{16}", store.name), "the name cannot be a file"
        assert "s3cret" not in f"{store.address} {store.name} {store!r} {vars(store)['address']}"

    def test_works_after_close_and_in_another_loop(self, store):
        """Close lets go, and the same store works again, also in a new loop without a close."""
        first, second, third = shipments.shipment(), shipments.shipment(), shipments.shipment()
        run(store, lambda: store.ship(first))
        asyncio.run(store.ship(second))
        run(store, lambda: store.ship(third))
        assert all(is_pinned(store, s) for s in (first, second, third)), "a store did not work after close"

    def test_needs_no_loop_to_be_closed_unused(self, store):
        """A store that was never used has nothing to close."""
        asyncio.run(store.close())
