from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.home import shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.shipped import Mark
from ipfs_log_handlers.home.space import spool_bytes, store_bytes
from tests.workshop import lines, put_segment, seal_home

STORE = "http://127.0.0.1:5001"


@pytest.fixture
def sealed(home: Path) -> Home:
    """A home with four batches and one segment that waits."""
    room = Home(home).room("logs")
    for number in range(4):
        put_segment(room, lines(1 + number, 1 + number, text="x" * 9000), number=number)
        seal_home(home)
    put_segment(room, lines(9, 9), number=9)
    return Home(home)


class TestSpoolBytes:
    def test_without_a_store(self, sealed: Home) -> None:
        """Home rule 22: where nothing is shipped, batches are where they belong; segments alone wait."""
        assert 0 < spool_bytes(sealed.room("logs"), 0) <= 8192

    def test_unshipped_batches_count(self, sealed: Home) -> None:
        """Home rule 22: with a store, sealing is no way around the bound: batches not yet shipped count."""
        room = sealed.room("logs")
        segments_only = spool_bytes(room, 0)
        assert segments_only + store_bytes(room) == spool_bytes(room, 1)
        log = Batches(room.current.batches).facts(0).manifest.log
        shipped.store(room.current.shipped, "s", Mark(log=log, address=STORE).confirm([0, 1, 3]))
        left = Batches(room.current.batches).file(2).stat().st_blocks * 512
        assert segments_only + left == spool_bytes(room, 1)

    def test_replicas(self, sealed: Home) -> None:
        """Home rule 22: a batch is shipped when as many stores confirmed it as were asked for."""
        room = sealed.room("logs")
        log = Batches(room.current.batches).facts(0).manifest.log
        shipped.store(room.current.shipped, "a", Mark(log=log, address=STORE).confirm(range(4)))
        assert store_bytes(room) < spool_bytes(room, 2)
        shipped.store(room.current.shipped, "b", Mark(log=log, address=STORE + "1").confirm(range(4)))
        assert spool_bytes(room, 0) == spool_bytes(room, 2)

    def test_nothing_there(self, home: Path) -> None:
        """A home that does not exist takes no space."""
        assert 0 == spool_bytes(Home(home).room("logs"), 1)
