"""Count what a program that has ended left in its home and at its daemon."""

from __future__ import annotations

from pathlib import Path

from tests.support import oracle

__all__ = ["delivered", "durable"]


def durable(home: Path) -> list[str]:
    """Every event that is in a chain or in the spool."""
    return [record["event"] for record in oracle.sealed_records(home) + oracle.spooled(home)]


def delivered(daemon, home: Path) -> list[str]:
    """Return the events that a reader finds with only the daemon and the head CID."""
    [log] = oracle.read_home(home)["logs"]
    there = oracle.read_daemon(lambda cid: daemon.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
    assert log.head_cid in daemon.pins()
    return [record["event"] for record in there.records]
