"""Forks beside a dictConfig, and hooks of other libraries that log around a fork: no deadlock, no number used twice."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.reading.verify import verify
from tests import oracle, programs
from tests.test_fork import FORKS_WARN


def test_forks_beside_a_thread_that_changes_the_settings(home):
    """One thread runs dictConfig with other settings again and again while another forks: neither waits for ever."""
    programs.run(
        home,
        """
        import faulthandler; faulthandler.dump_traceback_later(30, exit=True)
        def reconfigure(records): configure(batch={"records": records}, keeper="none", flush_timeout=0)
        reconfigure(100)
        log.info("first")
        forked = threading.Event()
        def change():
            n = 0
            while not forked.is_set():
                n += 1
                reconfigure(100 + n % 2)
                log.info("changed")
        thread = threading.Thread(target=change); thread.start()
        for _ in range(60):
            pid = os.fork()
            if pid == 0: os._exit(0)
            os.waitpid(pid, 0)
        forked.set(); thread.join()
        """,
        options=FORKS_WARN,
        deadline_s=60,
    ).clean()


HOOKS = """
    def ended(pid):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found: return status
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
        return "a child hangs"
    def say(where): return lambda: logging.getLogger("t").info("%s %d", where, forks)
    forks = 0
    os.register_at_fork(before=say("before"), after_in_parent=say("parent"), after_in_child=say("child"))
    configure(keeper=KEEPER)
    done = threading.Event()
    def hammer():
        while not done.is_set():
            log.info("hammer")
            time.sleep(0.0005)
    threads = [threading.Thread(target=hammer) for _ in range(3)] if LOUD else []
    for each in threads: each.start()
    if WARM: log.info("first")
    for forks in range(20):
        pid = os.fork()
        if pid == 0:
            log.info("later %d", forks)
            os._exit(0)
        failed = ended(pid)
        if failed: break
    done.set()
    for each in threads: each.join()
    assert not failed, failed
"""


@pytest.mark.parametrize("warm", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("loud", [False, True], ids=["alone", "beside threads"])
@pytest.mark.parametrize("keeper", ["thread", "none"])
def test_fork_hooks_that_came_before_ours_log(home, keeper, loud, warm):
    """What they log before, and on both sides of a fork, is kept once; no child goes on with its parent's numbers."""
    programs.run(home, HOOKS, KEEPER=keeper, LOUD=loud, WARM=warm, options=FORKS_WARN, deadline_s=60).clean()
    records = [each for each in programs.adopted(home) if each["event"] not in {"hammer", "first"}]
    events = [f"{where} {n}" for where in ("before", "parent", "child", "later") for n in range(20)]
    oracle.exactly_once(events, [each["event"] for each in records])
    pids = {each["event"]: each["pid"] for each in records}
    assert all(pids[f"child {n}"] == pids[f"later {n}"] != pids[f"parent {n}"] for n in range(20))
    (report,) = verify(Home(home))
    assert report.problems == []
