"""`ipfs-logs ls`: one line or object for each batch, oldest first."""

from __future__ import annotations

from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import DeliveryState
from tests.support import sample_homes
from tests.support.cli import run

LS = {
    "subsystem", "log", "index", "cid", "payload", "records", "first", "last", "raw", "size", "encoding", "sealed",
    "state", "meta",
}  # fmt: skip


def test_each_batch_is_one_object_with_the_promised_keys(two):
    """One object a batch, oldest first, with the promised keys."""
    ended = run("ls", home=two)
    assert (ended.code, ended.err) == (0, "")
    assert [(each["subsystem"], each["index"], each["records"]) for each in ended.objects] == [
        ("audit", 0, 10), ("audit", 1, 10), ("audit", 2, 5), ("wal", 0, 3),
    ]  # fmt: skip
    assert all(each.keys() == LS and each["state"] == "sealed" for each in ended.objects)
    facts = Batches(sample_homes.subsystem_dir(two).current.batches).facts(1)
    assert ended.objects[1]["cid"] == facts.cid.text
    assert ended.objects[1]["payload"] == facts.manifest.payload.text


def test_a_batch_is_shipped_once_a_store_has_confirmed_it(two):
    """A batch that enough stores have confirmed is `shipped`."""
    log = run("ls", "audit", home=two).objects[0]["log"]
    delivery_state.store(
        sample_homes.subsystem_dir(two).current.shipped,
        "x",
        DeliveryState(log=log, address="memory:x", confirmed_through=1),
    )
    assert [each["state"] for each in run("ls", "audit", home=two).objects] == ["shipped", "shipped", "sealed"]


def test_text_is_aligned_in_columns(two):
    """Text is one line a batch, in columns."""
    lines = run("-o", "text", "ls", home=two).out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("SUBSYSTEM  BATCH  SEALED")
    assert len({line.index("bafy") for line in lines[1:]}) == 1


def test_a_damaged_batch_is_reported_and_the_others_are_listed(two):
    """A batch that cannot be read is told, the others are listed, and the exit code is 5."""
    Batches(sample_homes.subsystem_dir(two).current.batches).file(1).write_bytes(b"junk")
    ended = run("ls", "audit", home=two)
    assert ended.code == 5
    assert [each["index"] for each in ended.objects] == [0, 2]
    assert ended.err.count("ipfs-logs: error:") == len(ended.err.splitlines()) == 1
