"""Flush and close, in every state of a program: what they wait for, and what they leave behind."""

from __future__ import annotations

import json
import textwrap

import pytest

from tests.support import oracle, programs
from tests.support.ended_programs import delivered, durable
from tests.support.machine import assert_in_time


def test_without_a_keeper_flush_waits_for_nothing(home):
    """`keeper="none"`: records are durable, no thread starts, nothing is sealed, the end takes no time."""
    body = """
        configure(kubo="http://127.0.0.1:9", keeper="none")
        log.info("kept")
        print([t.name for t in threading.enumerate()])
        begun = time.monotonic(); logging.shutdown(); print(time.monotonic() - begun)
    """

    ended = programs.run(home, body).clean()

    names, seconds = ended.out.splitlines()
    assert "['MainThread']" == names
    assert_in_time(float(seconds), 0.5)
    assert not (home / "logs" / "head").exists()
    assert ["kept"] == [record["event"] for record in oracle.spooled(home)]


@pytest.mark.parametrize("how", ["raise RuntimeError(1)", "pass"], ids=["refused", "never runs"])
def test_where_no_thread_can_start_the_calling_thread_ships(home, kubo, how):
    """Under limits, or where threads never run: emit is durable, and flush does the keeper's work itself."""
    body = """
        def start(self):
            HOW
        threading.Thread.start = start
        configure(kubo=KUBO, flush_timeout=40.0)
        for i in range(30): log.info("r%d", i)
        [h] = logging.getLogger().handlers
        h.flush()
        print("flushed")
    """.replace("HOW", how)

    ended = programs.run(home, body, KUBO=kubo.host_url).clean()

    assert "flushed" in ended.out
    oracle.exactly_once([f"r{i}" for i in range(30)], delivered(kubo, home))


@pytest.mark.parametrize("threads", [True, False])
def test_inside_a_running_event_loop_flush_works(home, kubo, threads):
    """In a coroutine: with a thread all is shipped; where none can start all is sealed, and exit ships it."""
    body = """
        import asyncio
        if not THREADS:
            def start(self): raise RuntimeError("can't start new thread")
            threading.Thread.start = start
        configure(kubo=KUBO)
        async def main():
            log.info("from a coroutine")
            [h] = logging.getLogger().handlers
            h.flush()
            from pathlib import Path
            print((Path(HOME) / "logs" / "head").exists())
        asyncio.run(main())
    """

    ended = programs.run(home, body, KUBO=kubo.url, THREADS=threads).clean()

    assert "True\n" == ended.out
    assert ["from a coroutine"] == delivered(kubo, home)


SEALING_FAILS_TWICE = """
    from ipfs_log_handlers.keeper.log_writer import LogWriter
    put, failures = LogWriter.put, []
    def put_or_fail(self, *args):
        if failures: raise failures.pop()
        return put(self, *args)
    LogWriter.put = put_or_fail
    configure(kubo=KUBO, flush_timeout=50.0, batch={"seconds": 3600})
    [h] = logging.getLogger().handlers
    log.info("keeper"); h.flush()
    failures += [OSError(5, "Input/output error")] * 2
"""
LOG_AND_FLUSH = """
    log.info("kept")
    begun = time.monotonic(); h.flush(); print(time.monotonic() - begun < 40)
"""


def test_a_flush_waits_until_a_failure_of_sealing_is_over(home, kubo):
    """The flush asks again, and ends well before its deadline."""
    ended = programs.run(home, SEALING_FAILS_TWICE + LOG_AND_FLUSH, KUBO=kubo.url).clean()

    assert "True\n" == ended.out
    assert ["keeper", "kept"] == delivered(kubo, home)


def test_a_flush_waits_until_a_failure_of_another_keeper_is_over(home, kubo):
    """The same where another process is the keeper, and knows the flush from the file of a request."""
    body = """
        configure(kubo=KUBO, flush_timeout=50.0, batch={"seconds": 3600})
        [h] = logging.getLogger().handlers
    """
    keeper = programs.start(home, f"{SEALING_FAILS_TWICE}    print(len(failures), flush=True); input()", KUBO=kubo.url)
    with programs.killed_after_error(keeper):
        assert keeper.stdout is not None
        assert "2\n" == keeper.stdout.readline()

        ended = programs.run(home, textwrap.dedent(body) + textwrap.dedent(LOG_AND_FLUSH), KUBO=kubo.url).clean()

        keeper.communicate("\n")
    assert ("True\n", 0) == (ended.out, keeper.returncode)
    assert ["keeper", "kept"] == delivered(kubo, home)


def test_close_in_every_order_and_twice(home):
    """Flush, close, emit, from this thread and another, in any order and twice: no error, every record once."""
    body = """
        import itertools
        configure()
        [h] = logging.getLogger().handlers
        count = 0
        def emit():
            global count
            log.info("r%d", count); count += 1
        def elsewhere():
            thread = threading.Thread(target=h.close); thread.start(); thread.join()
        for order in itertools.permutations([h.flush, h.close, emit, elsewhere]):
            for step in order + order: step()
        print(count)
    """

    ended = programs.run(home, body).clean()

    oracle.exactly_once([f"r{i}" for i in range(int(ended.out))], durable(home))


def test_dictconfig_again_while_the_daemon_is_silent(home, silent):
    """A second dictConfig beside a silent store and four threads that log: quick, nothing lost."""
    body = """
        configure(kubo=KUBO, flush_timeout=4.0)
        [old] = logging.getLogger().handlers
        kept = logging.getLogger("kept"); kept.addHandler(old); kept.propagate = False; kept.setLevel("INFO")
        stop = threading.Event(); counts = [0] * 4; ready = threading.Semaphore(0)
        def chatter(n):
            logger = kept if n % 2 else log
            while not stop.is_set():
                logger.info("t%d %d", n, counts[n]); counts[n] += 1
                if counts[n] == 100: ready.release()
                time.sleep(0.0002)
        threads = [threading.Thread(target=chatter, args=(n,)) for n in range(4)]
        for each in threads: each.start()
        for each in threads: ready.acquire()
        begun = time.monotonic()
        configure(kubo=KUBO, flush_timeout=4.0)
        took = time.monotonic() - begun
        seen = list(counts)
        while any(now < before + 50 for now, before in zip(counts, seen)): time.sleep(0.01)
        stop.set()
        for each in threads: each.join()
        kept.info("the old handler still writes")
        print(json.dumps([took, counts]))
    """

    ended = programs.run(home, body, KUBO=silent.url).clean()

    took, counts = json.loads(ended.out)
    assert_in_time(took, 1.0)
    wanted = [f"t{n} {i}" for n in range(4) for i in range(counts[n])]
    lost = set(wanted) - set(durable(home))
    for n in range(4):  # dictConfig leaves the root logger without a handler for one moment: those were never ours
        gone = sorted(int(each.split()[1]) for each in lost if each.startswith(f"t{n} "))
        assert gone == (list(range(gone[0], gone[0] + len(gone))) if gone and n % 2 == 0 else [])
    found = durable(home)
    assert len(found) == len(set(found))
    assert "the old handler still writes" in found


def test_threads_and_descriptors_are_gone_after_close(home, kubo):
    """After the last close the process has no thread and no descriptor of ours; a later handler starts anew."""
    body = """
        def open_now(): return len(os.listdir("/proc/self/fd"))
        configure(kubo=KUBO)
        before = open_now()
        for turn in range(3):
            configure(kubo=KUBO)
            log.info("turn %d", turn)
            logging.shutdown()
            assert threading.active_count() == 1, threading.enumerate()
            assert open_now() == before, (open_now(), before)
    """

    programs.run(home, body, KUBO=kubo.url).clean()

    oracle.exactly_once([f"turn {n}" for n in range(3)], delivered(kubo, home))


def test_a_flush_that_waits_holds_no_lock(home, silent):
    """While one thread waits in flush for a silent store, others log at full pace."""
    body = """
        configure(kubo=KUBO, flush_timeout=2.0)
        log.info("r0")
        [h] = logging.getLogger().handlers
        waiting = threading.Thread(target=h.flush); waiting.start()
        worst = 0.0
        count = 1
        while waiting.is_alive():
            begun = time.monotonic(); log.info("r%d", count); worst = max(worst, time.monotonic() - begun); count += 1
            time.sleep(0.005)
        print(worst, count)
    """

    ended = programs.run(home, body, KUBO=silent.url).clean()

    worst, count = ended.out.split()
    assert_in_time(float(worst), 0.5)
    assert int(count) > 20
    oracle.exactly_once([f"r{i}" for i in range(int(count))], durable(home))


@pytest.mark.parametrize(
    "call", ["h.flush()", 'log.info("two", extra={"subsystem": "audit"})'], ids=["flush", "record"]
)
def test_nothing_waits_for_an_import_of_the_keeper(home, silent, call):
    """The keeper imports the libraries of a store late, and slowly on a busy machine: flush and records go on."""
    body = """
        from ipfs_log_handlers.concurrency import fork
        imports, done = threading.Event(), threading.Event()
        def import_slowly():
            with fork.importing():
                imports.set()
                print(done.wait(30))
        configure(subsystem=None, kubo=KUBO, flush_timeout=0.5)
        [h] = logging.getLogger().handlers
        log.info("one")
        importer = threading.Thread(target=import_slowly); importer.start(); imports.wait()
        CALL
        done.set(); importer.join()
    """.replace("CALL", call)

    ended = programs.run(home, body, KUBO=silent.url).clean()

    assert "True\n" == ended.out
