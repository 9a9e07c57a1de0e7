"""Forks that Python does not see, as uWSGI and C libraries make them: the child notices, whatever was locked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.verify.log import verify
from tests.kubo.daemon import Daemon
from tests.support import oracle, programs

FORK = """
    import ctypes, faulthandler
    from ipfs_log_handlers.runtime.process import HomeProcess
    fork_of_libc = ctypes.PyDLL(None).fork  # with the GIL held; no hook of Python's runs
    def native_fork():
        pid = fork_of_libc()
        if pid == 0 and not faulthandler.is_enabled():
            faulthandler.enable()
            faulthandler.dump_traceback_later(20, exit=True)
        return pid
    def ended(pid):
        found, status = os.waitpid(pid, 0)
        assert not status, f"the child ended with {status}"
    def say(text): log.info(text, extra={"real_pid": os.getpid()})
    def is_reading(thread, descriptor):
        with open(f"/proc/self/task/{thread.native_id}/syscall") as file: arguments = file.read().split()[1:]
        return arguments[:1] == [hex(descriptor)]
    parent, check, (read, write) = os.getpid(), HomeProcess.check_segments, os.pipe()
    # Beside a thread that waits for the GIL at the fork, CPython's child hangs by itself: other threads wait elsewhere.
    def pause_keeper():
        def check_later(self):
            if os.getpid() == parent: os.read(read, 1)
            check(self)
        HomeProcess.check_segments = check_later
        [keeper] = [thread for thread in threading.enumerate() if thread.name == "ipfs-logs-keeper"]
        while not is_reading(keeper, read): time.sleep(0.001)
    def let_keeper_go():
        HomeProcess.check_segments = check
        os.write(write, b"x")
"""


def check(home: Path, events: list[str]) -> None:
    """Each event is there once, under the process that logged it, and what was signed verifies."""
    records = programs.adopted(home)
    oracle.exactly_once(events, [record["event"] for record in records])
    assert [] == [record for record in records if record["pid"] != record["real_pid"]]
    (report,) = verify(HomeDir(home))
    assert () == report.problems


WITHOUT_WIPED_MEMORY = "    sys.modules['mmap'] = None  # as on a system that cannot wipe memory at a fork\n"


@pytest.mark.parametrize("before", ["", WITHOUT_WIPED_MEMORY], ids=["wiped memory", "process numbers"])
@pytest.mark.parametrize("keeper", ["thread", "none"])
def test_parent_child_and_grandchild_are_writers_of_their_own(home: Path, keeper: str, before: str) -> None:
    """Pitfall 57: each of three generations counts from 1 under its own pid, from its first record on."""
    body = f"""{before}{FORK}
    configure(keeper=KEEPER)
    def h(): return logging.getLogger().handlers[0]._recorder.home.keeper
    say("parent 0")
    if KEEPER == "thread": pause_keeper()
    pid = native_fork()
    if pid == 0:
        say("child 0")
        if KEEPER == "thread": h().stop()  # no thread of the child may want the GIL at the next fork
        pid = native_fork()
        for n in range(1, 4): say(("grandchild %d" if pid == 0 else "child %d") % n)
        if pid == 0: os._exit(0)
        ended(pid)
        os._exit(0)
    for n in range(1, 4): say("parent %d" % n)
    let_keeper_go()
    ended(pid)
    """

    programs.run(home, body, KEEPER=keeper).clean()

    check(
        home, [f"{who} {n}" for who in ("parent", "child") for n in range(4)] + [f"grandchild {n}" for n in (1, 2, 3)]
    )


def test_forks_of_all_kinds_in_turn_in_threads_and_in_a_hook(home: Path) -> None:
    """Pitfall 57: forks by a thread, by `os.fork`, by a system call and within a logging call make new writers."""
    body = f"""{FORK}
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer warn of a fork in a thread
    configure(keeper="none", default=lambda value: value())
    system_call = lambda: ctypes.PyDLL(None).syscall(57 if os.uname().machine == "x86_64" else -1)
    say("parent")
    def fork_beside_main():
        while not is_reading(threading.main_thread(), read): time.sleep(0.001)
        try: generations()
        finally: os.write(write, b"x")
    def generations():
        pid = native_fork()
        if pid == 0:
            pid = os.fork()
            if pid == 0:
                pid = native_fork() if os.uname().machine != "x86_64" else system_call()
                if pid == 0:
                    say("great-grandchild"); os._exit(0)
                say("grandchild"); ended(pid); os._exit(0)
            say("child"); ended(pid); os._exit(0)
        ended(pid)
    thread = threading.Thread(target=fork_beside_main); thread.start(); os.read(read, 1); thread.join()
    pids = []
    def fork_within():
        pids.append(native_fork())
        return os.getpid()
    log.info("within", extra={{"real_pid": fork_within}})
    if pids[0] == 0:
        say("after"); os._exit(0)
    ended(pids[0])
    """

    programs.run(home, body).clean()

    records = programs.adopted(home)
    events = ["parent", "child", "grandchild", "great-grandchild", "within", "within", "after"]
    oracle.exactly_once(events[:4], [record["event"] for record in records if record["event"] in events[:4]])
    assert sorted(events) == sorted(record["event"] for record in records)
    assert [] == [record for record in records if record["pid"] != record["real_pid"]]
    assert len({record["pid"] for record in records}) == 5
    (report,) = verify(HomeDir(home))
    assert () == report.problems


LOCKS = {
    "writer": "here.writers['logs'].lock",
    "sync": "here.writers['logs']._power_sync._sync_lock",
    "registry": "lifecycle.STATE.guard",
    "files": "locked_files._mutex",
    "manager": "manager.shared._guard",
    "start of the keeper": "here.keeper._thread._starting",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_lock_that_another_thread_held_at_the_fork(home: Path, lock: str, durability: str) -> None:
    """Pitfall 57: the child logs, flushes, configures, stores and ends, though the inherited lock is held for ever."""
    body = f"""{FORK}
    from ipfs_log_handlers import manager
    from ipfs_log_handlers.home import locked_files
    from ipfs_log_handlers.runtime import lifecycle
    configure(durability=DURABILITY)
    say("parent")
    [h] = logging.getLogger().handlers
    h.flush()
    here = h._recorder.home
    free_read, free_write = os.pipe()
    def hold():
        with {lock}: os.read(free_read, 1)
    pause_keeper()
    holder = threading.Thread(target=hold); holder.start()
    while not is_reading(holder, free_read): time.sleep(0.001)
    pid = native_fork()
    if pid == 0:
        say("child")
        h.flush()
        assert manager.get_ipfs_datasets_manager() is not None
        configure(durability=DURABILITY)
        say("child, configured again")
        logging.shutdown()
        os._exit(0)
    os.write(free_write, b"x"); holder.join()
    let_keeper_go()
    ended(pid)
    """

    programs.run(home, body, DURABILITY=durability, env={"IPFS_LOGS_HOME": str(home)}).clean()

    check(home, ["parent", "child", "child, configured again"])


def test_a_child_that_is_forked_while_a_thread_imports_logs_and_ends(home: Path) -> None:
    """Pitfall 57: Python's own import lock is held for ever in the child, which does without a keeper then."""
    body = f"""{FORK}
    class Slow:
        def find_spec(self, name, path=None, target=None):
            if name == "ipfs_log_handlers.keeper.seal" and threading.current_thread() is not threading.main_thread():
                os.read(read, 1)
    sys.meta_path.insert(0, Slow())
    configure()
    thread = threading.Thread(target=lambda: say("first")); thread.start()
    while not is_reading(thread, read): time.sleep(0.001)
    pid = native_fork()
    if pid == 0:
        say("child")
        [h] = logging.getLogger().handlers
        h.flush()
        assert not h._recorder.home.keeper.alive
        h.close()
        os._exit(0)
    ended(pid)
    os.write(write, b"x"); thread.join()
    """

    programs.run(home, body).clean()

    check(home, ["first", "child"])


@pytest.mark.parametrize("logs", [True, False])
def test_the_normal_end_of_a_child_leaves_the_parent_alone(home: Path, kubo: Daemon, logs: bool) -> None:
    """A child that ends with Python's exit flushes what is its own; the parent's keeper ships on."""
    body = f"""{FORK}
    configure(kubo=KUBO, flush_timeout=20.0, batch={{"records": 10, "seconds": 0.05}})
    say("parent 0")
    [h] = logging.getLogger().handlers
    h.flush()
    pause_keeper()
    begun = time.monotonic()
    pid = native_fork()
    if pid == 0:
        if LOGS: say("child")
        sys.exit(0)
    let_keeper_go()  # the child's flush asks it
    ended(pid)
    assert time.monotonic() - begun < 10.0
    for n in range(1, 30): say("parent %d" % n)
    h.flush()
    print(json.dumps(h.status()[0]["shipped"]))
    """

    ended = programs.run(home, body, KUBO=kubo.host_url, LOGS=logs).clean()

    assert 30 + logs == json.loads(ended.out)
    check(home, [*(f"parent {n}" for n in range(30)), *["child"] * logs])


def test_a_child_that_logs_holds_no_lock_of_its_parent(home: Path) -> None:
    """Once the child has logged, the parent's end frees the parent's locks; until then they stay held."""
    body = f"""{FORK}
    import fcntl
    from pathlib import Path
    def is_free(path):
        with open(path) as file:
            try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError: return False
            return True
    configure()
    say("parent")
    [h] = logging.getLogger().handlers
    h.flush()
    held = [p for p in Path(HOME).rglob("*") if p.name == "keeper.lock" or p.suffix == ".seg"]
    assert len(held) == 2, held
    asked, said = os.pipe(), os.pipe()
    pause_keeper()
    pid = native_fork()
    if pid == 0:
        h._recorder.home.keeper.start = lambda: False  # it never becomes the keeper itself
        say("child")
        os.write(said[1], b"x")
        os.read(asked[0], 1)  # outlives the parent's keeper
        os._exit(0)
    os.read(said[0], 1)
    print([is_free(path) for path in held])
    let_keeper_go()
    logging.shutdown()
    print([is_free(path) for path in held if path.exists()])
    os.write(asked[1], b"x")
    ended(pid)
    """

    ended = programs.run(home, body).clean()

    before, after = map(json.loads, ended.out.lower().splitlines())
    assert [False, False] == before
    assert {True} == set(after)
