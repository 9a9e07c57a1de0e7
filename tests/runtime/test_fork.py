"""Forks, pools and daemonizers: no child hangs, none repeats what its parent logged, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.testing import FakeDaemon, Said
from tests.support import oracle, programs
from tests.support.machine import assert_in_time

FORKS_WARN = ("-W", "ignore::DeprecationWarning")
"""3.12 and later warn of a fork beside threads; that is the program's choice."""


# -- os.fork

HAMMER = """
    configure(**SETTINGS)
    stop = threading.Event(); counts = [0] * 4; ready = threading.Semaphore(0)
    def hammer(n):
        while not stop.is_set():
            log.info("t%d %d", n, counts[n]); counts[n] += 1
            if counts[n] == WARM: ready.release()
            if PAUSE: time.sleep(PAUSE)
    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(4)]
    for each in threads: each.start()
    if WARM:
        for each in threads: ready.acquire()
    failed = []
    for n in range(FORKS):
        pid = os.fork()
        if pid == 0:
            import faulthandler; faulthandler.dump_traceback_later(20, exit=True)
            log.info("child %d", n)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status: failed.append((n, status)); break
    stop.set()
    for each in threads: each.join()
    log.info("parent, after the forks")
    assert not failed, failed
    print(json.dumps(counts))
"""


def check_hammer(home: Path, counts: list[int], forks: int) -> None:
    """Every record of `HAMMER` is there once, each thread's in order, each child's under its own pid."""
    records = programs.adopted(home)
    events = [record["event"] for record in records]
    expected = [f"t{n} {i}" for n in range(4) for i in range(counts[n])]
    oracle.exactly_once([*expected, *(f"child {n}" for n in range(forks)), "parent, after the forks"], events)
    by_event = {record["event"]: record["pid"] for record in records}
    parent = by_event["parent, after the forks"]
    assert parent not in {by_event[f"child {n}"] for n in range(forks)}
    assert {parent} == {by_event[event] for event in expected}
    for n in range(4):
        assert [f"t{n} {i}" for i in range(counts[n])] == [each for each in events if each.startswith(f"t{n} ")]


@pytest.mark.parametrize("forks", [100, pytest.param(500, marks=pytest.mark.soak)])
def test_forks_beside_four_threads_that_log(home, forks):
    """Children, forked while 4 threads log and the keeper seals, log once each and leave by `os._exit`."""
    settings = {"batch": {"records": 50, "seconds": 0.05}}

    ended = programs.run(
        home, HAMMER, options=FORKS_WARN, SETTINGS=settings, FORKS=forks, WARM=50, PAUSE=0.0005, deadline_s=600
    ).clean()

    check_hammer(home, json.loads(ended.out), forks)


@pytest.mark.parametrize("warm", [0, 1, 3])
def test_forks_while_the_first_records_are_logged(home, kubo, warm):
    """Forks in the first moments, while modules and libraries are being imported, leave no child that hangs."""
    ended = programs.run(
        home,
        HAMMER,
        options=FORKS_WARN,
        SETTINGS={"kubo": kubo.host_url, "batch": {"records": 50, "seconds": 0.05}},
        FORKS=40,
        WARM=warm,
        PAUSE=0.002,
        deadline_s=120,
    ).clean()

    check_hammer(home, json.loads(ended.out), 40)


def test_forks_while_the_keeper_ships(home, kubo):
    """Forks while uploads are under way: the parent's keeper goes on, no child touches its connections."""
    body = HAMMER.replace(
        "stop = threading.Event()",
        "[h] = logging.getLogger().handlers\n    log.info('t0 0'); h.flush(); stop = threading.Event()",
    ).replace("counts = [0] * 4", "counts = [1, 0, 0, 0]")
    settings = {"kubo": kubo.host_url, "batch": {"records": 20, "seconds": 0.05}, "flush_timeout": 20.0}

    ended = programs.run(
        home, body, options=FORKS_WARN, SETTINGS=settings, FORKS=60, WARM=20, PAUSE=0.001, deadline_s=120
    ).clean()

    [log] = oracle.read_home(home)["logs"]
    there = oracle.read_daemon(lambda cid: kubo.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
    assert "parent, after the forks" in [record["event"] for record in there.records]
    check_hammer(home, json.loads(ended.out), 60)


def test_a_child_inherits_no_lock_and_frees_none(home):
    """While the parent keeps the home a child neither holds nor frees its locks; when it leaves they are free."""
    body = """
        configure(batch={"seconds": 0.05, "records": 10})
        from pathlib import Path
        log.info("parent")
        [h] = logging.getLogger().handlers
        h.flush()
        held = {p for p in Path(HOME).rglob("*") if p.name == "keeper.lock" or p.suffix == ".seg"}
        def open_here():
            found = set()
            for each in os.listdir("/proc/self/fd"):
                try: found.add(os.readlink("/proc/self/fd/" + each))
                except OSError: pass
            return found & {str(p) for p in held}
        assert len(open_here()) == 2, open_here()
        asked, told = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(told[1], json.dumps(sorted(open_here())).encode())
            os.read(asked[0], 1)  # outlives the parent's keeper
            os._exit(0)
        print(os.read(told[0], 999).decode())
        import fcntl
        for path in held:  # still locked, though the child closed its copies
            with open(path) as file:
                try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); print("free:", path.name)
                except BlockingIOError: pass
        logging.shutdown()
        for path in held:
            if path.exists():
                with open(path) as file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(asked[1], b"x")
        os.waitpid(pid, 0)
    """

    ended = programs.run(home, body, options=FORKS_WARN).clean()

    assert ["[]"] == ended.out.splitlines()


def test_a_child_that_lives_on_keeps_and_ships(home, kubo):
    """The parent leaves at once, the child goes on and logs, as a daemonizer does: all is shipped at its end."""
    body = """
        configure(kubo=KUBO, flush_timeout=20.0)
        for i in range(10): log.info("parent %d", i)
        [h] = logging.getLogger().handlers
        h.flush()
        if os.fork(): os._exit(0)
        os.setsid()
        for i in range(10): log.info("child %d", i)
    """

    programs.run(home, body, KUBO=kubo.host_url, options=FORKS_WARN).clean()

    [log] = oracle.read_home(home)["logs"]
    assert log.head_cid in kubo.pins()
    oracle.exactly_once(
        [f"{who} {i}" for who in ("parent", "child") for i in range(10)], [record["event"] for record in log.records]
    )


def test_a_child_of_a_program_with_a_silent_store_leaves_in_time(home):
    """A child that ends normally beside a silent store has its own deadline, and no more than that."""
    with FakeDaemon() as daemon:
        daemon.always("version", Said(then="hang"))
        body = """
            configure(kubo=KUBO, flush_timeout=1.5)
            log.info("parent")
            [h] = logging.getLogger().handlers
            h.flush()
            begun = time.monotonic()
            pid = os.fork()
            log.info("child" if pid == 0 else "parent again")
            if pid == 0: sys.exit(0)
            os.waitpid(pid, 0)
            print(time.monotonic() - begun)
        """
        ended = programs.run(home, body, KUBO=daemon.url, options=FORKS_WARN).clean()

    assert_in_time(float(ended.out), 1.5 + 2.0)
    oracle.exactly_once(["parent", "child", "parent again"], [record["event"] for record in programs.adopted(home)])


# -- multiprocessing

IN_CHILDREN = """
    import multiprocessing
    def work(n):
        if METHOD != "fork": configure(**SETTINGS)
        log.info("worker %d", n)
    if __name__ == "__main__":
        configure(**SETTINGS)
        log.info("parent")
        context = multiprocessing.get_context(METHOD)
        RUN
        log.info("parent")
"""
KINDS = {
    "Process": """
        children = [context.Process(target=work, args=(n,)) for n in range(10)]
        for each in children: each.start()
        for each in children: each.join()
        assert [0] * 10 == [each.exitcode for each in children]""",
    "Pool closed": """
        pool = context.Pool(3)
        pool.map(work, range(10)); pool.close(); pool.join()""",
    "Pool terminated": """
        with context.Pool(3) as pool: pool.map(work, range(10))""",
    "Executor": """
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(3, mp_context=context) as pool: list(pool.map(work, range(10)))""",
}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", KINDS)
def test_records_of_pools_and_processes(home, kubo, method, kind):
    """Ten records of workers: ten arrive, none twice, whether workers end by themselves, are closed or terminated."""
    settings = {"kubo": kubo.url, "flush_timeout": 20.0}
    body = IN_CHILDREN.replace("RUN", KINDS[kind].strip())

    ended = programs.run(home, body, METHOD=method, SETTINGS=settings, options=("-W", "ignore")).clean()

    # Those of a terminated worker may still be in the spool: any keeper adopts them.
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=30.0)
    [log] = oracle.read_home(home)["logs"]
    oracle.exactly_once(
        ["parent", "parent", *(f"worker {n}" for n in range(10))], [record["event"] for record in log.records]
    )
    assert log.head_cid in kubo.pins()
    assert_in_time(ended.seconds, 20.0)


def test_a_child_process_has_shipped_when_it_is_joined(home, kubo):
    """The end of a multiprocessing child flushes, as that of a program does: its record is on the store then."""
    body = """
        import multiprocessing
        def work(): log.info("worker")
        if __name__ == "__main__":
            configure(kubo=KUBO, flush_timeout=20.0)
            child = multiprocessing.get_context("fork").Process(target=work)
            child.start(); child.join()
            os._exit(0)
    """

    programs.run(home, body, KUBO=kubo.url, options=FORKS_WARN).clean()

    [log] = oracle.read_home(home)["logs"]
    assert ["worker"] == [record["event"] for record in log.records]
    assert log.head_cid in kubo.pins()


# -- exec, daemonizers


def test_exec_begins_a_new_writer(home):
    """A program that execs itself keeps its pid and gets a new writer; no descriptor of ours is inherited."""
    body = """
        configure()
        log.info("turn %s", os.environ.get("TURN", "0"))
        if "TURN" not in os.environ:
            os.environ["TURN"] = "1"
            os.execv(sys.executable, [sys.executable, __file__])
        print(len([p for p in os.listdir("/proc/self/fd")]))
    """

    programs.run(home, body).clean()

    records = programs.adopted(home)
    oracle.exactly_once(["turn 0", "turn 1"], [record["event"] for record in records])
    assert 1 == len({record["pid"] for record in records})
    assert 2 == len({record["_writer"] for record in records})


CLOSES = """
    import resource, socket
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    if not SHIPS: KUBO = None
    batch = {"records": 10, "seconds": 0.1}
    configure(kubo=KUBO, flush_timeout=20.0, batch=batch, keeper=KEEPER, durability=DURABILITY)
    log.info("before")
    [h] = logging.getLogger().handlers
    if KEEPER == "thread": h.flush()
    log.info("before, again")
    if KEEPER == "thread": h.flush()  # no connection is being made when the program closes its descriptors
    first, second = socket.socketpair()
    streams = os.pipe2(os.O_NONBLOCK), (first.fileno(), second.fileno())
    os.set_blocking(first.fileno(), False)
    other = os.open(f"{HOME}-other", os.O_RDWR | os.O_CREAT)
    kept = [other, *streams[0], *streams[1]]
    here, waits, go_on = h._recorder.home, threading.Event(), threading.Event()
    check = here.check_segments
    def check_later():
        waits.set(); go_on.wait()  # between two steps of the keeper, where it has nothing open for the moment
        check()
    if KEEPER == "thread":
        here.check_segments = check_later
        assert waits.wait(20), "no check came"
    for number in range(3, BELOW):
        if number not in kept:
            try: os.close(number)
            except OSError: pass
    copies = [os.dup(number) for number in (other, streams[0][1], second.fileno()) for _ in range(COPIES)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))  # room for what is opened anew
    for i in range(30): log.info("after %d", i)
    here.keeper.ask()
    go_on.set()
    logging.shutdown()
    for number in (*kept, *copies): os.fstat(number)  # nothing closed what belongs to the program
    found = os.fstat(other).st_size
    for stream in (streams[0][0], first.fileno()):
        try: found += len(os.read(stream, 1 << 16))
        except BlockingIOError: pass
    print(found)
    os._exit(0)
"""


@pytest.mark.parametrize(("below", "copies"), [(256, 80), (1024, 330)], ids=["low numbers", "all numbers"])
@pytest.mark.parametrize(
    ("keeper", "ships"), [("thread", True), ("thread", False), ("none", False)], ids=["ships", "seals", "no keeper"]
)
@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_program_that_closes_descriptors_which_are_not_its_own(home, kubo, below, copies, keeper, ships, durability):
    """Home rule 6, pitfall 61: not a byte of ours lands in files and sockets that have our numbers; no record is lost.

    The program closes a range, or all, and at once has other descriptors there, more than up to our numbers.
    """
    settings = {"KEEPER": keeper, "SHIPS": ships, "BELOW": below, "COPIES": copies, "DURABILITY": durability}

    ended = programs.run(home, CLOSES, KUBO=kubo.url, **settings).clean()

    assert "0\n" == ended.out
    events = ["before", "before, again", *(f"after {i}" for i in range(30))]
    oracle.exactly_once(events, [record["event"] for record in programs.adopted(home)])
    if ships:
        [log] = oracle.read_home(home)["logs"]
        assert log.head_cid in kubo.pins() or below == 1024  # the keeper begins anew, and may be too late


def test_a_daemonizer_that_forks_twice(home, kubo):
    """Double fork, setsid, every descriptor closed, standard streams on /dev/null: the daemon logs and ships."""
    body = """
        configure(kubo=KUBO, flush_timeout=20.0)
        log.info("starting")
        read, write = os.pipe()
        if os.fork():
            os.close(write)
            os.read(read, 1)  # until the daemon has ended
            os._exit(0)
        os.setsid()
        if os.fork(): os._exit(0)
        for number in range(256):
            if number != write:
                try: os.close(number)
                except OSError: pass
        for _ in range(3): os.open(os.devnull, os.O_RDWR)
        for i in range(20): log.info("daemon %d", i)
    """

    programs.run(home, body, KUBO=kubo.url, options=FORKS_WARN).clean()

    assert run_keeper_now(HomeDir(home), Standalone(), timeout=30.0)
    [log] = oracle.read_home(home)["logs"]
    oracle.exactly_once(["starting", *(f"daemon {i}" for i in range(20))], [record["event"] for record in log.records])
