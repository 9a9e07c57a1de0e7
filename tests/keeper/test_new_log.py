from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.format.checkpoint import Checkpoint
from ipfs_log_handlers.home import delivery_state, head, keys, lock, volume
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper.new_log import resume_or_end
from ipfs_log_handlers.keeper.seal import Sealer
from tests.support import oracle
from tests.support.logging_home import OTHER, WRITER, keeping, lines, put_live, put_segment, seal_all


def sealing(subsystem_dir: SubsystemDir) -> Sealer:
    """One keeper that seals all, and leaves."""
    with keeping(HomeDir(subsystem_dir.path.parent)) as held:
        made = Sealer.open(held, subsystem_dir)
        seal_all(made)
    return made


def logs(subsystem_dir: SubsystemDir) -> list[list[tuple[str, int]]]:
    """Writer and sequence number of each record in each log, oldest log first, also where the head is lost."""
    found = list[list[tuple[str, int]]]()
    for log_dir in subsystem_dir.log_dirs():
        batches = Batches(log_dir.batches)
        runs = [run for index in batches.indexes() for run in batches.facts(index).manifest.sources]
        found.append([(writer, seq) for writer, _, first, last in runs for seq in range(first, last + 1)])
    return found


def everything(subsystem_dir: SubsystemDir) -> list[tuple[str, int]]:
    """Return the records of all logs, sorted."""
    return sorted(each for log in logs(subsystem_dir) for each in log)


def numbered(**writers: range) -> list[tuple[str, int]]:
    """Return the expected result of `everything`."""
    names = {"one": WRITER, "other": OTHER, "zero": "0" * 16}
    return sorted((names[name], seq) for name, found in writers.items() for seq in found)


@pytest.fixture
def subsystem_dir(home: Path) -> SubsystemDir:
    """Make a subsystem with two batches, and a half consumed segment whose writer lives."""
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    put_segment(subsystem_dir, lines(1, 2), writer=OTHER)
    sealing(subsystem_dir)
    live = put_live(subsystem_dir, lines(1, 3))
    sealing(subsystem_dir)
    os.write(live.descriptor, lines(4, 5))
    live.close()
    return subsystem_dir


def damaged(subsystem_dir: SubsystemDir) -> None:
    """Cut off the end of the head."""
    subsystem_dir.current.head.write_bytes(subsystem_dir.current.head.read_bytes()[:-9])


def missing(subsystem_dir: SubsystemDir) -> None:
    """Delete the head."""
    subsystem_dir.current.head.unlink()


def copied(subsystem_dir: SubsystemDir) -> None:
    """Replace the home by a copy."""
    shutil.copytree(subsystem_dir.path, subsystem_dir.path.with_name("copy"))
    subsystem_dir.path.rename(subsystem_dir.path.parent.parent / "original")
    subsystem_dir.path.with_name("copy").rename(subsystem_dir.path)


def new_key(subsystem_dir: SubsystemDir) -> None:
    """Delete the key."""
    HomeDir(subsystem_dir.path.parent).key.unlink()


def rolled_back(subsystem_dir: SubsystemDir) -> None:
    """Let a store have a batch that the home does not know."""
    sealed = head.load(subsystem_dir.current.head)
    assert sealed is not None
    delivery_state.store(
        subsystem_dir.current.shipped, "s", DeliveryState(log=sealed.log, address="x").confirm([0, 1, 2])
    )


def newest_gone(subsystem_dir: SubsystemDir) -> None:
    """Delete the newest batch."""
    Batches(subsystem_dir.current.batches).file(1).unlink()


def newest_damaged(subsystem_dir: SubsystemDir) -> None:
    """Cut off the end of the newest batch."""
    path = Batches(subsystem_dir.current.batches).file(1)
    path.write_bytes(path.read_bytes()[:200])


class TestNewLog:
    @pytest.mark.parametrize("accident", [damaged, missing, copied, rolled_back])
    def test_accidents(self, subsystem_dir: SubsystemDir, accident: Callable[[SubsystemDir], None]) -> None:
        """Home rule 10: a copied, lost, damaged or rolled-back head begins a new log; each record is there once."""
        before = head.load(subsystem_dir.current.head)
        assert before is not None
        accident(subsystem_dir)
        made = sealing(subsystem_dir)
        assert made.sealed is not None
        assert (0, True) == (made.sealed.index, made.sealed.log != before.log)
        assert [[(WRITER, 4), (WRITER, 5)]] == logs(subsystem_dir)[1:]
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(subsystem_dir)
        old = Batches(subsystem_dir.former_log_dirs()[0].batches)
        assert [0, 1] == old.indexes()
        assert subsystem_dir.former_log_dirs()[0].path.name.endswith(before.log[-8:])

    @pytest.mark.parametrize("accident", [damaged, missing, copied, rolled_back])
    def test_evidence(self, subsystem_dir: SubsystemDir, accident: Callable[[SubsystemDir], None]) -> None:
        """Home rule 10: the first manifest of the new log names the old one's last checkpoint, and carries it."""
        old = Batches(subsystem_dir.current.batches).facts(1)
        accident(subsystem_dir)
        sealing(subsystem_dir)
        batches = Batches(subsystem_dir.current.batches)
        (evidence,) = batches.facts(0).manifest.evidence
        note = dict(batches.blocks(0))[evidence]
        assert old.head.checkpoint == note
        key = keys.load(HomeDir(subsystem_dir.path.parent))
        assert key is not None
        assert 2 == Checkpoint.open(note, key.verifier).size

    def test_another_key(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 10: another key cannot go on with a log; what that one had consumed stays consumed."""
        old = Batches(subsystem_dir.current.batches).facts(1).manifest.log
        new_key(subsystem_dir)
        made = sealing(subsystem_dir)
        assert made.sealed is not None
        assert (0, 2) == (made.sealed.index, Batches(subsystem_dir.current.batches).facts(0).manifest.records)
        assert old.split("/")[1] != made.sealed.log.split("/")[1]

    @pytest.mark.parametrize("accident", [newest_gone, newest_damaged])
    def test_newest_batch(self, subsystem_dir: SubsystemDir, accident: Callable[[SubsystemDir], None]) -> None:
        """Home rule 10: when the newest batch is lost or damaged, its index is never signed again; sealing goes on."""
        accident(subsystem_dir)
        made = sealing(subsystem_dir)
        assert made.sealed is not None
        assert (0, 2) == (made.sealed.index, Batches(subsystem_dir.current.batches).facts(0).manifest.records)
        assert 1 == len(subsystem_dir.former_log_dirs())

    def test_other_machine(self, subsystem_dir: SubsystemDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 10: a home that came from another machine begins a new log."""
        monkeypatch.setattr(volume, "machine_id", lambda: "another")
        assert "another machine" in str(
            resume_or_end(subsystem_dir, keys.load_or_make(HomeDir(subsystem_dir.path.parent)).name).reason
        )

    def test_the_same_home(self, subsystem_dir: SubsystemDir) -> None:
        """A home that was only moved, or whose keeper changes, goes on with its log."""
        moved = subsystem_dir.path.parent.with_name("moved")
        subsystem_dir.path.parent.rename(moved)
        subsystem_dir = HomeDir(moved).subsystem_dir("logs")
        assert 2 == (sealing(subsystem_dir).sealed or pytest.fail("no head")).index
        assert 1 == len(logs(subsystem_dir))
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(subsystem_dir)
        assert 7 == len(oracle.sealed_records(moved))

    def test_first_log(self, home: Path) -> None:
        """Where there was no log before, the first one has no evidence and no reason."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        put_segment(subsystem_dir, lines(1, 1))
        standing = resume_or_end(subsystem_dir, None)
        assert (None, None, None, None) == (standing.sealed, standing.inherited, standing.evidence, standing.reason)


class TestLostHead:
    def test_more_than_one_batch(self, home: Path) -> None:
        """Home rule 10: what waits after a lost head may need many batches; none of them holds a record twice."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        for number, writer in enumerate((WRITER, OTHER, "0" * 16)):
            put_live(subsystem_dir, lines(1, 10 + number), writer=writer, records=4).close()
            shutil.copy(subsystem_dir.spool / f"{writer}-0.seg", home.parent / writer)
        sealing(subsystem_dir)
        for writer in (WRITER, OTHER, "0" * 16):
            (subsystem_dir.spool / f"{writer}-0.seg").write_bytes((home.parent / writer).read_bytes() + lines(20, 30))
        missing(subsystem_dir)
        with keeping(HomeDir(home)) as held:
            first = Sealer.open(held, subsystem_dir)
            cut = first.schedule.due_batch(first.backlog(0.0), 0.0, urgent=False)
            assert cut is not None
            for _ in first.seal(cut, urgent=False):
                pass
        sealing(subsystem_dir)
        assert [33, 33] == [len(each) for each in logs(subsystem_dir)]
        assert 66 == len(set(everything(subsystem_dir)))

    @pytest.mark.parametrize(
        "accidents", [(missing, missing), (copied, missing), (missing, damaged), (copied, damaged)]
    )
    def test_twice(self, subsystem_dir: SubsystemDir, accidents: tuple[Callable[[SubsystemDir], None], ...]) -> None:
        """Home rule 10: a head that is lost twice gives three logs, and still each record once."""
        for number, accident in enumerate(accidents):
            accident(subsystem_dir)
            put_segment(subsystem_dir, lines(6 + number, 6 + number), number=1 + number)
            sealing(subsystem_dir)
        assert numbered(one=range(1, 8), other=range(1, 3)) == everything(subsystem_dir)
        assert 2 == len(subsystem_dir.former_log_dirs())
        batches = Batches(subsystem_dir.current.batches)
        assert 1 == len(batches.facts(0).manifest.evidence)

    def test_live_segment_twice(self, home: Path) -> None:
        """Home rule 10: what only the oldest log had sealed of a living segment is not sealed again by the third."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        live = put_live(subsystem_dir, lines(1, 5))
        sealing(subsystem_dir)
        missing(subsystem_dir)
        put_segment(subsystem_dir, lines(1, 1), writer=OTHER)
        sealing(subsystem_dir)
        missing(subsystem_dir)
        put_segment(subsystem_dir, lines(2, 2), writer=OTHER, number=1)
        sealing(subsystem_dir)
        live.close()
        sealing(subsystem_dir)
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(subsystem_dir)


class TestCrash:
    @pytest.mark.slow
    @pytest.mark.parametrize("accident", [copied, missing, damaged])
    @pytest.mark.parametrize("step", range(12))
    def test_between_any_two_steps(
        self,
        subsystem_dir: SubsystemDir,
        monkeypatch: pytest.MonkeyPatch,
        accident: Callable[[SubsystemDir], None],
        step: int,
    ) -> None:
        """Home rule 10: wherever a keeper dies as it ends a log, the next one ends it; no record is lost or doubled."""
        accident(subsystem_dir)
        calls, real = iter(range(1000)), os.rename

        class Crashed(BaseException):
            pass

        def dying(*args: Any, **options: Any) -> None:
            if next(calls) == step // 2 and step % 2:
                raise Crashed
            real(*args, **options)
            if next(calls) == step // 2:
                raise Crashed

        held = lock.take(HomeDir(subsystem_dir.path.parent))
        assert held is not None
        with monkeypatch.context() as patch, suppress(Crashed):
            patch.setattr(os, "rename", dying)
            seal_all(Sealer.open(held, subsystem_dir))
        held.release()
        sealing(subsystem_dir)
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(subsystem_dir)
        assert [0] == Batches(subsystem_dir.current.batches).indexes()
