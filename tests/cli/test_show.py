"""`ipfs-logs show`: one batch with its place in the chain, or one record."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.home.batches import Batches
from tests.support import sample_homes
from tests.support.cli import run


@pytest.fixture
def sealed(home: Path) -> Path:
    """Make a home with three batches."""
    sample_homes.make(home, 30)
    return home


def test_a_batch_is_named_by_cid_or_by_subsystem_and_number(sealed):
    """Both names give the same manifest, with the CIDs of its neighbours in the chain."""
    listed = run("ls", home=sealed).objects
    (shown,) = run("show", "audit", 1, home=sealed).objects
    for name in (listed[1]["cid"], f"/ipfs/{listed[1]['cid']}", listed[1]["payload"]):
        assert run("show", name, home=sealed).objects == [shown]

    assert (shown["index"], shown["tree_size"], shown["records"]) == (1, 2, 10)
    assert (shown["prev"], shown["cid"]) == (listed[0]["cid"], listed[1]["cid"])
    assert shown["stats"]["levels"] == {"info": 5, "warning": 5}
    assert f"cid: {listed[1]['cid']}\n" in run("show", "audit", 1, "-o", "text", home=sealed).out


def test_a_record_is_named_by_its_number(sealed):
    """`/N` behind a batch prints that record alone."""
    cid = run("ls", home=sealed).objects[2]["cid"]
    assert [record["number"] for record in run("show", f"{cid}/4", home=sealed).objects] == [24]
    assert [record["number"] for record in run("show", "audit", "0/9", home=sealed).objects] == [9]
    text = run("show", "audit", "0/9", "-o", "text", home=sealed).out
    assert text.startswith("record 9 of 10 in batch 0 of ipfs-logs/")
    assert '"number":9' in text


def test_what_is_not_there_is_said(sealed):
    """A batch or record that is not there is exit code 1; a malformed name is 2; a damaged batch 3."""
    assert run("show", "audit", 9, home=sealed).code == 1
    assert run("show", "audit", "0/10", home=sealed).err == "ipfs-logs: error: the batch has 10 records, from 0\n"
    for wrong in (["audit", "x"], ["audit", "0/x"], ["nonsense"], ["adit", "0"]):
        assert run("show", *wrong, home=sealed).code == 2
    path = Batches(sample_homes.subsystem_dir(sealed).current.batches).file(0)
    sample_homes.flip_last_byte(path)
    assert run("show", "audit", "0/1", home=sealed).code == 3
