"""Stores that answer badly, and what waiting for them costs in requests and in memory."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import delivery
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.sealing_rounds import SealingRounds
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.testing import FakeDaemon, Said, error, lines
from tests.support import oracle, programs
from tests.support.logging_home import logging_to, wait_until

TEXT = (("Content-Type", "text/plain"),)
STATS = lines({"Stats": {"BlockCount": 3, "BlockBytesCount": 999}})
OUTCOMES = {
    "reset in the body": Said(read=500, then="reset"),
    "closed without a word": Said(then="close"),
    "no HTTP": Said(raw=b"SSH-2.0-OpenSSH\r\n", then="close"),
    "nothing said": Said(),
    "counts alone": Said(body=STATS),
    "cut in the answer": Said(body=(b'{"Root":{"Cid":',), then="cut"),
    "counts, then cut": Said(body=STATS, then="cut"),
    "drips for ever": Said(body=(b" ",) * 30, pause_s=0.05, then="hang"),
    "a page": Said(headers=(("Content-Type", "text/html"),), body=(b"<html>welcome</html>",)),
    "elsewhere": Said(status=307, headers=(("Location", "http://127.0.0.1:9/"),)),
    "bad request": error(400, "what do you want"),
    "no token": Said(status=401, headers=TEXT, body=(b"401 - Unauthorized",)),
    "forbidden": Said(status=403, headers=TEXT, body=(b"403 - Forbidden",)),
    "no such command": Said(status=404, headers=TEXT, body=(b"404 page not found",)),
    "wrong method": Said(status=405, headers=TEXT, body=(b"405 - Method Not Allowed",)),
    "too many": Said(status=429, headers=(*TEXT, ("Retry-After", "1"))),
    "trouble": error(500, "the datastore is on fire"),
    "a bad batch, said once": error(500, "mismatch in content integrity, expected: a, got: b"),
    "bad gateway": Said(status=502, headers=TEXT, body=(b"bad gateway",)),
    "not now": Said(status=503, headers=(*TEXT, ("Retry-After", "1"))),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_whatever_a_store_answers_each_record_arrives_once(home, outcome):
    """Pitfall 40: one bad answer of any kind, then an honest store: every batch is pinned, none is set aside."""
    with FakeDaemon() as daemon:
        with logging_to(home, kubo=daemon.url, batch={"records": 10}) as log:
            for i in range(30):
                log.info("r%d", i)
        daemon.say("dag/import", OUTCOMES[outcome])
        for _ in range(3):
            assert run_keeper_now(HomeDir(home), Standalone(), timeout=1.0)
        [chain] = oracle.read_home(home)["logs"]
        there = oracle.read_daemon(lambda cid: daemon.store.blocks[Cid.parse(cid)], chain.head_cid)
        pins = {cid.text for cid in daemon.store.pins}
        uploads = len(daemon.uploads())

    assert [f"r{i}" for i in range(30)] == [record["event"] for record in there.records]
    assert {chain.head_cid, *(batch.cid for batch in chain.batches)} == pins
    assert 2 <= uploads <= 4
    [mark] = (home / "logs" / "shipped").iterdir()
    told = json.loads(mark.read_bytes()[9:])
    assert ([], 2) == (told["aside"], told["upto"])


# -- backoff


def tries(daemon):
    """How often somebody tried to ship: with an empty import first, which asks for leave."""
    return sum(asked.command == "dag/import" for asked in list(daemon.asked))


def test_delays_grow_are_capped_and_jittered():
    """Pitfall 41: the time between tries doubles up to a minute, and no two keepers wait alike."""
    rows = [list(itertools.islice(delivery.retry_delays(), 40)) for _ in range(200)]
    longest = [max(column) for column in zip(*rows, strict=True)]
    assert all(0.05 <= delay <= 60.05 for row in rows for delay in row)
    assert longest[0] <= 0.3
    assert all(longest[n] > 1.2 * longest[n - 1] for n in range(1, 8))
    assert all(longest[n] > 45 for n in range(10, 40))
    assert min(column[0] for column in zip(*(row[20:] for row in rows), strict=True)) < 60
    assert len({round(row[30], 3) for row in rows}) > 150


@pytest.mark.slow
def test_a_store_in_trouble_is_not_hammered(home):
    """Pitfall 41: four processes that log on beside a store that fails: one of them asks it, and ever more seldom."""
    body = """
        configure(kubo=KUBO, batch={"records": 5, "seconds": 0.05})
        log.info("first"); print("ready", flush=True)
        over = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
        while not over.wait(0.01): log.info("on")
        os._exit(0)
    """
    with FakeDaemon() as daemon:
        daemon.always("dag/import", error(500, "no"))
        started = [programs.start(home, body, KUBO=daemon.url) for _ in range(4)]
        for each in started:
            assert each.stdout is not None
            assert "ready\n" == each.stdout.readline()
        wait_until(lambda: tries(daemon) >= 2, deadline_s=30)
        before = len(daemon.asked)
        threading.Event().wait(3.0)
        during = len(daemon.asked) - before
        for each in started:
            _, err = each.communicate("\n", timeout=30)
            assert (0, "") == (each.returncode, err)

    assert during < 30, "a tight loop, or a herd"


@pytest.mark.slow
def test_the_delay_begins_anew_after_a_success(home):
    """Pitfall 41: a store that failed many times and then confirmed is asked soon again when it fails once more."""
    body = """
        from pathlib import Path
        configure(kubo=KUBO, flush_timeout=1.0)
        [h] = logging.getLogger().handlers
        here = h._recorder.home
        for line in sys.stdin:
            log.info("x")
            here.keeper.start(); here.keeper.ask()
            print("asked", flush=True)
        os._exit(0)
    """
    with FakeDaemon() as daemon:
        process = programs.start(home, body, KUBO=daemon.url)
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def another_try() -> None:
            before = tries(daemon)
            print("go", file=asked, flush=True)
            assert "asked\n" == told.readline()
            wait_until(lambda: tries(daemon) > before, deadline_s=30)

        def trouble():
            mark = next(path for path in (home / "logs" / "shipped").iterdir() if path.suffix != ".tmp")
            return json.loads(mark.read_bytes()[9:])["trouble"]

        daemon.always("dag/import", error(500, "no"))
        for _ in range(9):
            another_try()
        daemon.honest()
        another_try()
        wait_until(lambda: trouble() is None, deadline_s=30)
        daemon.always("dag/import", error(500, "no"))
        before = tries(daemon)
        another_try()
        wait_until(lambda: trouble() is not None, deadline_s=30)
        found = trouble()
        failures = tries(daemon) - before  # on a slow machine there may be more than one by now
        process.communicate(timeout=30)

    at, next_try = (value for value in found if isinstance(value, float))
    assert failures < 9
    assert next_try - at <= 0.3 * 2 ** (failures - 1) + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("under_way", [False, True])
def test_the_end_of_a_program_wakes_a_keeper_that_waits(home, under_way):
    """Pitfall 41: a store asked for ten minutes of peace, before the program ends or as it does: it is asked again."""
    body = """
        configure(kubo=KUBO, flush_timeout=10.0)
        log.info("x")
        [h] = logging.getLogger().handlers
        here = h._recorder.home
        here.keeper.start(); here.keeper.ask()
        print("asked", flush=True)
        sys.stdin.readline()
    """
    with FakeDaemon() as daemon:
        busy = Said(status=429, headers=(*TEXT, ("Retry-After", "600")), body=(b".",) * 8, pause_s=0.1)
        daemon.say("dag/import", busy)
        process = programs.start(home, body, KUBO=daemon.url)
        assert process.stdout is not None
        assert "asked\n" == process.stdout.readline()
        shipped = home / "logs" / "shipped"
        wait_until(lambda: daemon.uploads() if under_way else list(shipped.glob("*")), deadline_s=30)
        _, err = process.communicate("\n", timeout=30)
        pins = len(daemon.store.pins)

    assert (0, "") == (process.returncode, err)
    assert 2 == pins


def test_records_that_never_stop_do_not_keep_a_store_waiting(home, monkeypatch):
    """Pitfall 41: where a next batch is always due, the sealed ones are shipped all the same."""
    seal_one, rounds = SealingRounds._seal_one, list[int]()
    with FakeDaemon() as daemon, logging_to(home, kubo=daemon.url, batch={"records": 1}) as log:

        async def flowing(self, subsystem_dir):
            if not daemon.uploads() and len(rounds) < 300:
                rounds.append(1)
                log.info("on")
            return await seal_one(self, subsystem_dir)

        monkeypatch.setattr(SealingRounds, "_seal_one", flowing)
        log.info("first")
        assert run_keeper_now(HomeDir(home), Standalone(), timeout=30.0)

    assert 1 <= len(rounds) < 300


# -- memory


@pytest.mark.slow
@pytest.mark.parametrize("count", [96, pytest.param(1000, marks=pytest.mark.soak)])
def test_memory_is_bounded_in_bytes(home, count):
    """Pitfall 42: records of 1 MB each beside a silent store: they are on the disk, and memory grows by < 64 MB."""
    body = """
        configure(kubo=KUBO, flush_timeout=0.5, max_spool_bytes=8 << 30)
        def memory():
            with open("/proc/self/status") as file:
                return int(next(line for line in file if line.startswith("VmHWM")).split()[1])
        [h] = logging.getLogger().handlers
        for i in range(8): log.info("r%d", i, extra={"noise": os.urandom(1 << 19).hex()})
        h.flush()
        before = memory()
        for i in range(8, COUNT): log.info("r%d", i, extra={"noise": os.urandom(1 << 19).hex()})
        print(memory() - before, flush=True)
        os._exit(0)
    """
    with FakeDaemon() as daemon:
        for command in ("version", "dag/import"):
            daemon.always(command, Said(then="hang"))
        ended = programs.run(home, body, KUBO=daemon.url, COUNT=count, deadline_s=1200).clean()

    assert int(ended.out) < 64 << 10
    found = programs.adopted(home, deadline_s=1200)
    oracle.exactly_once([f"r{i}" for i in range(count)], [each["event"] for each in found])
