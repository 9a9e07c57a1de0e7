"""Behind a daemon that is down: memory and disk stay bounded, losses are counted to the record, and nobody starves."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home import volume
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import run as keeper_run
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.testing import FakeKubo, Request, Response
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.kubo.daemon import Daemon
from tests.support import oracle, programs, sample_homes
from tests.support.cli import run
from tests.support.logging_home import keeping, seal_all, wait_until
from tests.support.sample_homes import status

FLOOD = """
    import resource
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    configure(kubo=KUBO, max_spool_bytes=BOUND, flush_timeout=FLUSH)
    def one(i): log.info("record %d", i, extra={"n": i, "text": "%064x" % (i * 0x9E3779B97F4A7C15)})
    for i in range(5000): one(i)
    before = peak()
    for i in range(5000, COUNT): one(i)
    [h] = logging.getLogger().handlers
    print(json.dumps({"grown_mib": peak() - before, "status": h.status()[0]}), flush=True)
"""


def flood(home: Path, kubo: str, *, count: int, bound: int) -> tuple[dict[str, Any], int, int]:
    """Log much while the daemon is down.

    Returns:
        What the program says at its end, the most bytes that its files took at any moment, and those of its largest
        batch.
    """
    most, over = 0, threading.Event()

    def measured() -> int:
        # Data moves from the spool to the batches. In this order, what moves between two looks is not counted twice.
        subsystem_dir = sample_homes.subsystem_dir(home, "logs")
        batches = volume.allocated(subsystem_dir.current.batches)
        return batches + volume.allocated(subsystem_dir.spool)

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            # A look that stops for a while counts a segment that left and the one that came: the next does not.
            most = max(most, min(measured(), measured()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ended = programs.run(home, FLOOD, KUBO=kubo, COUNT=count, BOUND=bound, FLUSH=2.0, deadline_s=600)
    finally:
        over.set()
        watcher.join()
    cars = sample_homes.subsystem_dir(home, "logs").current.batches.rglob("*.car")
    largest_batch = max(car.stat().st_blocks * 512 for car in cars)
    return json.loads(ended.clean_but_for_losses().out), most, largest_batch


def check_flood(home: Path, daemon: Daemon, *, count: int, bound: int) -> None:
    """Memory grows by 64 MiB at most, the files stay in their bound, each record is durable or counted, and drains."""
    daemon.stop()
    told, most, largest_batch = flood(home, daemon.url, count=count, bound=bound)
    own = told["status"]
    lost = sum(own["dropped"].values())
    assert told["grown_mib"] <= 64
    assert most <= bound + largest_batch  # home rule 22: a batch being sealed and its segments are both there
    assert set(own["dropped"]) == {"the spool is full"}
    assert count == own["durable"] + lost

    daemon.start()
    ended = run("ship", "--timeout", "300", home=home)
    assert (0, "") == (ended.code, ended.err)
    [log] = oracle.read_home(home)["logs"]
    there = oracle.read_daemon(lambda cid: daemon.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
    numbers = [record["n"] for record in there.records]
    assert len(numbers) == own["durable"]
    assert numbers == sorted(set(numbers))
    assert lost == sum(batch.manifest["dropped"].get("the spool is full", 0) for batch in there.batches)
    (after,) = run("status", home=home).objects
    assert (after["durable"], after["dropped"]) == (after["shipped"], own["dropped"])


def test_flood_while_the_daemon_is_down(home, kubo_daemon):
    """60,000 records into a spool of 4 MiB: bounded in memory and on the disk, losses exact, the rest arrives once."""
    check_flood(home, kubo_daemon(), count=60_000, bound=4 << 20)


@pytest.mark.soak
def test_a_million_records_while_the_daemon_is_down(home, kubo_daemon):
    """The same with 1,000,000 records and 32 MiB."""
    check_flood(home, kubo_daemon(), count=1_000_000, bound=32 << 20)


def test_dropped_records_are_reported_within_the_bound(home):
    """A program that ends in front of a full spool tells its losses in the home, once, within the bound."""
    bound = 64 << 10
    spool = sample_homes.subsystem_dir(home).spool
    with sample_homes.Writing(home, max_spool_bytes=bound) as writing:
        for number in range(2000):
            writing.handler.handle(sample_homes.record(number, text="x" * 50))
        assert volume.allocated(spool) <= bound
        [own] = writing.handler.status()
    assert volume.allocated(spool) <= bound
    writing.handler.handle(sample_homes.record(2000))  # after the end, and there is no room for it
    [told] = status(home)
    assert own["dropped"] == told["dropped"]
    assert 0 < told["dropped"]["the spool is full"] == 2000 - told["durable"]
    sample_homes.seal(home)
    assert [(told["durable"], told["dropped"])] == [(each["sealed"], each["dropped"]) for each in status(home)]


# -- the way back


class _Gate:
    """Lets a daemon answer the first uploads, then hold its breath until it may go on."""

    def __init__(self, daemon: FakeKubo, after: int) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._honest = daemon.answer
        self._left = after
        daemon.respond_always("dag/import", self)

    def __call__(self, asked: Request) -> Response:
        if asked.body:
            self._left -= 1
            if self._left == 0:
                self.reached.set()
                assert self.open.wait(60)
        return self._honest(asked)


def backlog(home: Path, batches: int) -> None:
    """Many small sealed batches that wait for a store."""
    subsystem_dir = sample_homes.subsystem_dir(home, "wal")
    with (
        sample_homes.Writing(home, "wal", records=1, max_spool_bytes=1 << 30) as writing,
        keeping(HomeDir(home)) as held,
    ):
        sealer = Sealer.open(held, subsystem_dir)
        for number in range(0, batches, 10):
            writing.log(range(number, number + 10))
            seal_all(sealer)
    assert status(home)[0]["sealed"] == batches


@pytest.mark.slow
def test_new_records_pass_a_backlog(home, monkeypatch):
    """While hundreds of batches drain, a batch of another subsystem goes with the next call but one."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # the backlog itself need not survive a power cut
        backlog(home, 400)
    body = """
        import ipfs_log_handlers
        configure(kubo=KUBO, subsystem="wal", flush_timeout=0.1)
        fresh = ipfs_log_handlers.IPFSHandler("audit", home=HOME, kubo=KUBO, batch={"seconds": 0.05})
        log.info("begin")
        sys.stdin.readline()
        fresh.handle(logging.makeLogRecord({"msg": "fresh", "name": "t"}))
        sys.stdin.readline()
    """
    with FakeKubo() as daemon:
        gate = _Gate(daemon, 4)
        program = programs.start(home, body, KUBO=daemon.url)
        assert program.stdin
        try:
            assert gate.reached.wait(60)
            program.stdin.write("log\n")
            program.stdin.flush()
            wait_until(lambda: any(each["subsystem"] == "audit" and each["sealed"] for each in status(home)))
            before = len(daemon.uploads())
            gate.open.set()
            wait_until(lambda: any(each["subsystem"] == "audit" and each["shipped"] for each in status(home)))
        finally:
            gate.open.set()
            program.kill()
            program.communicate()
        manifest = Batches(sample_homes.subsystem_dir(home).current.batches).facts(0).cid.text
        [position] = [n for n, asked in enumerate(daemon.uploads()) if oracle._cid_bytes(manifest) in asked.body]
    assert before < 10
    assert position - before <= 2


def test_a_batch_that_is_no_file_holds_up_no_other_subsystem(home):
    """A batch that the disk does not give is set aside; the others, also of its log, are shipped."""
    for name in ("audit", "wal"):
        sample_homes.make(home, 20, name, kubo="memory:unreadable")
    car = sample_homes.subsystem_dir(home).current.batches / "000" / "000000.car"
    kept = car.rename(home.with_name("kept.car"))
    car.mkdir()  # reading it is an OSError, whoever reads
    store = MemoryStore.named("unreadable")

    sample_homes.ship(home, "memory:unreadable")

    shown = {line["subsystem"]: line for line in status(home)}
    assert (shown["wal"]["shipped"], shown["wal"]["set_aside"]) == (20, 0)
    assert (shown["audit"]["shipped"], shown["audit"]["set_aside"]) == (10, 1)
    car.rmdir()
    kept.rename(car)
    keeper_run.retry_set_aside(HomeDir(home), None)
    sample_homes.ship(home, "memory:unreadable")
    assert {line["subsystem"]: line["shipped"] for line in status(home)} == {"audit": 20, "wal": 20}
    assert store.pins


def test_a_poison_batch_is_shown(home):
    """A batch that the store names as bad is set aside: counted by status, its reason told by doctor, others arrive."""
    sample_homes.make(home, 30)
    poison = Batches(sample_homes.subsystem_dir(home).current.batches).facts(1).cid
    with FakeKubo() as daemon:
        honest = daemon.answer
        bad = FakeKubo.error(500, f'import failed after block "{poison.text}": mismatch in content integrity, got: x')
        daemon.respond_always("dag/import", lambda asked: bad if bytes(poison) in asked.body else honest(asked))
        ended = run("ship", "--kubo", daemon.url, "--timeout", "600", home=home)  # which is not waited for
        doctor = run("doctor", "--kubo", daemon.url, home=home)
    assert (ended.code, {each["index"] for each in ended.objects}) == (4, {0, 2})
    [told] = status(home)
    assert (told["set_aside"], told["shipped"], told["sealed"]) == (1, 20, 30)
    assert 'ipfs_logs_set_aside_batches{subsystem="audit"} 1\n' in run("status", "-o", "openmetrics", home=home).out
    [aside] = [each for each in doctor.objects if each["check"] == "audit set aside"]
    assert aside["state"] == "warn"
    assert "batch 1" in aside["found"]
    assert "mismatch in content integrity" in aside["found"]
