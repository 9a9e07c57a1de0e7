"""The end of a program: one deadline for all handlers, nothing is lost, nothing is printed, whatever the store does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from tests.support import oracle, programs
from tests.support.ended_programs import delivered, durable
from tests.support.logging_home import lines, put_segment, seal_home
from tests.support.machine import assert_in_time
from tests.support.sample_homes import status

SLACK_S = 2.0
"""What the end may take beside `flush_timeout`."""
START_S = 3.0
"""What starting an interpreter and its imports may take on a busy machine."""

LOG_AND_END = """
    names = ["h%d" % n for n in range(HANDLERS)]
    handlers = {n: handler(kubo=KUBO, flush_timeout=TIMEOUT) for n in names}
    logging.config.dictConfig({"version": 1, "handlers": handlers,
        "loggers": {n: {"handlers": [n], "level": "INFO"} for n in names}})
    for n in names:
        for i in range(20): logging.getLogger(n).info("%s %d", n, i)
    begun = time.monotonic()
    if EXPLICIT:
        logging.shutdown()
        print(time.monotonic() - begun)
"""


def expected(handlers: int) -> list[str]:
    """Return the events of `LOG_AND_END`."""
    return [f"h{n} {i}" for n in range(handlers) for i in range(20)]


def deliver(home: Path, kubo: str) -> None:
    """Start the program again, which logs one record."""
    programs.run(home, 'configure(kubo=KUBO, flush_timeout=20.0); log.info("next")', KUBO=kubo).clean()


# -- the store is there


@pytest.mark.parametrize("handlers", [1, 11])
@pytest.mark.parametrize("explicit", [True, False], ids=["shutdown", "exit"])
@pytest.mark.parametrize("name", ["url", pytest.param("host_url", marks=pytest.mark.slow)])
def test_everything_is_shipped_when_the_daemon_is_there(home, kubo, handlers, explicit, name):
    """`logging.shutdown()`, called or at exit, ships all to `127.0.0.1` and to `localhost`, well in time."""
    address = getattr(kubo, name)

    ended = programs.run(home, LOG_AND_END, KUBO=address, HANDLERS=handlers, EXPLICIT=explicit, TIMEOUT=30.0).clean()

    [log] = oracle.read_home(home)["logs"]
    pins = kubo.pins()
    assert_in_time(ended.seconds, 8.0)
    oracle.exactly_once(expected(handlers), [record["event"] for record in log.records])
    assert all(batch.cid in pins for batch in log.batches)
    assert log.head_cid in pins


# -- it is not


@pytest.mark.parametrize("handlers", [1, 11])
@pytest.mark.parametrize("explicit", [True, False], ids=["shutdown", "exit"])
def test_a_daemon_that_is_down_ends_the_wait_at_once(home, kubo_daemon, handlers, explicit):
    """A refused connection does not cost the deadline; the records are sealed, and the next start delivers them."""
    daemon = kubo_daemon()
    daemon.stop()

    ended = programs.run(home, LOG_AND_END, KUBO=daemon.url, HANDLERS=handlers, EXPLICIT=explicit, TIMEOUT=30.0).clean()

    assert_in_time(ended.seconds, 6.0)
    oracle.exactly_once(expected(handlers), durable(home))
    daemon.start()
    deliver(home, daemon.url)
    oracle.exactly_once([*expected(handlers), "next"], delivered(daemon, home))


@pytest.mark.parametrize("handlers", [1, 11])
@pytest.mark.parametrize("explicit", [True, False], ids=["shutdown", "exit"])
def test_a_silent_daemon_costs_one_deadline(home, kubo_daemon, handlers, explicit):
    """A daemon that accepts and never answers (SIGSTOP) costs `flush_timeout` once, for one handler or eleven."""
    daemon = kubo_daemon()
    daemon.suspend()

    ended = programs.run(home, LOG_AND_END, KUBO=daemon.url, HANDLERS=handlers, EXPLICIT=explicit, TIMEOUT=2.0).clean()

    if explicit:
        assert_in_time(float(ended.out), 2.0 + SLACK_S)
    assert_in_time(ended.seconds, 2.0 + SLACK_S + START_S)
    oracle.exactly_once(expected(handlers), durable(home))
    daemon.resume()
    deliver(home, daemon.url)
    oracle.exactly_once([*expected(handlers), "next"], delivered(daemon, home))


def test_a_host_name_that_nobody_knows_keeps_the_deadline(home):
    """A name that does not resolve is a store that is not there: the program ends in time, the records stay."""
    body = """
        configure(kubo="http://no-such-host.invalid:5001", flush_timeout=2.0)
        log.info("kept")
    """

    ended = programs.run(home, body).clean()

    assert_in_time(ended.seconds, 2.0 + SLACK_S + START_S)
    assert ["kept"] == durable(home)


def test_once_a_deadline_passed_nobody_waits_again_until_the_store_answers(home, silent):
    """A second flush beside a silent store returns soon; when the store answers again, a flush waits and ships."""
    body = """
        configure(kubo=KUBO, flush_timeout=1.5)
        [h] = logging.getLogger().handlers
        times = []
        for i in range(4):
            log.info("r%d", i)
            begun = time.monotonic(); h.flush(); times.append(time.monotonic() - begun)
        print(json.dumps(times), flush=True)
    """

    ended = programs.run(home, body, KUBO=silent.url).clean()

    first, *later = json.loads(ended.out)
    assert first > 1.0
    assert_in_time(first, 1.5 + SLACK_S)
    assert_in_time(sum(later), 1.5)
    oracle.exactly_once([f"r{i}" for i in range(4)], durable(home))


# -- at exit


def test_the_first_record_ever_may_come_from_an_exit_callback(home, kubo):
    """The first record of a process is logged inside an atexit callback: it is shipped by `logging.shutdown`."""
    body = """
        configure(kubo=KUBO)
        atexit.register(lambda: log.info("last words"))
    """

    ended = programs.run(home, body, KUBO=kubo.host_url).clean()

    assert_in_time(ended.seconds, 5.0 + SLACK_S + START_S)
    assert ["last words"] == durable(home)
    assert ["last words"] == delivered(kubo, home)


def test_a_record_after_shutdown_is_written_and_nothing_more(home):
    """A callback that runs after `logging.shutdown` still makes its record durable, without a new thread."""
    body = """
        import atexit
        def late():
            log.info("after everything")
            os.write(1, json.dumps([t.name for t in threading.enumerate()]).encode())
        configure()
        log.info("early")
        logging.shutdown()
        atexit.register(late)
    """
    before_logging = "import atexit\natexit.register(lambda: late())\n"

    ended = programs.run(home, body).clean()

    assert '["MainThread"]' == ended.out
    oracle.exactly_once(["early", "after everything"], durable(home))
    second = home.with_name("second")
    program = before_logging + programs.text(second, body.replace("atexit.register(late)", "")).replace(
        "from __future__ import annotations\n", ""
    )
    path = home.parent / "before.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, str(path)], env=programs.environment(), capture_output=True, timeout=60)
    assert (0, b"") == (done.returncode, done.stderr)
    oracle.exactly_once(["early", "after everything"], durable(second))


def test_another_handler_that_raises_does_not_cost_our_records(home, kubo):
    """A handler whose flush raises ends `logging.shutdown` before ours is reached; at exit ours has shipped before."""
    body = """
        class Bad(logging.Handler):
            def emit(self, record): pass
            def flush(self): raise RuntimeError("bad")
        configure(kubo=KUBO)
        logging.getLogger().addHandler(Bad())
        log.info("kept")
    """

    ended = programs.run(home, body, KUBO=kubo.url)

    assert "RuntimeError: bad" in ended.err
    assert ["kept"] == delivered(kubo, home)


def test_daemon_threads_that_log_on_during_the_end_harm_nothing(home, kubo):
    """Threads that log before, during and after shutdown: no hang, no crash, and what the file says is whole."""
    body = """
        configure(kubo=KUBO, flush_timeout=3.0)
        def chatter(n):
            i = 0
            while True:
                log.info("t%d %d", n, i); i += 1
                if i == 200: ready.release()
                time.sleep(0.0005)
        ready = threading.Semaphore(0)
        for n in range(3): threading.Thread(target=chatter, args=(n,), daemon=True).start()
        for n in range(3): ready.acquire()
    """

    ended = programs.run(home, body, KUBO=kubo.url)

    assert (0, "") == (ended.code, ended.err)
    assert_in_time(ended.seconds, 3.0 + SLACK_S + START_S)
    found = durable(home)
    for n in range(3):
        mine = [int(event.split()[1]) for event in found if event.startswith(f"t{n} ")]
        assert mine == list(range(len(mine)))
        assert len(mine) >= 200


# -- close


@pytest.mark.slow
def test_a_backlog_larger_than_the_deadline_stays_in_the_spool(home):
    """Home rule 21: what cannot be sealed before the deadline waits for the next start; nothing is lost or doubled."""
    noise = (os.urandom(150).hex() for _ in range(60_000))
    put_segment(
        HomeDir(home).subsystem_dir("logs"), b"".join(lines(n, n, noise=each) for n, each in enumerate(noise, 1))
    )
    body = """
        configure(flush_timeout=0.05)
        log.info("the last")
        begun = time.monotonic()
        logging.shutdown()
        print(time.monotonic() - begun)
    """
    ended = programs.run(home, body).clean()
    assert_in_time(float(ended.out), 0.05 + SLACK_S)
    [found] = status(home)
    assert 60_001 == found["durable"] > found["sealed"]
    seal_home(home)
    [log] = oracle.read_home(home)["logs"]
    assert ["e"] * 60_000 + ["the last"] == sorted((record["event"] for record in log.records), key=len)


SILENT = """
    import socket
    import ipfs_log_handlers.runtime.flush as flushing
    settled = flushing._settled
    def look(*args, **options):
        flushing._settled = settled
        print("waits", flush=True)
        return settled(*args, **options)
    flushing._settled = look
    silent = socket.socket(); silent.bind(("127.0.0.1", 0)); silent.listen(50)
    configure(kubo=f"http://127.0.0.1:{silent.getsockname()[1]}", flush_timeout=100.0, keeper=KEEPER)
    log.info("last words")
"""
ENDS = {
    "the program returns": "",
    "two homes": """
    from ipfs_log_handlers import IPFSHandler
    address = f"http://127.0.0.1:{silent.getsockname()[1]}"
    logging.getLogger().addHandler(IPFSHandler("logs", home=HOME + "-2", kubo=address, flush_timeout=100.0))
    log.info("more")
""",
    "only logging.shutdown flushes": """
    from ipfs_log_handlers.runtime import lifecycle
    lifecycle.STATE.exiting = True
    atexit.unregister(lifecycle.flush_at_exit)
""",
    "in a child of multiprocessing": """
    import contextlib, multiprocessing
    def child():
        log.info("child")
    def interrupt(*_):
        with contextlib.suppress(ProcessLookupError):  # else join() takes it for its own error, as any OSError
            os.kill(started.pid, signal.SIGINT)
    signal.signal(signal.SIGUSR1, interrupt)
    if __name__ == "__main__":
        started = multiprocessing.get_context("fork").Process(target=child); started.start(); started.join()
        print(started.exitcode, flush=True); os._exit(started.exitcode)
""",
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_ctrl_c_at_the_end_ends_the_wait_and_prints_nothing(home: Path, end: str, times: int) -> None:
    """Pitfall 65: a program waits at its end for a silent store: Ctrl-C means that nobody wants to wait."""
    program = programs.start(home, SILENT + end, KEEPER="thread")
    assert program.stdout is not None
    assert "waits\n" == program.stdout.readline()
    begun = time.monotonic()
    for _ in range(times):
        program.send_signal(signal.SIGUSR1 if "SIGUSR1" in end else signal.SIGINT)
        time.sleep(0.02)
    _, err = program.communicate(timeout=60)

    codes = (0,) if times == 1 else (0, -signal.SIGINT)  # a later one may come when the interpreter is gone
    assert program.returncode in codes, err
    assert "" == err
    assert time.monotonic() - begun < 25.0
    assert "last words" in [record["event"] for record in programs.adopted(home)]


@pytest.mark.parametrize("by", ["logging.shutdown()", "lifecycle.flush_at_exit()"])
def test_a_second_ctrl_c_while_the_first_one_ends_the_wait_is_not_printed(home: Path, by: str) -> None:
    """Pitfall 65: it comes while the first one passes through the functions of the flush."""
    body = f"""
    import ipfs_log_handlers.runtime.flush as flushing
    from ipfs_log_handlers.runtime import lifecycle
    def wait(*_):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            print("first", flush=True)
            signal.raise_signal(signal.SIGINT)
            print("second", flush=True)
    flushing.flush = wait
    configure(keeper=KEEPER)
    log.info("last words")
    lifecycle.STATE.exiting = True
    atexit.unregister(lifecycle.flush_at_exit)
    {by}
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, lifecycle.STATE.interrupted)
    """
    ended = programs.run(home, body, KEEPER="thread").clean()
    assert ["first", "second", "True True"] == ended.out.splitlines()


def test_ctrl_c_in_a_flush_of_the_program_is_the_programs(home: Path) -> None:
    """Pitfall 65: the program hears of it, as of any Ctrl-C, and its end does not wait for the same store once more."""
    body = (
        SILENT
        + """
    [h] = logging.getLogger().handlers
    try: h.flush()
    except KeyboardInterrupt: print("interrupted", flush=True)
    """
    )
    program = programs.start(home, body, KEEPER="thread")
    assert program.stdout is not None
    assert "waits\n" == program.stdout.readline()
    begun = time.monotonic()
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)

    assert (0, "interrupted", "") == (program.returncode, out.strip(), err)
    assert time.monotonic() - begun < 25.0


@pytest.mark.slow
def test_the_keeper_does_not_outlive_the_interpreter(home: Path) -> None:
    """Pitfall 66: a disk takes longer than flush waits; the program ends as it wants to, after that."""
    body = """
    began = threading.Event()
    configure(flush_timeout=0.1, batch={"seconds": 3600})
    [h] = logging.getLogger().handlers
    atexit.register(lambda: print(h._recorder.home.keeper.alive))  # called after the callback of the first record
    log.info("one")
    while not h._recorder.home.keeper.is_keeper: time.sleep(0.01)
    real = os.fsync
    os.fsync = lambda descriptor: (began.set(), time.sleep(1.5), real(descriptor))
    h._recorder.home.keeper.ask()
    assert began.wait(30)
    """

    ended = programs.run(home, body)

    assert (0, "False\n", "") == (ended.code, ended.out, ended.err)
    assert ["one"] == [record["event"] for record in programs.adopted(home)]


def test_a_program_that_changes_its_root_ends_with_its_own_exit_code(home: Path) -> None:
    """Pitfall 66: after chroot no library can be loaded, not even the one that ends a thread which is left over."""
    body = """
        if os.geteuid() != 0: os.execvp("unshare", ["unshare", "-r", sys.executable, *sys.argv])
        configure()
        log.info("one")
        os.makedirs(HOME + "-jail"); os.chroot(HOME + "-jail"); os.chdir("/")
        log.info("two")
        raise SystemExit(7)
    """

    ended = programs.run(home, body)

    assert (7, "", "") == (ended.code, ended.out, ended.err)
