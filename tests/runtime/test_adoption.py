"""Segments of other processes: one keeper seals them all, each record once, whoever made them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections import Counter

from ipfs_log_handlers.home import segments
from ipfs_log_handlers.home.segments import Header
from tests.support import oracle, programs
from tests.support.machine import assert_in_time


def test_two_processes_race_to_adopt(home):
    """What a killed program left is adopted once, however many start at the same moment."""
    body = """
        configure(batch={"records": 7})
        for i in range(100): log.info("left %d", i)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert -9 == programs.run(home, body).code
    rivals = """
        configure(batch={"records": 7})
        sys.stdin.readline()
        log.info("rival %d", NUMBER)
    """
    started = [programs.start(home, rivals, NUMBER=n) for n in range(4)]
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in started:
        _, err = each.communicate(timeout=60)
        assert (0, "") == (each.returncode, err)

    events = [record["event"] for record in programs.adopted(home)]
    oracle.exactly_once([*(f"left {i}" for i in range(100)), *(f"rival {n}" for n in range(4))], events)


def test_a_process_that_is_not_the_keeper_asks_the_one_that_is(home, kubo):
    """A short program beside a long one flushes through the other's keeper, and need not wait for its deadline."""
    long_lived = """
        configure(kubo=KUBO, batch={"seconds": 3600.0})
        log.info("long")
        [h] = logging.getLogger().handlers
        h.flush()
        print("keeping", flush=True)
        sys.stdin.readline()
    """
    keeper = programs.start(home, long_lived, KUBO=kubo.url)
    assert keeper.stdout is not None
    assert "keeping\n" == keeper.stdout.readline()

    short = programs.run(
        home, 'configure(kubo=KUBO, batch={"seconds": 3600.0}, flush_timeout=30.0); log.info("short")', KUBO=kubo.url
    ).clean()
    [log] = oracle.read_home(home)["logs"]

    assert_in_time(short.seconds, 10.0)
    assert ["long", "short"] == [record["event"] for record in log.records]
    assert log.head_cid in kubo.pins()
    _, err = keeper.communicate("\n", timeout=30)
    assert (0, "") == (keeper.returncode, err)


def test_a_keeper_that_sweeps_as_a_segment_is_made_costs_no_record(home, monkeypatch):
    """A foreign keeper may take a segment for a leftover before its writer has locked it: it is made again."""
    spool = home / "logs" / "spool"
    header = Header(writer="0" * 16, subsystem="logs", host="h", pid=1, started="2026-01-01T00:00:00Z", settings={})
    program = f"""
from pathlib import Path
from ipfs_log_handlers.home import segments
segments.sweep(Path({str(spool)!r}))
"""
    lock = fcntl.flock
    swept: Counter[str] = Counter()

    def late(descriptor: int, how: int) -> None:
        if swept["times"] < 2:
            swept["times"] += 1
            subprocess.run([sys.executable, "-c", program], env=programs.environment(), check=True)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    made = segments.create(spool, header, 0, sync=False)

    assert 2 == swept["times"]
    assert made.intact()
    assert ["0" * 16 + "-0.seg"] == os.listdir(spool)
    made.close()
