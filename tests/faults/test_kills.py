"""kill -9 of a sidecar and of a real daemon while batches are on their way: the same promise as for every call."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.kubo.daemon import Daemon
from tests.support import oracle, sample_homes, syscall_faults
from tests.support.chaos import start_again
from tests.support.cli import command, run
from tests.support.programs import environment


def story(home: Path, daemon: Daemon, chance: random.Random, turns: int) -> int:
    """Log, let a sidecar ship until it or the daemon is killed, again and again; how many records that made."""
    done = 0
    for turn in range(turns):
        count = chance.randrange(20, 120)
        sample_homes.log(home, range(done, done + count), kubo=daemon.url)
        done += count
        at = chance.randrange(1, 160) if turn % 2 else 0
        told = syscall_faults.environment(home, chance.choice(["kill-before", "kill-after"]), at=at)
        sidecar = subprocess.Popen(
            command("--home", home, "ship", "--follow"),
            env={**environment(), **told},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + chance.uniform(0.7, 1.2)
            while time.monotonic() < until and sidecar.poll() is None:
                time.sleep(0.005)
            if turn % 2 == 0:
                daemon.kill()
                time.sleep(chance.uniform(0.0, 0.2))
        finally:
            sidecar.kill()
            sidecar.wait()
        if turn % 2 == 0:
            start_again(daemon)
    assert 0 == run("ship", home=home).code
    return done


def check(home: Path, daemon: Daemon, done: int) -> None:
    """Each record once, in order, in the home and behind the head in the daemon; every batch pinned."""
    [log] = oracle.read_home(home)["audit"]
    assert list(range(done)) == [record["number"] for record in log.records]
    there = oracle.read_daemon(lambda cid: daemon.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
    assert list(range(done)) == [record["number"] for record in there.records]
    assert {log.head_cid, *(batch.cid for batch in log.batches)} <= set(daemon.pins())


def test_sidecar_and_daemon_are_killed(home, kubo_daemon):
    """The sidecar dies at calls of its own, the daemon at any moment: each record is in the chain and in Kubo once."""
    daemon = kubo_daemon()
    check(home, daemon, story(home, daemon, random.Random(11), 4))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_killed_more_often(home, kubo_daemon, seed):
    """The same, sixteen times, for ten seeds."""
    daemon = kubo_daemon()
    check(home, daemon, story(home, daemon, random.Random(seed), 16))
