"""The power goes at any moment: what `durability` promises about the records whose call had returned."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.thread import run_keeper_now
from tests.support import oracle, programs, syscall_faults
from tests.support.power_cut import Disk, Event, events

AT = "state/ipfs-logs/program"
"""The home below the disk: what is above it is new, too."""

# `begun`, `kept` and `shipped` go to a file on the same disk, so that they stand in the trace in their order.
RUNS = """
    from ipfs_log_handlers.testing.memory_store import MemoryStore
    HOME = f"{DISK}/{AT}"
    board = os.open(f"{DISK}/board", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    def tell(*words): os.write(board, " ".join(words).encode() + b"\\n")
    real = MemoryStore.take
    def take(self, data, shipment):
        for root in shipment.roots: tell("shipped", root.text)
        return real(self, data, shipment)
    MemoryStore.take = take

    configure(durability=DURABILITY, kubo="memory:power", batch={"records": 10, "seconds": 0.02})
    def work(name):
        for number in range(COUNT):
            tell("begun", f"{name}-{number}")
            log.info("%s-%d", name, number, extra={"filler": "x" * (number * 37 % 900)})
            tell("kept", f"{name}-{number}")
            if number == 3:
                [one] = logging.getLogger().handlers
                one._recorder.home.keeper.ask()  # the keeper is at work from now on, not after a second
            if number % 10 == 9: time.sleep(0.03)
    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(3)]
    for each in threads: each.start()
    for each in threads: each.join()
    [one] = logging.getLogger().handlers
    assert not one.status()[0]["dropped"]
    logging.shutdown()
"""


def trace_of(tmp_path: Path, durability: str, count: int) -> list[Event]:
    """Run the program; every change that it made to its disk."""
    disk, trace = tmp_path / "disk", tmp_path / "trace"
    disk.mkdir()
    env = syscall_faults.environment(disk, trace=str(trace))
    programs.run(
        tmp_path / "home", RUNS, env=env, DISK=str(disk), AT=AT, DURABILITY=durability, COUNT=count, deadline_s=120
    ).clean()
    return list(events(trace))


def cuts(tmp_path: Path, trace: list[Event], seed: int, count: int) -> Iterator[tuple[Disk, list[list[str]], Path]]:
    """Disks after cuts at random points, with what had been told until then."""
    chance = random.Random(seed)
    points = sorted(chance.sample(range(len(trace)), count))
    disk, told, at = Disk(tmp_path / "disk"), list[list[str]](), 0
    for number, point in enumerate(points):
        for event in trace[at : point + 1]:
            disk.take(event)
            if event.path.endswith("/board"):
                told += [line.split(" ") for line in event.data.decode().splitlines()]
        at = point + 1
        to = tmp_path / f"cut-{seed}-{number}"
        disk.cut(to, chance)
        yield disk, told, to / AT


def next_start(home: Path) -> oracle.Log:
    """Seal what is left, and verify; a home that is not there yet has an empty log."""
    if not (home / "logs").is_dir():
        return oracle.Log("logs")
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=20.0, stores=())
    assert [] == oracle.spooled(home)
    if not (home / "writer.key").exists():
        return oracle.Log("logs")
    logs = oracle.read_home(home).get("logs") or [oracle.Log("logs")]
    assert 1 == len(logs)
    return logs[0]


def check(disk: Disk, told: list[list[str]], home: Path, durability: str) -> int:
    """Assert what holds after a cut; how many records were lost that had been kept."""
    log = next_start(home)
    events = [record["event"] for record in log.records]
    begun, kept, shipped = ([name for word, name in told if word == each] for each in ("begun", "kept", "shipped"))
    cids = {cid for batch in log.batches for cid in (batch.cid, batch.head_cid)}
    assert len(events) == len(set(events))
    assert set(events) <= set(begun)
    assert set(shipped) <= cids  # what has left the machine is in the chain here
    head = disk.synced(f"{AT}/logs/head")
    if head is not None:
        assert json.loads(head[9:])["index"] < len(log.batches)
    lost = set(kept) - set(events)
    if durability == "power":
        assert not lost
    for name in ("t0", "t1", "t2"):
        own = [event for event in events if event.startswith(name)]
        assert own == sorted(own, key=lambda event: int(event[3:]))
    return len(lost)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_cut_at_random_points(tmp_path, durability):
    """With "power" no record whose call returned is lost; with "process" the chain verifies, and nothing sealed is."""
    trace = trace_of(tmp_path, durability, 40)
    lost = [check(*each, durability) for each in cuts(tmp_path, trace, 3, 40)]
    assert 40 == len(lost)
    if durability == "process":
        assert max(lost) > 0  # the model does lose what is not synced


@pytest.mark.soak
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("seed", range(10))
def test_cut_more_often(tmp_path, durability, seed):
    """The same, 400 cuts for each of ten runs."""
    trace = trace_of(tmp_path, durability, 150)
    for each in cuts(tmp_path, trace, seed, 400):
        check(*each, durability)
