"""A keeper in the foreground: stopped at any moment, beside another keeper, and what is left afterwards."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import delivery_state, lock
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.follow import follow
from ipfs_log_handlers.keeper.run import Stop, retry_set_aside, ship_all
from ipfs_log_handlers.keeper.ship import ShippedBatch
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.archives import archiver, facts
from tests.support.logging_home import wait_until
from tests.support.many_batches import files_looked_at, seal_batches


class TestStop:
    def test_a_request_wakes_whoever_waits(self):
        """Within the block the function is called; after it, it is not."""
        stop, calls = Stop(), list[int]()
        with stop.calling(lambda: calls.append(1)):
            assert calls == []
            stop.request()
            assert calls == [1]
        stop.request()
        assert (stop.requested, calls) == (True, [1])

    def test_a_request_that_came_first_is_heard(self):
        """A signal between two tries is not lost."""
        stop, calls = Stop(), list[int]()
        stop.request()
        with stop.calling(lambda: calls.append(1)):
            assert calls == [1]

    def test_a_loop_that_was_closed_harms_nothing(self):
        """The wake-up may come too late."""

        def closed() -> None:
            raise RuntimeError("Event loop is closed")

        stop = Stop()
        with stop.calling(closed):
            stop.request()
        assert stop.requested


class TestShipAll:
    def test_small_batches_are_opened_to_be_shipped_indexed_and_packed_and_no_descriptor_is_left(self, home):
        """Home rule 36: shipping many small batches opens the file of each three times, and closes what it opened."""
        batches = seal_batches(home, 70).current.batches
        MemoryStore.named("many")
        descriptors = os.listdir("/proc/self/fd")
        with files_looked_at(["open"]) as paths:
            result = ship_all(HomeDir(home), stores=("memory:many",), timeout=20)
        opened = Counter(path for path in paths if path.startswith(str(batches / "000" / "0")))
        assert (70, True) == (result.shipped, result.complete)
        numbers = {path: int(os.path.basename(path)[:6]) for path in opened}
        assert list(range(70)) == sorted(numbers.values())
        # a keeper looks at the first ten and the newest also as it starts
        assert {3} == {count for path, count in opened.items() if 10 <= numbers[path] < 69}
        assert max(opened.values()) <= 5
        assert len(descriptors) == len(os.listdir("/proc/self/fd"))

    def test_records_and_archives_are_counted_as_they_are_sealed(self, home):
        """What was sealed before is not counted."""
        sample_homes.make(home, 5)
        sample_homes.log(home, range(7))
        archiver(home, "audit").put_bytes(b"x", facts)
        result = ship_all(HomeDir(home), stores=(), timeout=10)
        assert (result.sealed_records, result.sealed_archives, result.shipped) == (7, 1, 0)
        assert (result.complete, result.keeper, result.interrupted) == (True, None, False)

    def test_what_cannot_be_sealed_is_named_with_its_subsystem(self, home):
        """A damaged key keeps records from being sealed: the subsystem and the reason are in the result."""
        sample_homes.make(home, 1)
        sample_homes.log(home, range(2))
        HomeDir(home).key.write_bytes(b"junk\n")
        result = ship_all(HomeDir(home), stores=(), timeout=0)
        assert (result.complete, result.unsealed, result.first_left) == (False, ("audit",), "audit")
        assert "not a signing key" in str(result.reason)

    def test_another_keeper_is_reported_and_named_in_the_result(self, home):
        """The callback hears of the process before it is waited for."""
        sample_homes.make(home, 5)
        held = lock.take(HomeDir(home))
        assert held is not None
        keepers: list[Mapping[str, Any]] = []
        try:
            result = ship_all(HomeDir(home), stores=("memory:idle",), timeout=0, on_keeper=keepers.append)
        finally:
            held.release()
        assert keepers == [result.keeper]
        assert keepers[0].keys() == {"host", "pid"}
        assert (result.complete, result.unshipped) == (False, 1)

    def test_batches_set_aside_are_not_tried_again(self, home):
        """It gives up before its time is over, and says which batch the store refused."""
        store = MemoryStore.named("aside")
        sample_homes.make(home, 5)
        log = LogDir.current_of(sample_homes.subsystem_dir(home))
        state = DeliveryState(log=str(log.name()), address=store.address).set_aside(0, "no such codec")
        delivery_state.store(log.shipped, store.name, state)
        result = ship_all(HomeDir(home), stores=("memory:aside",), timeout=60)
        assert (result.complete, result.unshipped) == (False, 1)
        assert result.reason == "audit batch 0 is set aside: no such codec"
        retry_set_aside(HomeDir(home), ("memory:other",))
        assert not ship_all(HomeDir(home), stores=("memory:aside",), timeout=0).complete
        retry_set_aside(HomeDir(home), None)
        assert ship_all(HomeDir(home), stores=("memory:aside",), timeout=10).complete

    def test_states_of_another_keeper_are_not_touched(self, home):
        """`retry_set_aside` beside a keeper is refused."""
        sample_homes.make(home, 1)
        held = lock.take(HomeDir(home))
        assert held is not None
        try:
            with pytest.raises(HomeError, match="is the keeper of this home"):
                retry_set_aside(HomeDir(home), None)
        finally:
            held.release()


class TestFollow:
    def test_it_goes_on_when_the_home_is_removed_and_made_again(self, home):
        """It never makes the home itself, and ships what the next one has."""
        MemoryStore.named("again")
        shipped: list[ShippedBatch] = []
        stop = Stop()
        arguments = {"stores": ("memory:again",), "on_shipped": shipped.append, "stop": stop}
        following = threading.Thread(target=follow, args=(HomeDir(home),), kwargs=arguments)
        following.start()
        try:
            sample_homes.log(home, range(3), batch={"seconds": 0.2})
            wait_until(lambda: len(shipped) == 1)
            home.rename(home.with_name("removed"))
            sample_homes.log(home, range(3), "wal", batch={"seconds": 0.2})
            wait_until(lambda: [batch.subsystem for batch in shipped] == ["audit", "wal"])
        finally:
            stop.request()
            following.join(10)
        assert not following.is_alive()

    def test_without_a_home_it_waits_and_makes_none(self, home):
        """A stop ends the wait."""
        stop = Stop()
        following = threading.Thread(target=follow, args=(HomeDir(home),), kwargs={"stop": stop})
        following.start()
        stop.request()
        following.join(10)
        assert not following.is_alive()
        assert not home.exists()
