"""The end of a program: what other people's handlers, threads, destructors and signals do to the last records."""

from __future__ import annotations

import json

import pytest

from ipfs_log_handlers.testing import FakeDaemon, Said
from tests.support import oracle, programs
from tests.support.machine import assert_in_time

SLACK_S = 2.0
"""What the end may take beside `flush_timeout`."""


def events(home):
    """Return the events that the next start finds."""
    return [record["event"] for record in programs.adopted(home)]


def pinned(daemon, home):
    """Say whether a daemon holds every batch of the home's log."""
    there = {cid.text for cid in daemon.store.pins}
    [log] = oracle.read_home(home)["logs"]
    return {batch.cid for batch in log.batches} <= there


def test_a_handler_that_raises_ends_shutdown_and_costs_no_record(home):
    """Pitfall 2: `logging.shutdown` ends before it reaches ours; the next start finds every record."""
    body = """
        class Bad(logging.Handler):
            def emit(self, record): pass
            def flush(self): raise RuntimeError("bad")
        configure()
        logging.getLogger().addHandler(Bad())
        for i in range(100): log.info("r%d", i)
        try: logging.shutdown()
        except RuntimeError as error: print(error, flush=True)
        os._exit(0)
    """

    ended = programs.run(home, body).clean()

    assert "bad\n" == ended.out
    oracle.exactly_once([f"r{i}" for i in range(100)], events(home))


def test_flush_and_close_never_raise(home):
    """Pitfall 2: the home gone, a file in its place: flush, close and emit raise nothing, and a line says the loss."""
    body = """
        import shutil
        configure(flush_timeout=0.5)
        log.info("gone")
        shutil.rmtree(HOME)
        with open(HOME, "w") as file: file.write("not a home")
        [h] = logging.getLogger().handlers
        h.flush(); h.close(); log.info("nowhere"); h.flush(); h.close()
        logging.shutdown()
        print("alive")
    """

    ended = programs.run(home, body)
    assert (0, "alive\n") == (ended.code, ended.out), ended.err
    lines = ended.err.splitlines()
    assert lines
    assert all(line.startswith("ipfs_log_handlers: logs: 1 record was lost (the ") for line in lines), ended.err
    assert len(lines) == len({line.partition(")")[0] for line in lines}), "a reason is said once a minute"


@pytest.mark.parametrize("remote", ["up", "down", "silent"])
def test_an_uploader_that_logs_on_every_request(home, remote):
    """Pitfall 3: with a store that logs as it ships, and a thread that goes on logging, shutdown keeps its deadline."""
    body = """
        configure(level="DEBUG", kubo=KUBO, flush_timeout=2.0)
        log.info("t 0")
        import ipfs_log_handlers.stores.kubo as kubo
        real, requests = kubo.KuboStore.ship, []
        async def ship(self, *args, **options):
            requests.append(1)
            logging.getLogger("uploader").warning("request")
            return await real(self, *args, **options)
        kubo.KuboStore.ship = ship
        over, count = threading.Event(), 1
        def chatter():
            global count
            while not over.is_set():
                log.info("t %d", count); count += 1
                time.sleep(0.002)
        thread = threading.Thread(target=chatter); thread.start()
        before, begun = count, time.monotonic()
        logging.shutdown()
        took, during = time.monotonic() - begun, count - before
        over.set(); thread.join()
        print(json.dumps([took, during, count, len(requests)]))
    """
    with FakeDaemon() as daemon:
        url = daemon.url
        if remote == "silent":
            for command in ("version", "dag/import"):
                daemon.always(command, Said(then="hang"))
        elif remote == "down":
            url = "http://127.0.0.1:9"
        ended = programs.run(home, body, KUBO=url).clean()

    took, during, count, requests = json.loads(ended.out)
    assert_in_time(took, 2.0 + SLACK_S)
    assert during > 0
    assert requests > 0
    oracle.exactly_once([f"t {i}" for i in range(count)], events(home))


def test_dictconfig_again_and_again_uploads_nothing_twice(home):
    """Pitfall 4: five new configurations while four threads log: every batch is uploaded once, every record is there.

    For one moment dictConfig leaves the logger without any handler: what is logged in it reached none of ours.
    """
    body = """
        # The threads outrun the keeper: a longer flush only lets more records wait.
        settings = dict(kubo=KUBO, batch={"records": 20, "seconds": 0.1}, flush_timeout=5.0)
        configure(**settings)
        kept = logging.getLogger("kept"); kept.propagate = False; kept.setLevel("INFO")
        kept.addHandler(logging.getLogger().handlers[0])
        stop, counts = threading.Event(), [0] * 4
        def chatter(n):
            while not stop.is_set():
                kept.info("t%d %d", n, counts[n]); counts[n] += 1
                time.sleep(0.001)
        threads = [threading.Thread(target=chatter, args=(n,)) for n in range(4)]
        for each in threads: each.start()
        for turn in range(5):
            configure(**settings)
            seen = list(counts)
            kept.handlers[0]._recorder.home.keeper.ask()
            if turn == 2: logging.getLogger().handlers[0].flush()  # a slow keeper makes one batch of all otherwise
            while any(now < before + 20 for now, before in zip(counts, seen)): time.sleep(0.005)
        stop.set()
        for each in threads: each.join()
        print(json.dumps(counts))
    """
    with FakeDaemon() as daemon:
        ended = programs.run(home, body, KUBO=daemon.url).clean()
        assert pinned(daemon, home)
        bodies = [asked.body for asked in daemon.uploads()]

    [log] = oracle.read_home(home)["logs"]
    counts = json.loads(ended.out)
    oracle.exactly_once([f"t{n} {i}" for n in range(4) for i in range(counts[n])], events(home))
    assert len(log.batches) > 1
    payloads = [oracle._cid_bytes(batch.manifest["payload"]) for batch in log.batches]
    assert [2] * len(payloads) == [sum(body.count(cid) for body in bodies) for cid in payloads]  # link, and block


def test_flush_and_close_in_a_child(home):
    """Pitfall 5: a forked child flushes and closes its parent's handler, twice, and logs: neither loses a record."""
    body = """
        configure(batch={"seconds": 0.05})
        [h] = logging.getLogger().handlers
        log.info("parent 0")
        for turn in range(3):
            pid = os.fork()
            if pid == 0:
                for step in (h.flush, h.close, h.flush, h.close):
                    step(); log.info("child %d", turn)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            log.info("parent %d", turn + 1); h.flush()
    """

    programs.run(home, body, options=("-W", "ignore::DeprecationWarning")).clean()

    expected = [*(f"parent {i}" for i in range(4)), *(f"child {i}" for i in range(3) for _ in range(4))]
    oracle.exactly_once(expected, events(home))


@pytest.mark.parametrize(
    "how", ["os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGTERM)", "os._exit(0)"]
)
def test_ended_right_after_the_last_call(home, kubo, how):
    """Pitfall 6: killed, terminated or left by `os._exit` as the last call returns: 100 of 100 after the next start."""
    body = "configure(kubo=KUBO)\nfor i in range(100): log.info('r%d', i)\n" + how

    assert programs.run(home, body, KUBO=kubo.url).code in {-9, -15, 0}
    programs.run(home, "configure(kubo=KUBO, flush_timeout=20.0); log.info('next')", KUBO=kubo.url).clean()

    [log] = oracle.read_home(home)["logs"]
    there = oracle.read_daemon(lambda cid: kubo.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
    oracle.exactly_once([*(f"r{i}" for i in range(100)), "next"], [record["event"] for record in there.records])
    assert log.head_cid in kubo.pins()


def test_a_thread_that_outlives_main(home):
    """Pitfall 8: what a thread logs after the main thread has returned is shipped like all else."""
    body = """
        configure(kubo=KUBO)
        def late():
            threading.main_thread().join()
            log.info("after main")
        log.info("main")
        threading.Thread(target=late).start()
    """
    with FakeDaemon() as daemon:
        programs.run(home, body, KUBO=daemon.url).clean()
        assert pinned(daemon, home)

    oracle.exactly_once(["main", "after main"], events(home))


@pytest.mark.parametrize("where", ["__main__", "builtins"])
def test_a_destructor_that_logs_as_modules_are_cleared(home, where):
    """Pitfall 9: an object that a module holds until the interpreter clears it logs in its `__del__`: all is there."""
    body = """
        class Last:
            def __init__(self): self.log = log
            def __del__(self):
                self.log.info("plain", extra={"a": [1]})
                try: 1 / 0
                except ZeroDivisionError: self.log.exception("failed")
                self.log.info('{"a": 1}')
        configure()
        log.info("early")
        sys.modules[WHERE].kept = Last()
        del log
    """

    programs.run(home, body, WHERE=where).clean()

    oracle.exactly_once(["early", "plain", "failed", '{"a": 1}'], events(home))


IN_DICTCONFIG = """
    inside, going_on = threading.Event(), threading.Event()
    class Marker(logging.Handler):
        def emit(self, record): pass
        def close(self):  # dictConfig closes the youngest first: us after this one
            inside.set(); going_on.wait(1)
            super().close()
"""


def test_dictconfig_while_another_thread_imports_what_its_first_record_needs(home):
    """Pitfall 4: dictConfig holds logging's lock, a library that is being imported wants it: neither waits for ever."""
    body = f"""{IN_DICTCONFIG}
    importing = threading.Event()
    class Slow:
        def find_spec(self, name, path=None, target=None):
            if name == "concurrent.futures":
                importing.set(); inside.wait(10)
    sys.meta_path.insert(0, Slow())
    configure()
    marker = Marker()
    thread = threading.Thread(target=log.info, args=("first",)); thread.start()
    assert importing.wait(10)
    configure()
    thread.join()
    log.info("second")
    """

    programs.run(home, body).clean()

    oracle.exactly_once(["first", "second"], events(home))


def test_a_fork_while_another_thread_is_inside_dictconfig(home):
    """Pitfalls 4 and 11: fork and dictConfig take logging's lock and ours in one order: neither waits for ever."""
    body = f"""{IN_DICTCONFIG}
    os.register_at_fork(before=lambda: going_on.set())
    configure()
    log.info("first")
    marker = Marker()
    thread = threading.Thread(target=configure); thread.start()
    assert inside.wait(10)
    pid = os.fork()
    log.info("second" if pid else "child")
    if pid == 0: os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
    """

    programs.run(home, body, options=("-W", "ignore::DeprecationWarning")).clean()

    assert {"first", "second"} <= set(events(home)) <= {"first", "second", "child"}
