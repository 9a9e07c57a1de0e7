"""Read back from a Kubo daemon what a program has shipped to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.kubo.daemon import Daemon
from tests.support import oracle


def blocks_of(daemon: Daemon) -> Callable[[str], bytes]:
    """Return a function that gets a block from a daemon."""
    return lambda cid: daemon.rpc(f"block/get?arg={cid}&offline=true")


def delivered(daemon: Daemon, home: Path, subsystem: str = "logs") -> list[dict]:
    """Return the records that a reader finds with the daemon and the head CID; assert that all are pinned."""
    [log] = oracle.read_home(home)[subsystem]
    shipped = oracle.read_daemon(blocks_of(daemon), log.head_cid)
    pins = daemon.pins()
    assert [batch.cid for batch in log.batches] == [batch.cid for batch in shipped.batches]
    assert not [batch.cid for batch in shipped.batches if batch.cid not in pins]
    assert log.head_cid in pins
    return shipped.records


LOG_MANY = """
    configure(kubo=KUBO, flush_timeout=20.0, batch={"records": 100})
    for i in range(COUNT): log.info("r%d", FIRST + i, extra={"n": i, "nested": {"deep": [i, None, True]}})
"""


def manifests(home: Path) -> list[str]:
    """Return the CIDs of all batches of a home, in order."""
    return [batch.cid for log in oracle.read_home(home)["logs"] for batch in log.batches]
