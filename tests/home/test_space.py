from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.space import spool_bytes, store_bytes
from tests.support.logging_home import lines, logging_to, put_segment, seal_home
from tests.support.many_batches import calls_counted, files_looked_at, pretend_more_batches, seal_batches

STORE = "http://127.0.0.1:5001"


@pytest.fixture
def sealed(home: Path) -> HomeDir:
    """Make a home with four batches and one segment that waits."""
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    for number in range(4):
        put_segment(subsystem_dir, lines(1 + number, 1 + number, text="x" * 9000), number=number)
        seal_home(home)
    put_segment(subsystem_dir, lines(9, 9), number=9)
    return HomeDir(home)


class TestSpoolBytes:
    def test_without_a_store(self, sealed: HomeDir) -> None:
        """Home rule 22: where nothing is shipped, batches are where they belong; segments alone wait."""
        assert 0 < spool_bytes(sealed.subsystem_dir("logs"), 0) <= 8192

    def test_unshipped_batches_count(self, sealed: HomeDir) -> None:
        """Home rule 22: with a store, sealing is no way around the bound: batches not yet shipped count."""
        subsystem_dir = sealed.subsystem_dir("logs")
        segments_only = spool_bytes(subsystem_dir, 0)
        assert segments_only + store_bytes(subsystem_dir) == spool_bytes(subsystem_dir, 1)
        log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
        delivery_state.store(
            subsystem_dir.current.shipped, "s", DeliveryState(log=log, address=STORE).confirm([0, 1, 3])
        )
        left = Batches(subsystem_dir.current.batches).file(2).stat().st_blocks * 512
        assert segments_only + left == spool_bytes(subsystem_dir, 1)

    def test_replicas(self, sealed: HomeDir) -> None:
        """Home rule 22: a batch is shipped when as many stores confirmed it as were asked for."""
        subsystem_dir = sealed.subsystem_dir("logs")
        log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
        delivery_state.store(
            subsystem_dir.current.shipped, "a", DeliveryState(log=log, address=STORE).confirm(range(4))
        )
        assert store_bytes(subsystem_dir) < spool_bytes(subsystem_dir, 2)
        delivery_state.store(
            subsystem_dir.current.shipped, "b", DeliveryState(log=log, address=STORE + "1").confirm(range(4))
        )
        assert spool_bytes(subsystem_dir, 0) == spool_bytes(subsystem_dir, 2)

    def test_nothing_there(self, home: Path) -> None:
        """A home that does not exist takes no space."""
        assert 0 == spool_bytes(HomeDir(home).subsystem_dir("logs"), 1)


class TestManyBatches:
    def test_no_batch_is_looked_at(self, home: Path) -> None:
        """Home rule 33: what a record waits for looks at the index and the delivery states, at no batch."""
        subsystem_dir = seal_batches(home, 40)
        log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
        state = DeliveryState(log=log, address=STORE).confirm([*range(10), 20]).set_aside(30, "bad")
        delivery_state.store(subsystem_dir.current.shipped, "s", state)
        batches = subsystem_dir.current.batches
        with files_looked_at() as paths:
            found = spool_bytes(subsystem_dir, 1)
        assert {str(batches / "index")} == {path for path in paths if path.startswith(str(batches))}
        waiting = [number for number in range(10, 40) if number not in (20, 30)]
        sizes = [Batches(batches).file(number).stat().st_blocks * 512 for number in waiting]
        assert sum(sizes) + spool_bytes(subsystem_dir, 0) == found

    @pytest.mark.slow
    @pytest.mark.parametrize(("confirmed", "after"), [(-1, ()), (4, (7,)), (8, ())])
    def test_a_first_record_makes_the_same_calls_beside_10_and_beside_2000_batches(
        self, tmp_path: Path, confirmed: int, after: tuple[int, ...]
    ) -> None:
        """Home rule 33: nothing on the way of a record grows with the backlog, whatever a store has confirmed of it."""
        counts, read_bytes = [], []
        for count in (10, 400, 2000):
            home = tmp_path / f"home {count}"
            subsystem_dir = seal_batches(home, 10)
            state = DeliveryState(log=Batches(subsystem_dir.current.batches).facts(0).manifest.log, address=STORE)
            state = replace(state, confirmed_through=confirmed, confirmed_after=after)
            delivery_state.store(subsystem_dir.current.shipped, "s", state)
            pretend_more_batches(subsystem_dir, count)
            with logging_to(tmp_path / f"warm {count}", kubo=STORE) as logger:
                logger.info("imports what a record needs")
            with logging_to(home, kubo=STORE) as logger, calls_counted() as calls:
                logger.info("the first record")
                logger.info("the next record")
            read_bytes.append(calls.pop("read bytes"))
            counts.append(calls)
        assert counts[0]["write"] > 2
        assert counts[0] == counts[1] == counts[2]
        assert read_bytes[1] == read_bytes[2]  # up to 256 rows of the index, which 10 batches do not have

    def test_of_many_segments_the_mean_is_taken(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 33: no more segments are measured than a fixed number; the others count with their mean."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        for number in range(30):
            put_segment(subsystem_dir, lines(1, 1), number=number)
        exact = spool_bytes(subsystem_dir, 0)
        monkeypatch.setattr("ipfs_log_handlers.home.space._MAX_MEASURED", 10)
        assert exact == spool_bytes(subsystem_dir, 0)  # they are all of one size

    def test_a_log_without_an_index_counts_nothing(self, sealed: HomeDir) -> None:
        """Home rule 33: until the keeper has made the index again, batches are not counted against the bound."""
        subsystem_dir = sealed.subsystem_dir("logs")
        (subsystem_dir.current.batches / "index").unlink()
        assert spool_bytes(subsystem_dir, 1) == spool_bytes(subsystem_dir, 0)
        assert store_bytes(subsystem_dir) > 0

    def test_a_damaged_row_counts_nothing(self, sealed: HomeDir) -> None:
        """Home rule 33: without the row up to which all is confirmed the bound is not guessed: no record is dropped."""
        subsystem_dir = sealed.subsystem_dir("logs")
        log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
        delivery_state.store(subsystem_dir.current.shipped, "s", DeliveryState(log=log, address=STORE).confirm([0]))
        index = subsystem_dir.current.batches / "index"
        data = index.read_bytes()
        index.write_bytes(data[:64] + bytes(128) + data[192:])
        assert spool_bytes(subsystem_dir, 1) == spool_bytes(subsystem_dir, 0)
