"""What the interpreter and dictConfig do with handlers: threads without mercy, queues, configurations that fail."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import threading

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.testing import FakeDaemon, Said, error
from tests.support import oracle, programs
from tests.support.logging_home import durable, handler_of, logging_to, wait_until
from tests.support.machine import assert_in_time

THREADS = 8
EACH = 500


def in_threads(work):
    """Run it in eight threads at once, with the interpreter switching as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
    finally:
        sys.setswitchinterval(before)


def test_exact_counts_from_eight_threads(home):
    """Pitfall 43: records, sequence numbers and what lacks its fields are counted exactly, whatever the threads do."""
    with logging_to(home, "audit") as log:

        def work(n):
            for i in range(EACH):
                log.info("audit.event", extra={"lane": n, "i": i})

        in_threads(work)
        incomplete = handler_of(log)._recorder.home.writers["audit"].incomplete

    found = durable(home, "audit")
    oracle.exactly_once(
        [(n, i) for n in range(THREADS) for i in range(EACH)], [(each["lane"], each["i"]) for each in found]
    )
    assert list(range(1, THREADS * EACH + 1)) == [each["seq"] for each in found]
    assert THREADS * EACH == incomplete


def test_exact_counts_of_what_is_lost(home, monkeypatch):
    """Pitfall 43: what is dropped, and what fails altogether, is counted exactly."""
    with logging_to(home) as log:
        recorder = handler_of(log)._recorder

        def work(_):
            for _ in range(EACH):
                log.info("x")

        with monkeypatch.context() as patch:
            patch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError(5, "io")))
            in_threads(work)
        writer = recorder.home.writers["logs"]
        assert {"EIO": THREADS * EACH} == writer.dropped
        with monkeypatch.context() as patch:
            patch.setattr(type(recorder), "take", lambda *_, **__: 1 / 0)
            handler_of(log).__dict__.pop("handle")  # the short way has its place
            recorder.fast_path = None
            in_threads(work)
        assert THREADS * EACH == recorder.failed


@pytest.mark.skipif(sys.version_info < (3, 12), reason="dictConfig makes queues since 3.12")
def test_behind_a_queue_that_dictconfig_makes(home):
    """Pitfall 44: a QueueHandler from dictConfig hands over text, traceback and fields; our settings are in force."""
    assert not issubclass(IPFSHandler, logging.handlers.QueueHandler)
    body = """
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "handlers": {
            "kept": handler(flush_timeout=1.25),
            "queue": {"class": "logging.handlers.QueueHandler", "handlers": ["kept"], "respect_handler_level": True}},
            "root": {"level": "INFO", "handlers": ["queue"]}})
        queue = logging.getHandlerByName("queue")
        queue.listener.start()
        assert 1.25 == queue.listener.handlers[0]._recorder._settings.flush_timeout
        try: 1 / 0
        except ZeroDivisionError: log.exception("failed %d", 1, extra={"a": [1]})
        queue.listener.stop()
    """

    programs.run(home, body).clean()

    [record] = programs.adopted(home)
    assert record["event"].startswith("failed 1")
    assert [1] == record["a"]
    assert "ZeroDivisionError" in json.dumps(record)


def test_a_configuration_touches_nothing(home):
    """Pitfall 45: dictConfig with a store makes no request, no thread, no file; nor does closing what never logged."""
    body = """
        configure(kubo=KUBO)
        configure(kubo=KUBO)
        logging.shutdown()
        print([each.name for each in threading.enumerate()], os.path.exists(HOME))
    """
    with FakeDaemon() as daemon:
        ended = programs.run(home, body, KUBO=daemon.url).clean()
        assert [] == daemon.asked

    assert "['MainThread'] False\n" == ended.out


def test_a_home_that_was_configured_away_costs_nothing(home):
    """Pitfall 45: dictConfig with another home each time: what the former ones hold is shipped, their threads end."""
    body = """
        def in_spool(fd):
            try: return "spool" in os.readlink(f"/proc/self/fd/{fd}")
            except OSError: return False
        for number in range(20):
            configure(home=f"{HOME}/{number}", kubo=KUBO)
            log.info("x%d", number)
        until = time.monotonic() + 30
        while threading.active_count() > 2:
            assert time.monotonic() < until, threading.enumerate()
            time.sleep(0.01)
        print(sum(map(in_spool, os.listdir("/proc/self/fd"))))
        os._exit(0)
    """
    with FakeDaemon() as daemon:
        ended = programs.run(home, body, KUBO=daemon.url).clean()
        uploads = len(daemon.uploads())

    assert "1\n" == ended.out
    assert uploads >= 19


@pytest.mark.parametrize("silent", [True, False])
def test_a_home_that_is_configured_again_keeps_its_thread(home, silent):
    """Pitfall 45: the same home again and again beside a store that is silent, or well: one thread, and it goes on."""
    body = """
        for number in range(50):
            configure(kubo=KUBO)
            log.info("x%d", number)
            if number % 7 == 0: time.sleep(0.02)
        assert threading.active_count() <= 2
        if not SILENT:
            until = time.monotonic() + 30
            here = logging.getLogger().handlers[0]._recorder.home
            while not here.flush(1.0):
                assert time.monotonic() < until
        print(threading.active_count())
        os._exit(0)
    """
    with FakeDaemon() as daemon:
        if silent:
            daemon.always("dag/import", Said(then="hang"))
        ended = programs.run(home, body, KUBO=daemon.url, SILENT=silent).clean()

    assert "2\n" == ended.out
    assert {f"x{number}" for number in range(50)} == {each["event"] for each in programs.adopted(home)}


FORMER_HOMES = """
        from ipfs_log_handlers.runtime.lifecycle import KeeperControl
        def keepers(): return sum(each.name == "ipfs-logs-keeper" for each in threading.enumerate())
        def until(holds):
            end = time.monotonic() + 30
            while not holds():
                assert time.monotonic() < end, threading.enumerate()
                time.sleep(0.01)
"""


def test_a_first_record_beside_a_dictconfig_leaves_no_thread(home):
    """Pitfall 45: a thread starts the keeper of a home as dictConfig closes its last handler: the keeper ends."""
    body = """
        real, begun, go_on = KeeperControl._make_thread, threading.Event(), threading.Event()
        def slow(self):
            begun.set(); go_on.wait()
            return real(self)
        KeeperControl._make_thread = slow
        configure(home=HOME + "/a")
        other = threading.Thread(target=lambda: log.info("x")); other.start()
        begun.wait()
        configure(home=HOME + "/b")
        go_on.set(); other.join()
        until(lambda: keepers() == 0)
    """

    programs.run(home, FORMER_HOMES + body).clean()

    assert ["x"] == [each["event"] for each in programs.adopted(home / "a")]


def test_a_flush_of_a_closed_handler_leaves_no_thread(home):
    """Pitfall 45: a record and a flush of a handler that dictConfig has closed: sealed, and no thread stays."""
    body = """
        configure(home=HOME + "/a")
        log.info("x")
        [old] = logging.getLogger().handlers
        configure(home=HOME + "/b")
        until(lambda: keepers() == 0)
        old.handle(logging.makeLogRecord({"msg": "late", "levelname": "INFO", "name": "t"}))
        assert old._recorder.home.flush(10.0)
        until(lambda: keepers() == 0)
    """

    programs.run(home, FORMER_HOMES + body).clean()

    assert ["x", "late"] == [each["event"] for each in programs.adopted(home / "a")]


def test_a_flush_as_the_keeper_retires_is_heard(home):
    """Pitfall 45: the same home configured again; who flushes while its keeper is leaving waits for the next one."""
    body = """
        import asyncio
        from ipfs_log_handlers.keeper.delivery import Deliveries
        real, leaving = Deliveries.close, threading.Event()
        async def slow(self):
            leaving.set()
            await asyncio.sleep(0.05)
            await real(self)
        Deliveries.close = slow
        again = dict(batch={"seconds": 3600}, flush_timeout=20.0)
        for number in range(5):
            configure(**again)
            log.info("a%d", number)
            [h] = logging.getLogger().handlers
            assert h._recorder.home.flush(20.0)
            leaving.clear()
            configure(home=HOME + "/elsewhere")
            leaving.wait()
            configure(**again)
            log.info("b%d", number)
            [h] = logging.getLogger().handlers
            assert h._recorder.home.flush(20.0), number
    """

    programs.run(home, FORMER_HOMES + body).clean()

    assert 10 == len(programs.adopted(home))


def test_a_backlog_outlives_the_same_configuration_made_again(home):
    """Pitfall 45: configured again while the store refuses, and silent since: what waits is shipped when it can be."""
    body = """
        configure(kubo=KUBO, batch={"seconds": 0.2})
        log.info("x")
        [h] = logging.getLogger().handlers
        until(lambda: h.status()[0]["last_error"])
        configure(kubo=KUBO, batch={"seconds": 0.2})
        print("again", flush=True)
        sys.stdin.readline()
        [h] = logging.getLogger().handlers
        until(lambda: h.status()[0]["shipped"] == 1)
        os._exit(0)
    """
    with FakeDaemon() as daemon:
        daemon.always("dag/import", error(500, "no"))
        process = programs.start(home, FORMER_HOMES + body, KUBO=daemon.url)
        assert process.stdout is not None
        assert "again\n" == process.stdout.readline()
        before = len(daemon.asked)
        wait_until(lambda: len(daemon.asked) >= before + 4, deadline_s=60)
        daemon.honest()
        out, err = process.communicate("\n", timeout=60)

    assert (0, "") == (process.returncode, err), out


def test_homes_share_their_time_at_exit(home):
    """Pitfall 45: six former homes with a silent store: the program ends within one deadline, not within six."""
    body = """
        for number in range(6):
            configure(home=f"{HOME}/{number}", kubo=KUBO, flush_timeout=4.0)
            log.info("x")
    """
    with FakeDaemon() as daemon:
        daemon.always("dag/import", Said(then="hang"))
        ended = programs.run(home, FORMER_HOMES + body, KUBO=daemon.url).clean()

    assert_in_time(ended.seconds, 3 * 4.0)


@pytest.mark.parametrize("collected", [True, False])
def test_a_configuration_that_fails_leaves_nothing_open(home, collected):
    """Pitfall 45: after a dictConfig that failed half way another one may say something else; no thread, no file."""
    body = """
        import gc
        bad = {"version": 1, "handlers": {"a": handler(flush_timeout=1.0), "b": handler("audit", flush_timout=1.0)}}
        try: logging.config.dictConfig(bad)
        except ValueError as error: print(error.__cause__)
        if COLLECTED: gc.collect()
        assert threading.active_count() == 1 and not os.path.exists(HOME)
        configure(flush_timeout=2.0)
        log.info("x")
    """

    ended = programs.run(home, body, COLLECTED=collected).clean()

    assert "did you mean 'flush_timeout'?" in ended.out
    assert ["x"] == [each["event"] for each in programs.adopted(home)]
