"""Behind a daemon that is down: memory and disk stay bounded, losses are counted to the record, and nobody starves."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.status import status
from ipfs_log_handlers.stores.memory import MemoryStore
from ipfs_log_handlers.testing import Asked, FakeDaemon, Said, error
from tests import oracle, programs
from tests.cli.running import run
from tests.kubo.daemon import Daemon
from tests.reading import homes
from tests.workshop import keeping, seal_all, wait_until

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


def flood(home: Path, kubo: str, *, count: int, bound: int) -> tuple[dict[str, Any], int]:
    """Log much while the daemon is down; what the program tells at its end, and the most its files ever took."""
    most, over = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            room = homes.room(home, "logs")
            most = max(most, disk.allocated(room.spool) + disk.allocated(room.current.batches))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ended = programs.run(home, FLOOD, KUBO=kubo, COUNT=count, BOUND=bound, FLUSH=2.0, deadline_s=600).clean()
    finally:
        over.set()
        watcher.join()
    return json.loads(ended.out), most


def check_flood(home: Path, daemon: Daemon, *, count: int, bound: int) -> None:
    """Memory grows by 64 MiB at most, the files stay in their bound, each record is durable or counted, and drains."""
    daemon.stop()
    told, most = flood(home, daemon.url, count=count, bound=bound)
    own = told["status"]
    lost = sum(own["dropped"].values())
    assert told["grown_mib"] <= 64
    assert most <= bound
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


def test_what_was_dropped_is_told_within_the_bound(home):
    """A program that ends in front of a full spool tells its losses in the home, once, within the bound."""
    bound = 64 << 10
    spool = homes.room(home).spool
    with homes.Writing(home, max_spool_bytes=bound) as writing:
        for number in range(2000):
            writing.handler.handle(homes.record(number, text="x" * 50))
        assert disk.allocated(spool) <= bound - (8 << 10)
        [own] = writing.handler.status()
    assert disk.allocated(spool) <= bound
    writing.handler.handle(homes.record(2000))  # after the end, and there is no room for it
    [told] = status(home)
    assert own["dropped"] == told["dropped"]
    assert 0 < told["dropped"]["the spool is full"] == 2000 - told["durable"]
    homes.seal(home)
    assert [(told["durable"], told["dropped"])] == [(each["sealed"], each["dropped"]) for each in status(home)]


# -- the way back


class _Gate:
    """Lets a daemon answer the first uploads, then hold its breath until it may go on."""

    def __init__(self, daemon: FakeDaemon, after: int) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._honest = daemon._honestly
        self._left = after
        daemon.always("dag/import", self)

    def __call__(self, asked: Asked) -> Said:
        if asked.body:
            self._left -= 1
            if self._left == 0:
                self.reached.set()
                assert self.open.wait(60)
        return self._honest(asked)


def backlog(home: Path, batches: int) -> None:
    """Many small sealed batches that wait for a store."""
    room = homes.room(home, "wal")
    with homes.Writing(home, "wal", records=1, max_spool_bytes=1 << 30) as writing, keeping(Home(home)) as held:
        sealer = Sealer(held, room)
        for number in range(0, batches, 10):
            writing.log(range(number, number + 10))
            seal_all(sealer)
    assert status(home)[0]["sealed"] == batches


def test_fresh_records_pass_a_backlog(home, monkeypatch):
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
    with FakeDaemon() as daemon:
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
        manifest = Batches(homes.room(home).current.batches).facts(0).cid.text
        [position] = [n for n, asked in enumerate(daemon.uploads()) if oracle._cid_bytes(manifest) in asked.body]
    assert before < 10
    assert position - before <= 2


def test_a_subsystem_that_cannot_be_read_holds_up_no_other(home):
    """Batches of one subsystem that the disk does not give are told as its trouble; those of the others are shipped."""
    for name in ("audit", "wal"):
        homes.make(home, 10, name, kubo="memory:unreadable")
    car = homes.room(home).current.batches / "000" / "000000.car"
    car.rename(car.with_suffix(".kept"))
    car.mkdir()  # reading it is an OSError, whoever reads
    store = MemoryStore.named("unreadable")

    homes.ship(home, "memory:unreadable")

    found = {each["subsystem"]: each for each in status(home)}
    assert (found["wal"]["shipped"], found["audit"]["shipped"]) == (10, 0)
    assert "directory" in found["audit"]["last_error"].lower()
    assert found["wal"]["last_error"] is None
    car.rmdir()
    car.with_suffix(".kept").rename(car)
    homes.ship(home, "memory:unreadable")
    assert {each["subsystem"]: each["shipped"] for each in status(home)} == {"audit": 10, "wal": 10}
    assert store.pins


def test_a_poison_batch_is_shown(home):
    """A batch that the store names as bad is set aside: counted by status, its reason told by doctor, others arrive."""
    homes.make(home, 30)
    poison = Batches(homes.room(home).current.batches).facts(1).cid
    with FakeDaemon() as daemon:
        honest = daemon._honestly
        bad = error(500, f'import failed after block "{poison.text}": mismatch in content integrity, got: x')
        daemon.always("dag/import", lambda asked: bad if bytes(poison) in asked.body else honest(asked))
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
