"""Batches are packed, and payloads leave packs, on bad disks, beside other processes, and between kills."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk, packs
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.index import BatchIndex
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.keeper.upkeep import Upkeep
from ipfs_log_handlers.testing import FakeDaemon
from tests.support import oracle, programs
from tests.support.cli import run
from tests.support.logging_home import refuse
from tests.support.many_batches import seal_batches
from tests.support.packed_homes import damaged, pack_of, seqs


@pytest.fixture
def batches(logs: SubsystemDir) -> Batches:
    """Return the twelve batches."""
    return Batches(logs.current.batches)


class TestPayloadsLeave:
    def test_a_payload_leaves_and_the_rest_of_the_pack_stays(self, home: Path, batches: Batches) -> None:
        """Home rule 23: manifest and head block stay; the pack is smaller; all other batches are as they were."""
        batches.pack(range(12))
        before = pack_of(batches).stat().st_size
        contents = {index: batches.content(index) for index in range(12) if index not in (2, 3, 11)}
        freed = batches.strip(2, 3, 11)
        assert before - freed == pack_of(batches).stat().st_size
        assert freed > 0
        assert contents == {index: batches.content(index) for index in contents}
        (log,) = oracle.read_home(home)["logs"]
        assert [index for index, batch in enumerate(log.batches) if batch.lines is None] == [2, 3, 11]
        assert [2, 3, 11] == [row.index for row in BatchIndex(batches.path).rows(0, 12) if row.stripped]
        header = BatchIndex(batches.path).header()
        assert header is not None
        assert sum(row.length for row in BatchIndex(batches.path).rows(0, 12)) == header.held

    def test_a_damaged_batch_stays_as_it_is(self, batches: Batches) -> None:
        """What is damaged is evidence: its payload does not leave, the others do."""
        batches.pack(range(3))
        place = packs.read(pack_of(batches)).batches[1]
        data = bytearray(pack_of(batches).read_bytes())
        data[place.offset + place.length - 9] ^= 4
        pack_of(batches).write_bytes(data)
        broken = batches.content(1)
        assert batches.strip(0, 1, 2) > 0
        assert broken == batches.content(1)
        assert [0, 2] == [row.index for row in BatchIndex(batches.path).rows(0, 3) if row.stripped]
        assert [1] == batches.held(range(3))

    def test_a_disk_that_refuses_leaves_the_pack(self, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 23: the pack is replaced in one step, or not at all."""
        batches.pack(range(12))
        data = pack_of(batches).read_bytes()
        refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
        with pytest.raises(OSError, match="full"):
            batches.strip(2, 3)
        monkeypatch.undo()
        assert data == pack_of(batches).read_bytes()
        assert [] == list(batches.path.rglob("*.tmp"))


class TestDisk:
    @pytest.mark.slow
    @pytest.mark.parametrize("step", ["write", "fsync", "open"])
    @pytest.mark.parametrize("begun", [False, True], ids=["a new pack", "a pack that grows"])
    def test_a_disk_that_refuses_costs_no_batch(
        self, home: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch, step: str, begun: bool
    ) -> None:
        """Home rule 36: what could not be appended is in its files, and the next try succeeds."""
        if begun:
            batches.pack(range(6))
        before = pack_of(batches).read_bytes() if begun else b""
        name = "fdatasync" if step == "fsync" else step
        refuse(monkeypatch, name, OSError(errno.ENOSPC, "full"), times=1)
        try:
            batches.pack(range(6, 12))
        except OSError:
            assert not pack_of(batches).exists() or before == pack_of(batches).read_bytes()
        monkeypatch.undo()
        batches.pack(range(12))
        assert list(range(1, 13)) == seqs(home)
        assert [] == damaged(home)

    def test_two_processes_never_write_one_pack(self, batches: Batches) -> None:
        """A process that is wrongly a keeper waits for its turn: the pack is locked while it is written."""
        batches.pack(range(6))
        held = disk.open_locked(pack_of(batches), 2)
        assert held is not None
        with pytest.raises(BlockingIOError):
            batches.pack(range(6, 12))
        with pytest.raises(BlockingIOError):
            batches.strip(1)
        disk.close_locked(held)
        assert list(range(6, 12)) == batches.pack(range(6, 12))


KILLED = """
    from pathlib import Path
    from ipfs_log_handlers.home.batches import Batches
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.keeper import preload
    from ipfs_log_handlers.keeper.host import Standalone
    from ipfs_log_handlers.keeper.thread import run_keeper_now
    from tests.support.forked import run_in_child
    from tests.support.kill_steps import die, kill_at
    preload.load_for_sealing()

    def leave_records(home):
        global HOME
        HOME = home
        configure(keeper="none", batch={"records": 1})
        for i in range(8): log.info("r%d", i)
        die()

    def work(home, moment):
        batches = Batches(Path(home) / "logs" / "batches")
        kill_at(moment)
        batches.pack([0, 1, 2])
        batches.pack([3, 4, 5])
        batches.strip(1, 4)
        batches.pack([6, 7])

    def next_keeper(home, _):
        batches = Batches(Path(home) / "logs" / "batches")
        batches.sweep()
        batches.pack(range(8))
        batches.strip(1, 4)

    step = 1
    while True:
        home = f"{HOME}-{step}"
        run_in_child(leave_records, home)
        assert run_keeper_now(HomeDir(Path(home)), Standalone(), timeout=20.0, stores=())
        ended = run_in_child(work, home, step)
        found = Batches(Path(home) / "logs" / "batches")
        assert list(range(8)) == [found.facts(index).manifest.index for index in range(8)], step
        for index in (0, 2, 3, 5, 6, 7): assert found.has_payload(index, found.facts(index).manifest.payload), step
        assert run_in_child(next_keeper, home, 0)
        if ended: break
        step += STRIDE
    print(step)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.soak)])
def test_killed_between_every_two_steps_of_packing(home: Path, stride: int) -> None:
    """Home rule 36: kill -9 beside each (or each third) call that changes the disk, as batches are packed and stripped.

    At each moment every batch is found; the next keeper finishes, leaves nothing behind, and the chain verifies.
    """
    ended = programs.run(home, KILLED, STRIDE=stride, deadline_s=250).clean()
    steps = int(ended.out)
    assert steps > 40
    for step in range(1, steps + 1, stride):
        each = Path(f"{home}-{step}")
        (log,) = oracle.read_home(each)["logs"]
        assert [f"r{i}" for i in range(8) if i not in (1, 4)] == [record["event"] for record in log.records]
        batches = Batches(each / "logs" / "batches")
        assert [] == batches.own_files(), step
        assert [] == list(batches.path.rglob("*.tmp"))
        contents = [packs.read(batches.pack_file(0, pack)).batches for pack in batches.packs("000")]
        assert list(range(8)) == sorted(index for content in contents for index in content)


def test_a_keeper_packs_what_is_old_or_too_much(
    home: Path, logs: SubsystemDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Home rule 36: batches are packed five minutes after they were sealed, and earlier when very many have files."""
    batches = Batches(logs.current.batches)
    upkeep = Upkeep(logs)
    list(upkeep.steps())
    assert list(range(12)) == batches.own_files()
    list(upkeep.steps(max_files=13))
    assert list(range(12)) == batches.own_files()
    list(upkeep.steps(max_files=12))
    assert [] == batches.own_files()
    seal_batches(home, 3, first=13)
    list(upkeep.steps())
    assert [12, 13, 14] == batches.own_files()
    monkeypatch.setattr("ipfs_log_handlers.keeper.upkeep.MIN_AGE_S", 0.0)
    list(upkeep.steps())
    assert [] == batches.own_files()
    assert [] == damaged(home)


def test_a_large_batch_is_packed_once_its_payload_has_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it is small; it is found in a later run."""
    subsystem_dir = seal_batches(home, 3, text=random.Random(1).randbytes(40_000).hex())
    monkeypatch.setattr("ipfs_log_handlers.keeper.upkeep.MIN_AGE_S", 0.0)
    batches, upkeep = Batches(subsystem_dir.current.batches), Upkeep(subsystem_dir)
    list(upkeep.steps())
    assert [0, 1, 2] == batches.own_files()
    batches.strip(1)
    list(upkeep.steps())
    assert [0, 2] == batches.own_files()
    assert not batches.has_payload(1, batches.facts(1).manifest.payload)


@pytest.mark.slow
def test_packed_batches_are_shipped_and_leave_on_proof(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog that was packed while the daemon was down is shipped from its packs, and retention frees the packs."""
    subsystem_dir = seal_batches(home, 40)
    batches = Batches(subsystem_dir.current.batches)
    batches.pack(range(40))
    before = pack_of(batches).stat().st_size
    with FakeDaemon() as daemon:
        programs.run(
            home,
            """
            configure(kubo=KUBO, flush_timeout=20.0, max_store_bytes=0, keep_days=0)
            log.info("last")
            [one] = logging.getLogger().handlers
            one.flush()
            until = time.monotonic() + 60
            from pathlib import Path
            from ipfs_log_handlers.home.index import BatchIndex
            index = BatchIndex(Path(HOME) / "logs" / "batches")
            while not all(row.stripped for row in index.rows(0, 40)) and time.monotonic() < until: time.sleep(0.05)
            """,
            KUBO=daemon.url,
        ).clean()
        pins = {cid.text for cid in daemon.store.pins}
    (log,) = oracle.read_home(home)["logs"]
    assert {batch.cid for batch in log.batches} <= pins
    assert [None] * 40 == [batch.lines for batch in log.batches[:40]]
    assert pack_of(batches).stat().st_size < before


def test_ship_packs_before_it_ends(home: Path) -> None:
    """Many short runs leave no more files than a long one: `ipfs-logs ship` packs from 32 small batches on."""
    subsystem_dir = seal_batches(home, 31)
    batches = Batches(subsystem_dir.current.batches)
    assert 0 == run("ship", "--kubo", "memory:ship", home=home).code
    assert list(range(31)) == batches.own_files()
    seal_batches(home, 1, first=32)
    assert 0 == run("ship", "--kubo", "memory:ship", home=home).code
    assert [] == batches.own_files()
    assert {"shipped"} == {batch["state"] for batch in run("ls", home=home).objects}
