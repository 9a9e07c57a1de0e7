"""Programs that gevent or eventlet has patched: greenlets and threads log, and the keeper runs in a real thread."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubo.daemon import Daemon
from tests.support import oracle, programs

PATCHED = ("-m", "gevent.monkey")
"""Runs a program with everything patched before its first line."""
LOG = """
    import gevent
    configure(kubo=KUBO, flush_timeout=20.0, batch={"records": 100, "seconds": 0.05})
    def native(n):
        for i in range(COUNT): log.info("native %d %d", n, i)
    def green(n):
        for i in range(COUNT):
            log.info("green %d %d", n, i)
            if i % 10 == 0: gevent.sleep(0)
    pool = gevent.get_hub().threadpool
    def everyone(): return [pool.spawn(native, n) for n in range(4)] + [gevent.spawn(green, n) for n in range(4)]
"""


def check(home: Path, kubo: Daemon, count: int) -> None:
    """Each record once, in the daemon too, and each line of execution's in its order."""
    [log] = oracle.read_home(home)["logs"]
    events = [record["event"] for record in log.records]
    each_one = {
        f"{kind} {n}": [f"{kind} {n} {i}" for i in range(count)] for kind in ("native", "green") for n in range(4)
    }
    oracle.exactly_once([event for expected in each_one.values() for event in expected], events)
    for one, expected in each_one.items():
        assert expected == [event for event in events if event.startswith(f"{one} ")]
    assert log.head_cid in kubo.pins()


def test_a_pool_of_threads_beside_greenlets(home: Path, kubo: Daemon) -> None:
    """Pitfall 23: threads of gevent's pool and greenlets log at once: none waits for ever, all is shipped at exit."""
    body = f"{LOG}    left = everyone(); assert len(left) == len(gevent.joinall(left, timeout=60))"

    programs.run(home, body, options=PATCHED, KUBO=kubo.url, COUNT=200).clean()

    check(home, kubo, 200)


def test_the_keeper_beside_greenlets(home: Path, kubo: Daemon) -> None:
    """The keeper ships while the program lives, though the first record came from a thread of the pool."""
    body = f"""{LOG}
    pool.apply(native, (9,))
    gevent.joinall(everyone())
    [h] = logging.getLogger().handlers
    while h.status()[0]["shipped"] < 9 * COUNT: gevent.sleep(0.01)
    os._exit(0)
    """

    programs.run(home, body, options=PATCHED, KUBO=kubo.url, COUNT=20).clean()

    [log] = oracle.read_home(home)["logs"]
    assert 9 * 20 == len(log.records)
    assert log.head_cid in kubo.pins()


@pytest.mark.parametrize("threads", [True, False], ids=["patched", "without threads"])
def test_a_fork_beside_greenlets(home: Path, threads: bool) -> None:
    """A child that gevent forks logs, seals and ends as its parent does, whether threads were patched or not."""
    body = """
        from gevent import monkey; monkey.patch_all(thread=THREADS)
        configure()
        log.info("parent")
        pid = os.fork()
        if pid == 0:
            log.info("child")
            sys.exit(0)
        assert (pid, 0) == os.waitpid(pid, 0)
    """

    programs.run(home, body, options=("-W", "ignore"), THREADS=threads).clean()

    oracle.exactly_once(["parent", "child"], [record["event"] for record in oracle.sealed_records(home)])


@pytest.mark.parametrize("threads", [True, False], ids=["patched", "without threads"])
def test_no_directory_stays_open_beside_greenlets(home: Path, threads: bool) -> None:
    """Pitfall 23: gevent closes directories when the loop of the calling thread runs; the keeper's thread has none."""
    body = """
        from gevent import monkey; monkey.patch_all(thread=THREADS)
        configure()
        [h] = logging.getLogger().handlers
        for i in range(10): log.info("record %d", i); h.flush()
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        print(sum(os.path.isdir(link) and os.path.realpath(link).startswith(HOME) for link in links))
    """

    ended = programs.run(home, body, options=("-W", "ignore"), THREADS=threads).clean()

    assert int(ended.out) < 10  # the keeper may be on its way through some directories; before, these were hundreds


EVENTLET = """
    import eventlet
    from eventlet import tpool
    if WHEN == "first": eventlet.monkey_patch(**PATCHES)
    settings = {"flush_timeout": 20.0, "batch": {"records": 100, "seconds": 0.05}}
    configure(kubo=KUBO, **settings)
    [h] = logging.getLogger().handlers
    if WHEN == "after the first record": log.info("before")
    if WHEN != "first": eventlet.monkey_patch(**PATCHES)
    pauses = []
    def tick():
        while True:
            begun = time.monotonic(); eventlet.sleep(0.01); pauses.append(time.monotonic() - begun)
    def native(n):
        for i in range(COUNT): log.info("native %d %d", n, i)
    def green(n):
        for i in range(COUNT):
            log.info("green %d %d", n, i)
            if i % 10 == 0: eventlet.sleep(0)
"""
_IGNORE_WARNINGS = ("-W", "ignore")
"""eventlet calls itself deprecated."""


@pytest.mark.parametrize("patches", [{}, {"os": True, "socket": True}], ids=["everything", "sockets only"])
@pytest.mark.parametrize("when", ["first", "after the configuration", "after the first record"])
def test_a_program_that_eventlet_has_patched(home: Path, kubo: Daemon, when: str, patches: dict[str, bool]) -> None:
    """Pitfall 23: greenlets and threads of eventlet's pool log at once; the keeper ships while the program lives."""
    body = f"""{EVENTLET}
    everyone = [eventlet.spawn(tpool.execute, native, n) for n in range(4)]
    everyone += [eventlet.spawn(green, n) for n in range(4)]
    for one in everyone: one.wait()
    logged = 8 * COUNT + (WHEN == "after the first record")
    end = time.monotonic() + 30
    while h.status()[0]["shipped"] < logged and time.monotonic() < end: eventlet.sleep(0.01)
    print(h.status()[0]["shipped"] - logged)
    log.info("at the end")
    """

    ended = programs.run(home, body, options=_IGNORE_WARNINGS, KUBO=kubo.url, COUNT=50, WHEN=when, PATCHES=patches)

    assert (0, "0\n") == (ended.code, ended.out)
    said = [line for line in ended.err.splitlines() if "RLock(s) were not greened" not in line]  # eventlet's advice
    assert [] == said
    [log] = oracle.read_home(home)["logs"]
    logged = [f"{kind} {n} {i}" for kind in ("native", "green") for n in range(4) for i in range(50)]
    before = ["before"] if when == "after the first record" else []
    oracle.exactly_once([*before, *logged, "at the end"], [record["event"] for record in log.records])
    assert log.head_cid in kubo.pins()


def test_greenlets_of_eventlet_run_while_another_process_is_the_keeper(home: Path) -> None:
    """Pitfall 23: a program that waits for its turn at the lock, and flushes, stops none of its greenlets."""
    keeper = programs.start(home, 'configure(batch={"seconds": 3600}); log.info("keeper"); print(flush=True); input()')
    body = f"""{EVENTLET}
    log.info("imports what the first record needs")
    waiting = eventlet.spawn(tick); eventlet.sleep(0.1)
    log.info("logged"); eventlet.sleep(2.5)
    h.flush()
    waiting.kill()
    print(max(pauses) < 1.0, len(pauses) > 10)
    """
    assert keeper.stdout is not None
    keeper.stdout.readline()

    ended = programs.run(home, body, options=_IGNORE_WARNINGS, KUBO=None, WHEN="first", PATCHES={}).clean()

    keeper.communicate("end")
    assert "True True\n" == ended.out


@pytest.mark.parametrize("patcher", ["gevent", "eventlet"])
def test_a_flush_beside_a_silent_daemon_lets_greenlets_run(home: Path, patcher: str) -> None:
    """While a flush waits for its deadline, other greenlets of its thread go on."""
    body = """
        if PATCHER == "eventlet":
            import eventlet as green; green.monkey_patch()
        else:
            import gevent.monkey, gevent as green; gevent.monkey.patch_all()
        import socket
        silent = socket.socket(); silent.bind(("127.0.0.1", 0)); silent.listen(50)
        configure(kubo=f"http://127.0.0.1:{silent.getsockname()[1]}", flush_timeout=5.0)
        [h] = logging.getLogger().handlers
        log.info("one")
        ticks = []
        def tick():
            while True: ticks.append(1); green.sleep(0.02)
        green.spawn(tick); green.sleep(0.05)
        before = len(ticks); h.flush(); print(len(ticks) - before > 10, flush=True)
        os._exit(0)
    """

    ended = programs.run(home, body, options=_IGNORE_WARNINGS, PATCHER=patcher).clean()

    assert "True\n" == ended.out
