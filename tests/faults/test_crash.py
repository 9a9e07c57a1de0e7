"""kill -9 at any moment of a run, and between any two steps of the keeper: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import mmap
import random
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.testing import FakeKubo
from tests.support import oracle, programs

RECORDS = 10_000
KILLS_IN_A_HOME = 20
PARTS_IN_EACH_RUN = 3
"""Of ten parts with 20 kills each, those of `make test`; `make soak` runs the others."""

# Each process counts in 16 shared bytes what it has begun and what has returned; the counter before is raised before
# the call, the other one after it. Who is killed leaves both behind, for the pages belong to the kernel.
RUNS = """
    import mmap, struct
    with open(BOARD, "r+b") as file: board = mmap.mmap(file.fileno(), 0)
    configure(**SETTINGS)
    log.info("%s-first", NAME)
    if EAGER:  # the keeper is at work from the first moment, not after a second
        [h] = logging.getLogger().handlers
        h._recorder.home.keeper.ask()
    os.write(1, b"ready\\n")
    for number in range(FIRST, LAST):
        struct.pack_into("<q", board, 0, number + 1)
        log.info("%s-%d", NAME, number, extra={"filler": "x" * (number % 97)})
        struct.pack_into("<q", board, 8, number + 1)
        if number % 500 == 499: time.sleep(0.002)
    if LINGER: time.sleep(LINGER)
"""


def kill_and_count(home: Path, board: Path, moment: float, **names: Any) -> tuple[int, int]:
    """Run, kill at a moment after the first record, and say how many calls had begun and how many returned."""
    board.write_bytes(bytes(16))
    process = programs.start(home, RUNS, BOARD=str(board), **names)
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    pause = time.monotonic() + moment
    while time.monotonic() < pause and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    with board.open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        begun, returned = struct.unpack_from("<qq", page)
    first = int(names["FIRST"])
    return max(first, begun), max(first, returned)


def drain(home: Path, **options: Any) -> None:
    """Adopt, seal and ship the rest, as the next start does."""
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=60.0, **options)
    assert [] == oracle.spooled(home)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.soak] * (part >= PARTS_IN_EACH_RUN)) for part in range(10)]
)
def test_killed_at_200_random_points(home, part):
    """Kill -9 at 20 random points (ten parts: 200) of a run of 10,000 records, each followed by a restart.

    Every record whose call had returned is in the chain exactly once, one whose call was under way at most once, in
    order; and the chain verifies.
    """
    chance = random.Random(part)
    settings = {"batch": {"records": 200, "seconds": 0.05}}
    board = home.parent / "board"
    expected: list[str] = []
    open_calls: list[str] = []
    done = midway = 0
    for turn in range(KILLS_IN_A_HOME):
        eager = turn % 2 == 0
        moment = chance.expovariate(1 / 0.05) + (0.1 * chance.random() if eager else 0.0)
        begun, returned = kill_and_count(
            home, board, moment, SETTINGS=settings, NAME=f"k{turn}", FIRST=done, LAST=RECORDS, LINGER=5.0, EAGER=eager
        )
        expected.append(f"k{turn}-first")
        expected += [f"k{turn}-{number}" for number in range(done, returned)]
        open_calls += [f"k{turn}-{number}" for number in range(returned, begun)]
        midway += returned < RECORDS
        done = returned if returned < RECORDS else 0
        drain(home)

    assert midway > KILLS_IN_A_HOME // 4
    found = [record["event"] for record in oracle.sealed_records(home)]
    oracle.exactly_once(expected, [event for event in found if event not in open_calls])
    assert len(found) == len(set(found))
    assert expected == [event for event in found if event not in open_calls]


def test_killed_while_it_ships(home, kubo):
    """Kill -9 while batches are on their way to Kubo: after the restart each record is there once, all pinned."""
    chance = random.Random(45)
    board = home.parent / "board"
    settings = {"kubo": kubo.url, "batch": {"records": 20, "seconds": 0.01}}
    expected: list[str] = []
    open_calls: list[str] = []
    for turn in range(8):
        moment = chance.random() * 0.4
        begun, returned = kill_and_count(
            home, board, moment, SETTINGS=settings, NAME=f"k{turn}", FIRST=0, LAST=400, LINGER=5.0, EAGER=True
        )
        expected.append(f"k{turn}-first")
        expected += [f"k{turn}-{number}" for number in range(returned)]
        open_calls += [f"k{turn}-{number}" for number in range(returned, begun)]
        if turn % 2:
            drain(home)
    drain(home)

    [log] = oracle.read_home(home)["logs"]
    there = oracle.read_daemon(lambda cid: kubo.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
    pins = kubo.pins()
    assert all(batch.cid in pins for batch in log.batches)
    events = [record["event"] for record in there.records if record["event"] not in open_calls]
    oracle.exactly_once(expected, events)
    for turn in range(8):  # two killed programs may lie in the spool: the order of each is kept, there is none between
        name = f"k{turn}-"
        assert [each for each in expected if each.startswith(name)] == [
            each for each in events if each.startswith(name)
        ]


# -- between every two steps

STEPS = """
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.keeper import preload
    from ipfs_log_handlers.keeper.host import Standalone
    from ipfs_log_handlers.keeper.thread import run_keeper_now
    from tests.support.forked import run_in_child
    from tests.support.kill_steps import die, kill_at
    from pathlib import Path
    preload.load_for_sealing(); preload.load_for_store("auto")

    def leave_records(home, first):
        global HOME
        HOME = home
        configure(kubo=KUBO, keeper="none", batch={"records": 10})
        for i in range(25): log.info("r%d", first + i)
        [torn] = [each for each in (Path(home) / "logs" / "spool").glob("*.seg") if each.stat().st_nlink]
        with torn.open("ab") as file: file.write(b'0123abcd {"time":"torn')
        die()

    def keep(home, moment):
        kill_at(moment)
        run_keeper_now(HomeDir(Path(home)), Standalone(), timeout=30.0)

    first = {}
    step = 1
    while True:
        home = f"{HOME}-{step}" if FRESH else HOME
        run_in_child(leave_records, home, first.get(home, 0))
        first[home] = first.get(home, 0) + 25
        ended = run_in_child(keep, home, step)
        assert run_in_child(keep, home, 0)
        if ended: break
        step += STRIDE
    print(json.dumps([step, first]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("fresh", [True, False], ids=["new homes", "a home with a chain"])
def test_killed_between_every_two_steps(tmp_path, fresh, stride):
    """A keeper is killed before and after each call that changes the disk, and another one takes over.

    Sealing, quarantine, retiring, shipping: nothing is lost or doubled, no log ends, and the chain verifies.
    `make test` kills at every fifth moment, `make soak` at every one.
    """
    home = tmp_path / "home"
    with FakeKubo() as daemon:
        ended = programs.run(home, STEPS, KUBO=daemon.url, FRESH=fresh, STRIDE=stride, deadline_s=1200).clean()
        pins = {cid.text for cid in daemon.store.pins}

    steps, homes = json.loads(ended.out)
    assert steps > 60
    for each, count in homes.items():
        [log] = oracle.read_home(Path(each))["logs"]
        assert [f"r{i}" for i in range(count)] == [record["event"] for record in log.records]
        assert [] == oracle.spooled(Path(each))
        assert count // 25 == json.loads((Path(each) / "logs" / "head").read_bytes()[9:])["quarantined"]
        assert {log.head_cid, *(batch.cid for batch in log.batches)} <= pins


@pytest.mark.slow
@pytest.mark.parametrize("name", ["write", "fsync", "rename", "unlink"])
def test_the_writer_is_killed_between_its_steps(home, name):
    """A program is killed before and after each call that makes a segment: what was logged before is kept, once."""
    body = """
        real = getattr(os, NAME)
        count = 0
        def step(*args, **options):
            global count
            for when in (0, 1):
                count += 1
                if count == KILL_AT: os.kill(os.getpid(), signal.SIGKILL)
                if when == 0: result = real(*args, **options)
            return result
        configure(keeper="none", durability="power", max_spool_bytes=1 << 17)
        setattr(os, NAME, step)
        with open(BOARD, "ab", buffering=0) as board:
            for i in range(8):
                log.info("t%d-%d", KILL_AT, i, extra={"filler": "x" * 9000})
                board.write(b"t%d-%d\\n" % (KILL_AT, i))
    """
    board = home.parent / "board"
    board.touch()
    for step in range(1, 25):
        if 0 == programs.run(home, body, NAME=name, KILL_AT=step, BOARD=str(board)).code:
            break
        drain(home, stores=())

    drain(home, stores=())
    found = [record["event"] for record in oracle.sealed_records(home)]
    assert len(found) == len(set(found))
    assert set(board.read_text().split()) <= set(found)
