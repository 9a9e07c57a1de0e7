"""The steps of a fork; forks beside a dictConfig, and beside hooks of other libraries that log around a fork."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

import ipfs_log_handlers
import ipfs_log_handlers.keeper.thread
import ipfs_log_handlers.manager
from ipfs_log_handlers.concurrency import fork
from ipfs_log_handlers.concurrency.fork import Step
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.verify.log import verify
from tests.runtime.test_fork import FORKS_WARN
from tests.support import forked, oracle, programs

PACKAGE = Path(ipfs_log_handlers.__file__).parent


def fork_with(steps: dict[str, Step], monkeypatch: pytest.MonkeyPatch, events: list[str]) -> list[str]:
    """Fork with these steps alone; the events that the child saw."""
    monkeypatch.setattr(fork, "_steps", steps)
    read, write = os.pipe()
    assert forked.run_in_child(lambda: os.write(write, json.dumps(events).encode()))
    os.close(write)
    try:
        return json.loads(os.read(read, 4096))
    finally:
        os.close(read)


def recording(place: str, events: list[str]) -> Step:
    """Return a step that notes when it runs."""
    return Step(
        before=lambda: events.append(f"before {place}"),
        in_parent=lambda: events.append(f"parent {place}"),
        in_child=lambda: events.append(f"child {place}"),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestSteps:
    def test_each_place_is_taken_and_no_other_module_registers_hooks(self) -> None:
        """The one list: every place of `ORDER` has its step, and only `fork.py` speaks to `os.register_at_fork`."""
        assert ("imports", "logging", "homes", "files", "keeper", "manager") == fork.ORDER
        assert set(fork.ORDER) == set(fork._steps)
        callers = [path for path in PACKAGE.rglob("*.py") if "os.register_at_fork(" in path.read_text("utf-8")]
        assert [PACKAGE / "concurrency" / "fork.py"] == callers

    def test_steps_run_in_order_before_and_in_reverse_order_after_a_fork(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the order of registration, before a fork `ORDER` holds, and afterwards its reverse."""
        events: list[str] = []
        steps = {place: recording(place, events) for place in sorted(fork.ORDER)}

        in_child = fork_with(steps, monkeypatch, events)

        before = [f"before {place}" for place in fork.ORDER]
        assert [*before, *(f"parent {place}" for place in reversed(fork.ORDER))] == events
        assert [*before, *(f"child {place}" for place in reversed(fork.ORDER))] == in_child

    def test_a_step_registered_during_a_fork_is_left_out_in_the_parent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was not locked before the fork is not unlocked after it; the child still begins anew."""
        events: list[str] = []
        steps = {"imports": recording("imports", events)}
        steps["homes"] = Step(before=lambda: steps.update(files=recording("late", events)) and None)
        monkeypatch.setattr(fork, "ORDER", ("imports", "files", "homes"))

        in_child = fork_with(steps, monkeypatch, events)

        assert ["before imports", "parent imports"] == events
        assert ["before imports", "child late", "child imports"] == in_child

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_step_that_raises_stops_no_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Python goes on with a fork whose hook raised; what was locked is unlocked all the same."""
        events: list[str] = []
        steps = {place: recording(place, events) for place in ("imports", "files")}
        steps["homes"] = Step(before=partial(divmod, 1, 0), in_parent=lambda: events.append("never"))

        fork_with(steps, monkeypatch, events)

        assert ["before imports", "before files", "parent files", "parent imports"] == events

    def test_a_place_is_taken_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two modules that want one place, or a place that `ORDER` does not name, are a mistake of ours."""
        with pytest.raises(AssertionError, match="'files'"):
            fork.register("files", Step())
        with pytest.raises(AssertionError, match="'elsewhere'"):
            fork.register("elsewhere", Step())


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
    (report,) = verify(HomeDir(home))
    assert report.problems == ()
