"""Logging from within: libraries of the keeper, its own troubles, event loops."""

from __future__ import annotations

import json
import threading

import pytest

from ipfs_log_handlers.testing import FakeDaemon, error
from tests.support import oracle, programs


@pytest.mark.parametrize("idle_s", [1.5, pytest.param(20.0, marks=pytest.mark.soak)])
def test_the_keeper_does_not_feed_itself(home, idle_s):
    """Pitfall 17: root at DEBUG, loud libraries, warnings captured: 20 records cost 2 requests beyond the upload.

    What the keeper's own libraries log is never recorded, so an idle program stays idle.
    """
    body = """
        import asyncio, gc
        configure(level="DEBUG", kubo=KUBO)
        for name in ("asyncio", "aiohttp"): logging.getLogger(name).setLevel("DEBUG")
        logging.captureWarnings(True)
        os.environ["PYTHONASYNCIODEBUG"] = "1"
        for i in range(20): log.debug("r%d", i)
        open(os.devnull); gc.collect()  # a ResourceWarning, captured
        [h] = logging.getLogger().handlers
        h.flush()
        print("flushed", flush=True)
        sys.stdin.readline()
    """
    with FakeDaemon() as daemon:
        process = programs.start(home, body, KUBO=daemon.url, options=("-X", "dev"))
        assert process.stdout is not None
        assert "flushed\n" == process.stdout.readline()
        after_flush = len(daemon.asked)
        threading.Event().wait(idle_s)
        while_idle = len(daemon.asked) - after_flush
        _, err = process.communicate("\n", timeout=30)
        uploads = len(daemon.uploads())
        others = [asked.command for asked in daemon.asked if not asked.body]

    assert (0, "") == (process.returncode, err)
    assert 0 == while_idle
    assert 1 == uploads
    assert len(others) <= 2, others
    found = programs.adopted(home)
    oracle.exactly_once([*(f"r{i}" for i in range(20))], [each["event"] for each in found if each["logger"] == "t"])
    assert {"t", "py.warnings"} == {each["logger"] for each in found}


@pytest.mark.parametrize("trouble", ["refused", "denied", "broken"])
def test_our_own_troubles_are_told_elsewhere(home, trouble):
    """Pitfall 18: a store in trouble is told by `status`, never printed, never logged into the log that is failing."""
    body = """
        configure(level="DEBUG", kubo=KUBO, flush_timeout=1.0)
        for i in range(20): log.info("r%d", i)
        [h] = logging.getLogger().handlers
        until = time.monotonic() + 60
        while not h.status()[0]["last_error"] and time.monotonic() < until:
            h.flush()
            time.sleep(0.05)
        print(json.dumps([each["last_error"] for each in h.status()]))
    """
    with FakeDaemon() as daemon:
        url = daemon.url
        if trouble == "refused":
            url = "http://127.0.0.1:9"
        elif trouble == "denied":
            daemon.always("version", error(403, "403 - Forbidden"))
        else:
            daemon.always("dag/import", error(500, "the disk of the daemon is on fire"))
        ended = programs.run(home, body, KUBO=url, options=("-X", "dev")).clean()

    [told] = json.loads(ended.out)
    assert {"refused": "127.0.0.1:9", "denied": "403", "broken": "on fire"}[trouble] in told
    oracle.exactly_once([f"r{i}" for i in range(20)], [each["event"] for each in programs.adopted(home)])


def test_an_event_loop_is_not_held_up_by_the_disk(home):
    """Pitfall 22: while every fsync of the keeper hangs, a coroutine logs on: emit waits for none of them."""
    body = """
        import asyncio
        stalled, released = threading.Event(), threading.Event()
        def stall(descriptor):
            stalled.set()
            assert released.wait(30)
        os.fsync = os.fdatasync = stall
        configure(batch={"records": 10, "seconds": 0.05})
        async def main():
            for i in range(10): log.info("r%d", i)
            while not stalled.is_set(): await asyncio.sleep(0.01)
            for i in range(10, 500): log.info("r%d", i)
            assert not released.is_set()
        asyncio.run(main())
        released.set()
    """

    programs.run(home, body).clean()

    oracle.exactly_once([f"r{i}" for i in range(500)], [each["event"] for each in programs.adopted(home)])


def test_context_is_read_on_the_caller(home):
    """Pitfall 22: what a filter reads from contextvars, and the name of the task, are those of the task that logs."""
    body = """
        import asyncio, contextvars
        request = contextvars.ContextVar("request", default="none")
        def add(record): record.request = request.get(); return True
        configure()
        [h] = logging.getLogger().handlers
        h.addFilter(add)
        if sys.version_info >= (3, 12): h.setFormatter(logging.Formatter("%(taskName)s"))
        async def one(n):
            request.set("request-%d" % n)
            for _ in range(5):
                log.info("request-%d", n)
                await asyncio.sleep(0)
        async def main():
            await asyncio.gather(*(asyncio.create_task(one(n), name="request-%d" % n) for n in range(20)))
        asyncio.run(main())
    """

    programs.run(home, body).clean()

    found = programs.adopted(home)
    assert [(each["event"], each["event"]) for each in found] == [(each["event"], each["request"]) for each in found]
    oracle.exactly_once([f"request-{n}" for n in range(20) for _ in range(5)], [each["event"] for each in found])
