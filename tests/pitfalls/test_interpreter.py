"""What the interpreter and dictConfig do with handlers: threads without mercy, queues, configurations that fail."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import threading

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.testing import FakeDaemon, Said
from tests import oracle, programs
from tests.workshop import durable, handler_of, logging_to

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
            recorder.quick = None
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
            daemon.always("dag/import", Said())
        ended = programs.run(home, body, KUBO=daemon.url, SILENT=silent).clean()

    assert "2\n" == ended.out
    assert {f"x{number}" for number in range(50)} == {each["event"] for each in programs.adopted(home)}


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

    assert "'flush_timeout' perhaps" in ended.out
    assert ["x"] == [each["event"] for each in programs.adopted(home)]
