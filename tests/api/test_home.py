"""What changes a home: archive, seal, ship, repair, and begin a new log."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from ipfs_log_handlers import (
    ConfigurationError,
    HomeError,
    api,
    open_home,
)
from ipfs_log_handlers.api import Stop, parent_of, store_addresses
from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.logging_home import wait_until

NOWHERE = "http://127.0.0.1:9"


class TestArchives:
    def test_what_was_archived_comes_back_in_any_version(self, home, tmp_path):
        """A version knows its parent; a directory is read entry by entry, or restored."""
        home_api = open_home(home, must_exist=False)
        tree = tmp_path / "tree"
        tree.mkdir()
        made = []
        for number in range(2):
            (tree / "a.txt").write_text(f"version {number}\n")
            made.append(home_api.archive(tree, component="shop", metadata={"n": number}))

        assert [version.version for version in home_api.archives("tree")] == ["1", "2"]
        assert parent_of(made[1], made[:1]) == "1"
        assert parent_of(made[0], []) is None
        older = home_api.archive_as_of("tree", "1")
        assert older is not None
        assert home_api.archive_with_cid(made[0].root.text) == older
        with home_api.open_archive(older) as archive:
            assert ["/".join(entry.path) for entry in archive.entries()] == ["", "a.txt"]
            entry = archive.entry("a.txt")
            assert entry is not None
            assert b"".join(archive.read(entry)) == b"version 0\n"
            archive.restore(tmp_path / "back")
            archive.restore(tmp_path / "a.txt", entry)
        assert (tmp_path / "back" / "a.txt").read_text() == (tmp_path / "a.txt").read_text() == "version 0\n"

    def test_equal_content_under_two_names_is_two_archives(self, home, tmp_path):
        """Each call returns the archive that it has made, although both have the same CID."""
        home_api = open_home(home, must_exist=False)
        path = tmp_path / "a.txt"
        path.write_text("one")
        made = [home_api.archive(path, name=name) for name in ("first", "second")]
        assert [(version.name, version.index) for version in made] == [("first", 0), ("second", 1)]
        assert made[0].root == made[1].root

    def test_a_used_version_is_refused_for_another_content(self, home, tmp_path):
        """Nothing is left behind."""
        home_api = open_home(home, must_exist=False)
        path = tmp_path / "a.txt"
        path.write_text("one")
        home_api.archive(path, version="1.0")
        path.write_text("two")
        with pytest.raises(ConfigurationError, match=r"a\.txt has a version 1\.0 already"):
            home_api.archive(path, version="1.0")
        assert len(home_api.archives()) == 1

    def test_a_cid_that_nothing_has_is_none(self, two):
        """The CID of a batch of records is no archive."""
        assert two.archive_with_cid(next(iter(two.batches())).cid) is None
        assert two.archive_as_of("nothing") is None


class TestShip:
    def test_what_waits_is_sealed_and_shipped(self, home):
        """The callback hears of each batch; the result counts, and has the keys of the command."""
        MemoryStore.named("api")
        sample_homes.log(home, range(25))
        shipped: list[api.ShippedBatch] = []
        counts: list[tuple[int, int]] = []
        result = open_home(home).ship(
            ["memory:api"], on_shipped=shipped.append, on_progress=lambda *count: counts.append(count)
        )
        assert (result.complete, result.shipped, result.unshipped, result.stores) == (True, 3, 0, ("memory:api",))
        assert (result.sealed_records, result.sealed_archives, result.reason) == (25, 0, None)
        assert [(batch.subsystem, batch.index) for batch in shipped] == [("audit", 0), ("audit", 1), ("audit", 2)]
        assert counts[0] == (1, 2)
        assert result.as_json() == {"sealed": 25, "archives": 0, "shipped": 3}

    def test_without_a_store_it_only_seals(self, home):
        """The result has no stores, and is complete."""
        sample_homes.log(home, range(5))
        result = open_home(home).ship()
        assert (result.complete, result.sealed_records, result.shipped, result.stores) == (True, 5, 0, ())

    def test_what_is_left_has_its_reason(self, home):
        """A store out of reach is named; the first thing that is left too."""
        sample_homes.make(home, 5)
        result = open_home(home).ship([NOWHERE], timeout=0)
        assert (result.complete, result.unshipped, result.first_left) == (False, 1, "audit batch 0")
        assert "nobody listens there" in str(result.reason)

    def test_a_timeout_that_never_comes_is_refused(self, two):
        """NaN is no number of seconds."""
        with pytest.raises(ConfigurationError, match="timeout"):
            two.ship(timeout=float("nan"))

    def test_a_wrong_address_is_refused(self, two):
        """The error names the argument; `store_addresses` names what it is told to."""
        with pytest.raises(ConfigurationError, match=r"^stores: "):
            two.ship(["foo"])
        with pytest.raises(ConfigurationError, match=r"^--kubo: "):
            store_addresses(["foo"], "--kubo")

    def test_inside_a_running_loop_the_loop_waits(self, home):
        """A notebook, whose cells run in an event loop, can ship, and check the health of its stores."""
        MemoryStore.named("notebook")
        sample_homes.log(home, range(5))

        async def cell() -> bool:
            done = open_home(home).ship(["memory:notebook"]).complete
            return done and {check.state for check in open_home(home).health(["memory:notebook"])} == {"ok", "warn"}

        assert asyncio.run(cell())

    def test_a_stop_ends_it_from_another_thread(self, home):
        """`ship` ends at once though the store is out of reach; the result says that it was interrupted."""
        sample_homes.make(home, 5)
        stop = Stop()
        results: list[api.ShipResult] = []
        shipping = threading.Thread(target=lambda: results.append(open_home(home).ship([NOWHERE], stop=stop)))
        shipping.start()
        wait_until(lambda: sample_homes.status(home)[0]["last_error"])
        stop.request()
        shipping.join(10)
        assert not shipping.is_alive()
        assert (results[0].interrupted, results[0].complete) == (True, False)

    def test_a_stop_that_came_first_ends_follow_at_once(self, two):
        """`follow` looks at it before it waits."""
        stop = Stop()
        stop.request()
        two.follow(stop=stop)

    def test_follow_ships_until_it_is_stopped(self, home):
        """What is logged meanwhile is sealed and shipped."""
        MemoryStore.named("following")
        home.mkdir(mode=0o700)
        stop = Stop()
        shipped: list[api.ShippedBatch] = []
        follow = {"on_shipped": shipped.append, "stop": stop}
        following = threading.Thread(target=open_home(home).follow, args=(["memory:following"],), kwargs=follow)
        following.start()
        try:
            sample_homes.log(home, range(10))
            wait_until(lambda: shipped)
        finally:
            stop.request()
            following.join(10)
        assert (shipped[0].subsystem, shipped[0].store) == ("audit", "memory:following")


class TestHealthAndRepair:
    def test_a_repair_is_a_value_and_health_takes_it_for_its_hints(self, home):
        """A batch that nothing has is named with the file to restore, after the repair was tried."""
        sample_homes.make(home, 20)
        sample_homes.damage(home)
        home_api = open_home(home)
        before = {check.check: check.hint for check in home_api.health() if check.state == "fail"}
        repairs = home_api.repair()
        after = {check.check: check.hint for check in home_api.health(repairs=repairs) if check.state == "fail"}
        assert before.keys() == after.keys() == {"audit batch 1"}
        assert "doctor --repair" in str(before["audit batch 1"])
        assert "000001.car from a copy" in str(after["audit batch 1"])

    @pytest.mark.parametrize("method", ["repair", "retry_set_aside", "new_log"])
    def test_what_needs_the_home_to_itself_names_the_keeper(self, two, method):
        """Beside another keeper it is refused, and nothing is done."""
        held = lock.take(HomeDir(two.path))
        assert held is not None
        arguments = ["audit"] if method == "new_log" else []
        try:
            with pytest.raises(HomeError, match=f"process {os.getpid()} on .* is the keeper of this home"):
                getattr(two, method)(*arguments)
        finally:
            held.release()


class TestNewLog:
    def test_a_new_log_begins_with_the_next_batch(self, two):
        """The ended log is named with the place of its files."""
        ended = two.new_log("audit")
        assert ended.path.is_dir()
        assert ended.log.startswith("ipfs-logs/")
        sample_homes.make(two.path, 3)
        assert [report.ok for report in two.verify(["audit"])] == [True, True]
        sample_homes.log(two.path, range(1), "health")
        with pytest.raises(ConfigurationError, match="health has no log that could end"):
            two.new_log("health")
