"""A dataset as of a head or a time never changes; `diff` says in what two differ; `verify` finds what is wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import ConfigurationError, StoreUnavailable, VerificationError, open_dataset
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.home import keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader import gateway as gateway_module
from tests.support import gateways, sample_homes
from tests.support.cli import run
from tests.support.sample_homes import batches_of, head_of, key_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a gateway once."""
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": ()})


def numbers(dataset: Any) -> list[int]:
    """Return the numbers of all records."""
    return sorted(record["number"] for record in dataset)


def test_an_old_head_gives_the_same_records_for_ever(home):
    """What is logged later, also by other subsystems, is not in it; a manifest names the same moment as its head."""
    sample_homes.make(home, 20)
    head, manifest = head_of(home, 1), batches_of(home).facts(1).cid.text
    before = list(open_dataset(home).as_of(head))
    sample_homes.log(home, range(20, 40))
    sample_homes.log(home, range(5), "wal")
    sample_homes.seal(home)
    sample_homes.log(home, range(40, 45))

    assert len(before) == 20
    assert list(open_dataset(home).as_of(head)) == before
    assert list(open_dataset(home).as_of(f"/ipfs/{manifest}")) == before
    assert open_dataset(home).as_of(head).filter(where={"number": 25}).count() == 0
    assert open_dataset(home).as_of(head).filter(where={"number": 15}).count() == 1
    assert len(open_dataset(home).as_of(head_of(home, 2)).explain().batches) == 3
    assert open_dataset(home).count() == 50


def test_as_of_a_time_gives_what_was_sealed_by_then(home):
    """The batches of every log that were sealed by then; not those after it, and no lines of the spool."""
    for start in range(0, 50, 10):
        sample_homes.log(home, range(start, start + 10))
        sample_homes.seal(home)
    sample_homes.log(home, range(50, 53))
    sealed = [batches_of(home).facts(index).manifest.sealed for index in range(5)]
    for index, moment in enumerate(sealed):
        assert numbers(open_dataset(home).as_of(moment / 1e6)) == list(range(10 * index + 10))
    assert open_dataset(home).as_of((sealed[0] - 1) / 1e6).count() == 0
    assert open_dataset(home).as_of("now").count() == 50


@pytest.mark.slow
@pytest.mark.parametrize("damaged", range(5))
def test_a_damaged_manifest_does_not_move_the_past(home, damaged):
    """The search skips a manifest that it cannot read: no batch of a later time is shown, and no fork is claimed."""
    sample_homes.make(home, 50)
    batches = batches_of(home)
    sealed = [batches.facts(index).manifest.sealed for index in range(5)]
    copy = home.parent / "copy"
    shutil.copytree(home, copy)
    content = bytearray(batches.file(damaged).read_bytes())
    at = content.index(batches.facts(damaged).manifest.encode()) + 20
    content[at] ^= 1
    batches.file(damaged).write_bytes(content)
    gaps: list[Any] = []
    now = open_dataset(home, on_gap=gaps.append)
    for index, moment in enumerate(sealed):
        shown = numbers(now.as_of(moment / 1e6))
        assert shown == [number for number in range(10 * index + 10) if number // 10 != damaged]
    (difference,) = now.diff(open_dataset(copy))
    assert difference.forked_at is None


def test_a_head_of_another_history_is_refused(home):
    """A head that nobody has is an error; one of a log that was rolled back is named as a second history."""
    sample_homes.make(home, 20)
    with pytest.raises(ConfigurationError, match="no source has this head"):
        open_dataset(home).as_of(Cid.of(DAG_CBOR, b"nothing").text)
    with pytest.raises(ConfigurationError, match="neither a head nor a time"):
        open_dataset(home).as_of("bafy" + "!" * 55)
    with pytest.raises(ConfigurationError, match="not a time"):
        open_dataset(home).as_of("the day before")

    blocks = gateways.blocks_of(home)
    head, forged = forge(home, 1, sealed=batches_of(home).facts(1).manifest.sealed + 1)
    with gateways.gateway(blocks | forged) as served, open_dataset(head_of(home, 1), gateway=served.url) as dataset:
        with pytest.raises(VerificationError, match="two histories"):
            dataset.as_of(head)
        assert dataset.as_of(head_of(home, 0)).count() == 10


def forge(home: Path, index: int, *, head_of_root: bytes | None = None, **changes: Any) -> tuple[str, dict[Cid, bytes]]:
    """Sign another manifest in the place of a batch, as only the holder of the key can; return CID of head, blocks."""
    secret = keys.load(HomeDir(home))
    assert secret is not None
    manifest = replace(batches_of(home).facts(index).manifest, **changes)
    root = merkle.edge_root(manifest.edge_after()) if head_of_root is None else head_of_root
    note = Checkpoint(manifest.log, index + 1, root).signed(secret)
    head = Head(log=manifest.log, index=index, manifest=manifest.cid, checkpoint=note)
    return head.cid.text, {manifest.cid: manifest.encode(), head.cid: head.encode()}


def test_the_past_is_not_followed(home):
    """Nothing comes after what was sealed by then."""
    sample_homes.make(home, 10)
    with pytest.raises(ConfigurationError, match="the past does not go on"):
        open_dataset(home).as_of("now").follow()
    assert run("tail", "--home", home, "--as-of", "now").code == 2


def test_the_command_line_looks_at_the_past(home):
    """`--as-of` takes a head or a time."""
    sample_homes.make(home, 20)
    assert len(run("query", "--home", home, "--as-of", head_of(home, 0)).objects) == 10
    assert run("query", "--home", home, "--as-of", "1h").code == 1
    assert len(run("query", "--home", home, "--as-of", "now").objects) == 20


# -- diff


def test_diff_says_what_another_dataset_has_more_or_less(home, tmp_path):
    """Log by log: batches in common, removed and added, with their records."""
    sample_homes.make(home, 20)
    copy = tmp_path / "copy"
    shutil.copytree(home / "audit" / "batches", copy)
    sample_homes.log(home, range(20, 45))
    sample_homes.seal(home)
    sample_homes.make(home, 5, "wal")

    now, before = open_dataset(home), open_dataset(copy)
    audit, wal = before.diff(now)
    assert (audit.subsystem, audit.common, audit.added, audit.added_records) == ("audit", 2, 3, 25)
    assert (audit.removed, audit.removed_records, audit.forked_at, audit.same) == (0, 0, None, False)
    assert (wal.subsystem, wal.common, wal.added, wal.added_records) == ("wal", 0, 1, 5)
    (back,) = now.filter(subsystem="audit").diff(before)
    assert (back.removed, back.removed_records, back.added) == (3, 25, 0)
    assert all(difference.same for difference in now.diff(now))
    (heads,) = now.as_of(head_of(home, 0)).diff(now.as_of(head_of(home, 3)))
    assert heads.as_json()["added"] == 3


def test_diff_finds_where_two_histories_part(home):
    """The first batch that is another one in both."""
    sample_homes.make(home, 30)
    head, forged = forge(home, 2, sealed=batches_of(home).facts(2).manifest.sealed + 1)
    with gateways.gateway(gateways.blocks_of(home) | forged) as served, open_dataset(head, gateway=served.url) as other:
        (difference,) = open_dataset(home).diff(other)
    assert (difference.common, difference.removed, difference.added, difference.forked_at) == (2, 1, 1, 2)


# -- verify


def test_every_source_verifies_to_the_same_root(home, tmp_path):
    """A home, its CAR files, and a head behind a gateway: the tree of the checkpoint, and all records."""
    sample_homes.make(home, 30)
    cars = tmp_path / "cars"
    shutil.copytree(home / "audit" / "batches", cars)
    verifier = [key_of(home)]
    with gateways.gateway(gateways.blocks_of(home)) as served:
        sources = (
            open_dataset(home),
            open_dataset(cars, keys=verifier),
            open_dataset(head_of(home, 2), gateway=served.url, keys=verifier),
        )
        reports = [dataset.verify() for dataset in sources]
        for dataset in sources:
            dataset.close()
    shown = [
        [(report.ok, report.batches, report.records, report.as_json()["tree_root"]) for report in each]
        for each in reports
    ]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0][0][:3] == (True, 3, 30)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"edge": bytes(32)}, "edge"),
        ({"prev": Cid.of(DAG_CBOR, b"another"), "jump": Cid.of(DAG_CBOR, b"another")}, "manifest"),
        ({"records": 9}, "payload"),
        ({"root": bytes(32)}, "payload"),
        ({"head_of_root": bytes(32)}, "checkpoint.root"),
    ],
    ids=lambda changes: str(changes)[:12],
)
def test_a_claim_that_does_not_hold_is_named(home, changes, field):
    """Also where the signature is right: the chain, the tree of the checkpoint, and the records of a batch."""
    sample_homes.make(home, 20)
    head, forged = forge(home, 1, **changes)
    gaps: list[Any] = []
    with gateways.gateway(gateways.blocks_of(home) | forged) as served:
        with open_dataset(head, gateway=served.url, keys=[key_of(home)], on_gap=gaps.append) as dataset:
            (report,) = dataset.verify()
            assert not report.ok
            assert field in [problem.field for problem in report.problems]
        checked = open_dataset(head, gateway=served.url, keys=[key_of(home)], verify="chain")
        with checked, pytest.raises((VerificationError, StoreUnavailable)):
            list(checked)


def test_a_damaged_payload_and_a_missing_one_are_problems(home):
    """Each is named with its batch; the other batches are verified all the same."""
    sample_homes.make(home, 30)
    blocks = gateways.blocks_of(home)
    del blocks[batches_of(home).facts(1).manifest.payload]
    with gateways.gateway(blocks) as served, open_dataset(head_of(home, 2), gateway=served.url) as dataset:
        (report,) = dataset.verify()
    assert [(problem.batch, problem.field) for problem in report.problems] == [(1, "payload")]


def test_two_sources_with_two_histories_are_an_error(home):
    """A query over both does not choose one of two batches that have the same number in the same log."""
    sample_homes.make(home, 30)
    head, forged = forge(home, 2, sealed=batches_of(home).facts(2).manifest.sealed + 1)
    with gateways.gateway(gateways.blocks_of(home) | forged) as served:
        for sources in ([home, head], [head, home]):
            different = pytest.raises(VerificationError, match="different batches of one number")
            with open_dataset(sources, gateway=served.url) as dataset, different:
                list(dataset)
