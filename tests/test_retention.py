"""Payloads that are shipped leave the home on proof, and only then; docs/home.md 23."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_log_handlers.testing import FakeDaemon, Said
from tests import oracle, programs
from tests.delivered import LOG_MANY, blocks_of, manifests
from tests.workshop import wait_until

RETAIN = """
    configure(kubo=KUBO, flush_timeout=20.0, batch={"records": 20}, max_store_bytes=0, keep_days=0)
    for i in range(COUNT): log.info("r%d", FIRST + i)
    [h] = logging.getLogger().handlers
    h.flush()
    print("flushed", flush=True)
    sys.stdin.readline()
"""


def retaining(home: Path, kubo: str, first: int, until: Callable[[], bool]) -> None:
    """Run a program whose keeper takes payloads out, until something is so."""
    process = programs.start(home, RETAIN, KUBO=kubo, COUNT=1, FIRST=first)
    assert process.stdout is not None
    assert "flushed\n" == process.stdout.readline()
    wait_until(until)
    _, err = process.communicate("\n", timeout=60)
    assert (0, "") == (process.returncode, err)


def test_payloads_leave_only_when_the_store_proves_to_have_them(home, kubo):
    """With `max_store_bytes` reached, payloads that Kubo has leave the home; the chain stays, and is whole there."""
    programs.run(home, LOG_MANY, KUBO=kubo.url, COUNT=200, FIRST=0).clean()
    files = [home / "logs" / "batches" / "000" / f"{index:06}.car" for index in range(2)]
    sizes = [path.stat().st_size for path in files]

    retaining(home, kubo.url, 200, lambda: all(p.stat().st_size < n for p, n in zip(files, sizes, strict=True)))

    [log] = oracle.read_home(home)["logs"]
    assert [None, None] == [batch.lines for batch in log.batches[:2]]
    there = oracle.read_daemon(blocks_of(kubo), log.head_cid)
    assert [f"r{i}" for i in range(201)] == [record["event"] for record in there.records]


@pytest.mark.parametrize("lie", ["unpinned", "lost", "other bytes"])
def test_a_store_that_lost_a_payload_keeps_it_in_the_home(home, lie):
    """A pin that is gone, a block that is gone or other bytes under its CID: the payload stays here."""
    with FakeDaemon() as daemon:
        programs.run(home, 'configure(kubo=KUBO); log.info("kept")', KUBO=daemon.url).clean()
        [log] = oracle.read_home(home)["logs"]
        store = daemon.store
        [payload] = [cid for cid in store.blocks if cid.text == log.batches[0].manifest["payload"]]
        [manifest] = [cid for cid in store.pins if cid.text == log.batches[0].cid]
        if lie == "unpinned":
            del store.pins[manifest]
        elif lie == "lost":
            del store.blocks[payload]
        else:
            store.blocks[payload] = hashlib.sha256(store.blocks[payload]).digest()
        asked_for = manifest.text if lie == "unpinned" else payload.text
        retaining(home, daemon.url, 0, lambda: any(asked_for == each.query.get("arg") for each in daemon.asked))

    [log] = oracle.read_home(home)["logs"]
    assert ["kept", "r0"] == [record["event"] for record in log.records]


def test_a_store_that_is_silent_about_old_payloads_holds_up_no_sealing(home):
    """While the keeper waits for an answer about what may leave, new records are sealed as ever."""
    with FakeDaemon() as daemon:
        programs.run(home, 'configure(kubo=KUBO); log.info("kept")', KUBO=daemon.url).clean()
        daemon.always("pin/ls", Said(then="hang"))

        def sealed() -> bool:
            asked = any(each.command == "pin/ls" for each in daemon.asked)
            return asked and 1 < len(manifests(home))

        retaining(home, daemon.url, 0, sealed)

    assert ["kept", "r0"] == [record["event"] for record in oracle.sealed_records(home)]
