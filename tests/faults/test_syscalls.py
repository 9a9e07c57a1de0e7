"""Every call by which a writer, a keeper or a sidecar changes the disk fails, once or from then on, or is its last.

A program logs, seals, ships, retires and lets payloads leave; `syscall_faults` makes one of its calls fail. After it a
normal start. What is asserted is the same each time: a record whose call returned without being counted as dropped is
in the chain exactly once, what was dropped is counted with a reason, the chain verifies, and no store ever saw two
manifests of one log under one number.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.testing import FakeKubo
from tests.support import oracle, programs, syscall_faults

BODY = """
    import asyncio, contextlib, ctypes
    from pathlib import Path
    from ipfs_log_handlers.errors import FormatError
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.home.policy import Policy, load_policy
    from ipfs_log_handlers.keeper import preload
    from ipfs_log_handlers.keeper.host import Standalone
    from ipfs_log_handlers.keeper.retention import Retention
    from ipfs_log_handlers.keeper.thread import run_keeper_now
    from ipfs_log_handlers.manager import DatasetsManager
    from ipfs_log_handlers.stores import open_store
    preload.load_for_sealing(); preload.load_for_store("auto")
    library = ctypes.CDLL(None)
    settings = {"kubo": KUBO, "keeper": "none", "batch": {"records": 5}, "flush_timeout": 1.0, **SETTINGS}

    def begin(home):
        global HOME
        HOME = str(home)
        configure(**settings)
        [one] = logging.getLogger().handlers
        return one

    def keep(home):
        if settings["keeper"] == "thread": return logging.getLogger().handlers[0].flush()
        with contextlib.suppress(OSError, FormatError):
            run_keeper_now(HomeDir(home), Standalone(), timeout=20.0)

    def let_go(home):
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        async def work():
            store = open_store(KUBO)
            policy = load_policy(subsystem_dir.settings, Policy.default(home, "logs"))
            try: await Retention(subsystem_dir).run([store], policy, free_space=1 << 20)
            finally: await store.close()
        with contextlib.suppress(OSError, FormatError):
            asyncio.run(work())

    def archive(home, board):
        found = DatasetsManager(home=home, **settings).store(data=b"archived" * 1000, subsystem="logs")
        if found["success"]: os.write(board, b"archived %s\\n" % found["cid"].encode())

    def story(home, board):
        one = begin(home)
        def say(first, last):
            for i in range(first, last):
                os.write(board, b"begun %d\\n" % i)
                before = sum(lost(one).values())
                log.info("r%d", i)
                word = b"dropped" if sum(lost(one).values()) > before else b"kept"
                os.write(board, b"%s %d\\n" % (word, i))
        say(0, 12); keep(home)
        say(12, 20); archive(home, board); keep(home)
        let_go(home)
        say(20, 24)
        logging.shutdown()
        if settings["keeper"] == "none": keep(home)
        os.write(board, b"lost %s\\n" % json.dumps(lost(one)).encode())
        os.write(board, b"seen %d\\n" % library.faults_seen())

    def lost(one):
        writer = one._recorder.home.writers.get("logs")
        return writer.dropped if writer else {}

    def next_start(home, _):
        begin(home)
        log.info("after")
        logging.shutdown()
        assert run_keeper_now(HomeDir(home), Standalone(), timeout=20.0)

    def child(work, home, told):
        pid = os.fork()
        if pid == 0:
            try:
                os.environ.update(told); library.faults_read()
                board = os.open(f"{home}.board", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                work(home, board)
            except BaseException: sys.excepthook(*sys.exc_info()); os._exit(1)
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        assert status in (0, signal.SIGKILL), (work, told, status)

    for name, told in CASES:
        home = Path(NEXT_TO, name)
        child(story, home, told)
        child(next_start, home, {"FAULTS_AT": "0"})
        (home / "reserve").unlink(missing_ok=True)  # thousands of homes must fit on the disk
"""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    what: str
    """An errno's name, `short`, `kill-before` or `kill-after`."""
    calls: str
    """To which calls it can happen."""
    times: int = 1
    """How often; 0: from then on always."""

    @property
    def passes(self) -> bool:
        """Whether a program can still write afterwards, and tell what it dropped."""
        return self.times == 1 and not self.what.startswith("kill")


CHANGES = "open,write,fsync,rename,link,unlink,mkdir,ftruncate"
GROWS = "open,write,fsync,rename,link,mkdir"
FAULTS = [
    Fault("kill-before", CHANGES),
    Fault("kill-after", CHANGES),
    Fault("EIO", CHANGES),
    Fault("EIO", CHANGES, 0),
    Fault("EIO", "write,fsync", 0),
    Fault("ENOSPC", GROWS),
    Fault("ENOSPC", "write", 0),
    Fault("EDQUOT", GROWS),
    Fault("EROFS", CHANGES),
    Fault("EROFS", CHANGES, 0),
    Fault("EMFILE", "open"),
    Fault("EMFILE", "open", 0),
    Fault("EINTR", "open,write,fsync"),
    Fault("short", "write"),
    Fault("EIO", "read"),
    Fault("EIO", "read", 0),
    Fault("EINTR", "read"),
]


def tell_story(tmp_path: Path, cases: Iterable[tuple[str, dict[str, str]]], daemon: FakeKubo, **settings: Any) -> None:
    """Run each case, and the normal start after it."""
    ended = programs.run(
        tmp_path / "home",
        BODY,
        env=syscall_faults.environment(tmp_path),
        KUBO=daemon.url,
        NEXT_TO=str(tmp_path),
        CASES=list(cases),
        SETTINGS=settings,
        deadline_s=3600,
    )
    assert 0 == ended.code, f"{ended.out}\n{ended.err}"


def calls_made(tmp_path: Path, daemon: FakeKubo, **settings: Any) -> dict[str, int]:
    """How many calls of each group the story makes when nothing goes wrong."""
    groups = sorted({fault.calls for fault in FAULTS})
    names = {f"calm-{number}": calls for number, calls in enumerate(groups)}
    tell_story(
        tmp_path,
        [(n, syscall_faults.variables(tmp_path / n, calls=calls)) for n, calls in names.items()],
        daemon,
        **settings,
    )
    counted = {}
    for name, calls in names.items():
        counted[calls] = next(int(each[1]) for each in board_of(tmp_path / name) if each[0] == "seen")
        assert {} == check(tmp_path / name, Fault("none", calls), daemon)
    return counted


def board_of(home: Path) -> list[list[str]]:
    """Return what the program wrote on its board."""
    return [line.split(" ", 1) for line in Path(f"{home}.board").read_text().splitlines()]


def check(home: Path, fault: Fault, daemon: FakeKubo) -> dict[str, int]:
    """Assert all that is promised of a home after the next start; what the program counted as dropped."""
    told = board_of(home)
    begun, kept, dropped = ([f"r{n}" for word, n in told if word == each] for each in ("begun", "kept", "dropped"))
    counted: dict[str, int] = next((json.loads(text) for word, text in told if word == "lost"), {})
    [log] = oracle.read_home(home)["logs"]
    for batch in log.batches:  # a payload that has left the home is in the store
        batch.lines = batch.lines or oracle._payload(
            batch.manifest, {}, lambda cid: daemon.store.blocks[Cid.parse(cid)]
        )
    archived = [name for word, name in told if word == "archived"]
    found = [str(batch.manifest["payload"]) for batch in log.batches if batch.manifest["encoding"] == "unixfs"]
    assert archived == found or (not archived and len(found) == 1)
    midway = set(begun) - set(kept) - set(dropped)
    events = [record["event"] for record in log.records]
    assert len(midway) <= 1
    assert len(events) == len(set(events))
    assert kept == [event for event in events if event != "after" and event not in midway]
    assert "after" in events
    assert [] == oracle.spooled(home)
    assert len(dropped) == sum(counted.values()) or fault.what.startswith("kill")
    if fault.passes:
        assert counted == dict(sum((Counter(batch.manifest["dropped"]) for batch in log.batches), Counter()))
    return counted


def no_index_twice(daemon: FakeKubo) -> int:
    """Assert that all that was ever uploaded holds one manifest for each number of a log; how many there were."""
    seen: dict[tuple[str, int], str] = {}
    for asked in daemon.uploads():
        _, blocks = oracle._car(FakeKubo.uploaded_file(asked))
        for cid, block in blocks.items():
            found = oracle._cbor(block) if cid.startswith("bafyrei") else {}
            if "payload" in found:
                assert cid == seen.setdefault((found["log"], found["index"]), cid), f"{found['log']} {found['index']}"
    return len(seen)


def sweep(tmp_path: Path, chance: random.Random | None, each: int, **settings: Any) -> int:
    """Let every fault happen at `each` calls drawn by `chance`, or at all of them; how many cases that made."""
    with FakeKubo() as daemon:
        counted = calls_made(tmp_path, daemon, **settings)
        cases: dict[str, tuple[Fault, int]] = {}
        for number, fault in enumerate(FAULTS):
            places = range(1, counted[fault.calls] + 1)
            for at in places if chance is None else sorted(chance.sample(places, min(each, len(places)))):
                cases[f"{number}-{fault.what}-{at}"] = (fault, at)
        tell_story(
            tmp_path,
            [
                (
                    name,
                    syscall_faults.variables(tmp_path / name, fault.what, calls=fault.calls, at=at, times=fault.times),
                )
                for name, (fault, at) in cases.items()
            ],
            daemon,
            **settings,
        )
        dropped: Counter[str] = Counter()
        for name, (fault, _) in cases.items():
            dropped.update(check(tmp_path / name, fault, daemon))
        assert no_index_twice(daemon) > len(cases)
    assert {"EIO", "EROFS"} <= set(dropped)
    return len(cases)


def test_a_sample_of_all_calls(tmp_path):
    """Each fault at some calls, drawn anew by a fixed seed: nothing is lost uncounted, doubled, or signed twice."""
    assert sweep(tmp_path, random.Random(5), 2) >= 30


@pytest.mark.soak
@pytest.mark.parametrize("durability", ["process", "power"])
def test_every_call(tmp_path, durability):
    """Each fault at each call of the story."""
    assert sweep(tmp_path, None, 0, durability=durability) > 1000


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_calls_beside_a_thread(tmp_path, seed):
    """The same with the keeper in a thread of the program: which call it is that fails is then a matter of chance."""
    assert sweep(tmp_path, random.Random(seed), 12, keeper="thread") > 100
