"""Two real daemons: one CID copies a whole log from the one to the other."""

from __future__ import annotations

import json

from ipfs_log_handlers import open_dataset
from tests.support import archives, sample_homes
from tests.support.cli import run


def test_pin_add_copies_a_log_that_outlives_its_first_daemon(home, kubo_daemon):
    """Snapshot on A, `ipfs pin add` on B, A stopped: the log is read and verified from B with CID and key alone."""
    first, second = (kubo_daemon(offline=False) for _ in range(2))
    for start in range(0, 120, 40):
        sample_homes.log(home, range(start, start + 40), records=5)
        sample_homes.seal(home)
    (home.parent / "note").write_bytes(b"x" * 3_000_000)
    archives.archiver(home, "audit").put(home.parent / "note", archives.facts)
    sample_homes.ship(home, first.url)
    (made,) = run("snapshot", "--kubo", first.url, home=home).objects
    assert (made["stores"], made["batches"]) == ([first.url], 25)
    assert made["cid"] in first.pins()
    expected = list(open_dataset(home))
    key = sample_homes.key_of(home)

    peer = json.loads(first.cli("id"))
    second.cli("swarm", "connect", next(text for text in peer["Addresses"] if text.startswith("/ip4/127.0.0.1/tcp/")))
    second.cli("pin", "add", made["cid"])
    first.stop()

    with open_dataset(made["cid"], kubo=second.url, keys=[key], verify="chain") as dataset:
        assert list(dataset) == expected
        (report,) = dataset.verify()
        assert (report.ok, report.batches, report.records) == (True, 25, 120)
    assert second.cli("repo", "verify").endswith("verify complete, all blocks validated.")
