"""What a program that logs has delivered to a daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests import oracle
from tests.kubo.daemon import Daemon


def blocks_of(daemon: Daemon) -> Callable[[str], bytes]:
    """How a reader gets blocks from a daemon."""
    return lambda cid: daemon.rpc(f"block/get?arg={cid}&offline=true")


def delivered(daemon: Daemon, home: Path, subsystem: str = "logs") -> list[dict]:
    """The records of a log as a reader finds them who has the daemon and the head CID; all pinned."""
    [log] = oracle.read_home(home)[subsystem]
    there = oracle.read_daemon(blocks_of(daemon), log.head_cid)
    pins = daemon.pins()
    assert [batch.cid for batch in log.batches] == [batch.cid for batch in there.batches]
    assert not [batch.cid for batch in there.batches if batch.cid not in pins]
    assert log.head_cid in pins
    return there.records


LOG_MANY = """
    configure(kubo=KUBO, flush_timeout=20.0, batch={"records": 100})
    for i in range(COUNT): log.info("r%d", FIRST + i, extra={"n": i, "nested": {"deep": [i, None, True]}})
"""


def manifests(home: Path) -> list[str]:
    """The CIDs of all batches of a home, in order."""
    return [batch.cid for log in oracle.read_home(home)["logs"] for batch in log.batches]
