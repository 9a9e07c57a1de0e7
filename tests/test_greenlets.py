"""Programs that gevent has patched: greenlets and threads of its pool log, and a real thread keeps the home."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import oracle, programs
from tests.kubo.daemon import Daemon

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
