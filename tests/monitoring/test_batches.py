"""The list of batches comes from manifests alone, and a batch that cannot be read stops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.monitoring.batches import BatchInfo, batches_in
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.archives import archiver, facts


def listed(home: Path, errors: list[Exception] | None = None) -> list[BatchInfo]:
    """All batches of a home; an error fails where none is expected."""

    def on_damage(error: Exception) -> None:
        if errors is None:
            pytest.fail(str(error))
        errors.append(error)

    return list(batches_in(HomeDir(home).subsystem_dirs(), on_damage))


def test_former_logs_come_before_the_current_one(home):
    """Each log's oldest batch first."""
    sample_homes.make(home, 20)
    sample_homes.end(home)
    sample_homes.make(home, 3)
    batches = listed(home)
    assert [batch.index for batch in batches] == [0, 1, 0]
    assert batches[0].log == batches[1].log != batches[2].log


def test_an_archive_has_its_own_contents(home):
    """A batch of records and one of an archive are told apart in one word."""
    sample_homes.log(home, range(3))
    archiver(home, "audit").put_bytes(b"x", facts)
    sample_homes.seal(home)
    assert sorted((batch.contents, batch.records) for batch in listed(home)) == [("archive", 0), ("records", 3)]


def test_a_stripped_payload_is_listed_all_the_same(home):
    """The manifest stays when a payload leaves the home."""
    sample_homes.make(home, 10)
    before = listed(home)
    sample_homes.strip(home, 0)
    assert listed(home) == before


def test_a_batch_is_shipped_with_enough_confirmations(home):
    """Whichever store they come from."""
    MemoryStore.named("x")
    sample_homes.make(home, 20, kubo="http://127.0.0.1:9")
    assert {batch.state for batch in listed(home)} == {"sealed"}
    sample_homes.ship(home, "memory:x")
    assert {batch.state for batch in listed(home)} == {"shipped"}


def test_a_missing_file_and_a_damaged_one_are_reported_and_the_rest_is_listed(home):
    """One error for each."""
    sample_homes.make(home, 30)
    batches = sample_homes.subsystem_dir(home).current.batches / "000"
    (batches / "000000.car").unlink()
    (batches / "000001.car").write_bytes(b"junk")
    errors: list[Exception] = []
    assert [batch.index for batch in listed(home, errors)] == [2]
    assert len(errors) == 2


def test_json_has_the_promised_keys_in_their_order(home):
    """As `ipfs-logs ls` prints them; `meta` is a mapping of its own."""
    sample_homes.make(home, 3)
    (batch,) = listed(home)
    members = batch.as_json()
    assert list(members) == [
        "subsystem", "log", "index", "cid", "payload", "records", "first", "last", "raw", "size", "encoding", "sealed",
        "state", "meta",
    ]  # fmt: skip
    members["meta"]["added"] = 1
    assert "added" not in batch.meta
