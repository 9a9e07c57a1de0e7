"""What is given up leaves a real Kubo with its next collection; readers elsewhere learn of it from the chain."""

from __future__ import annotations

import json

import pytest

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.api import verify_sources
from ipfs_log_handlers.home import acts
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.acts import record_act
from tests.support import sample_homes


def test_a_payload_leaves_kubo_and_the_chain_stays(home, kubo_daemon):
    """After the collection the payloads are gone and the manifests are there, from the newest head to the first one."""
    daemon = kubo_daemon()
    sample_homes.log(home, range(30), kubo=daemon.url)
    sample_homes.ship(home, daemon.url)
    (result,) = open_home(home).apply_retention(keep="0d", reason="old", stores=[daemon.url])
    assert (2, True) == (result.batches, result.complete)
    sample_homes.ship(home, daemon.url)
    manifests = list(LogDir.current_of(sample_homes.subsystem_dir(home)).manifests())
    pins = json.loads(daemon.rpc("pin/ls?type=direct"))["Keys"]
    assert {each.cid.text for each in manifests[:2]} == pins.keys()
    assert {each.cid.text for each in manifests[2:]} <= daemon.pins().keys()

    daemon.rpc("repo/gc")

    for manifest in manifests:
        kept = daemon.rpc(f"block/get?arg={manifest.cid}&offline=true")
        assert manifest.encode() == kept
        if manifest.index < 2:
            with pytest.raises(Exception, match="500"):
                daemon.rpc(f"block/get?arg={manifest.payload}&offline=true")

    head, key = sample_homes.head_of(home), sample_homes.key_of(home)
    gaps: list[tuple[str, int | None]] = []
    with open_dataset(
        head, kubo=daemon.url, keys=[key], on_gap=lambda gap: gaps.append((gap.kind, gap.index))
    ) as dataset:
        assert list(range(20, 30)) == [record["number"] for record in dataset]
    assert [("pruned", 0), ("pruned", 1)] == gaps
    (report,) = verify_sources([head], keys=[key], kubo=daemon.url, deep=True)
    assert (True, 2, 30) == (report.ok, report.pruned, report.records)
    batches = sample_homes.subsystem_dir(home).current.batches
    (report,) = verify_sources([str(batches)], keys=[key], deep=True)
    assert (True, 2) == (report.ok, report.pruned)


def test_an_act_of_another_key_gives_nothing_up(home, tmp_path):
    """A CAR file beside the log cannot say that its payloads were given up: they are missing then."""
    sample_homes.log(home, range(20))
    sample_homes.seal(home)
    other = tmp_path / "other"
    sample_homes.log(other, range(20))
    sample_homes.seal(other)
    name = LogDir.current_of(sample_homes.subsystem_dir(home)).name()
    assert name is not None
    record_act(HomeDir(other), "audit", acts.draw("prune", reason="not yours", batches=((name, ((0, 1),)),)))
    sample_homes.batches_of(home).strip(0)
    files = [str(sample_homes.subsystem_dir(path).current.batches) for path in (home, other)]
    reports = {report.log: report for report in verify_sources(files)}
    assert (False, 0, "incomplete") == (reports[name].ok, reports[name].pruned, reports[name].result)
