from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_log_handlers.format.checkpoint import Checkpoint
from ipfs_log_handlers.home import disk, head, keys, lock, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.home.shipped import Mark
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.keeper.succession import stand
from tests import oracle
from tests.workshop import OTHER, WRITER, keeping, lines, put_live, put_segment, seal_all


def sealing(room: Room) -> Sealer:
    """One keeper that seals all, and leaves."""
    with keeping(Home(room.path.parent)) as held:
        made = Sealer(held, room)
        seal_all(made)
    return made


def logs(room: Room) -> list[list[tuple[str, int]]]:
    """Writer and sequence number of each record in each log, oldest log first, also where the head is lost."""
    found = list[list[tuple[str, int]]]()
    for shelf in room.shelves():
        batches = Batches(shelf.batches)
        runs = [run for index in batches.indexes() for run in batches.facts(index).manifest.sources]
        found.append([(writer, seq) for writer, _, first, last in runs for seq in range(first, last + 1)])
    return found


def everything(room: Room) -> list[tuple[str, int]]:
    """The records of all logs, sorted."""
    return sorted(each for log in logs(room) for each in log)


def numbered(**writers: range) -> list[tuple[str, int]]:
    """What `everything` shall be."""
    names = {"one": WRITER, "other": OTHER, "zero": "0" * 16}
    return sorted((names[name], seq) for name, found in writers.items() for seq in found)


@pytest.fixture
def room(home: Path) -> Room:
    """A subsystem with two batches, and a segment that is half consumed and whose writer lives."""
    room = Home(home).room("logs")
    put_segment(room, lines(1, 2), writer=OTHER)
    sealing(room)
    live = put_live(room, lines(1, 3))
    sealing(room)
    os.write(live.descriptor, lines(4, 5))
    live.close()
    return room


def damaged(room: Room) -> None:
    """The end of the head is lost."""
    room.current.head.write_bytes(room.current.head.read_bytes()[:-9])


def missing(room: Room) -> None:
    """The head is lost."""
    room.current.head.unlink()


def copied(room: Room) -> None:
    """The home is a copy."""
    shutil.copytree(room.path, room.path.with_name("copy"))
    room.path.rename(room.path.parent.parent / "original")
    room.path.with_name("copy").rename(room.path)


def new_key(room: Room) -> None:
    """The key is lost."""
    Home(room.path.parent).key.unlink()


def rolled_back(room: Room) -> None:
    """A store has a batch that the home does not know."""
    sealed = head.load(room.current.head)
    assert sealed is not None
    shipped.store(room.current.shipped, "s", Mark(log=sealed.log, address="x").confirm([0, 1, 2]))


def newest_gone(room: Room) -> None:
    """The newest batch is lost."""
    Batches(room.current.batches).file(1).unlink()


def newest_damaged(room: Room) -> None:
    """The end of the newest batch is lost."""
    path = Batches(room.current.batches).file(1)
    path.write_bytes(path.read_bytes()[:200])


class TestNewLog:
    @pytest.mark.parametrize("accident", [damaged, missing, copied, rolled_back])
    def test_accidents(self, room: Room, accident: Callable[[Room], None]) -> None:
        """Home rule 10: a copied, lost, damaged or rolled-back head begins a new log; each record is there once."""
        before = head.load(room.current.head)
        assert before is not None
        accident(room)
        made = sealing(room)
        assert made.sealed is not None
        assert (0, True) == (made.sealed.index, made.sealed.log != before.log)
        assert [[(WRITER, 4), (WRITER, 5)]] == logs(room)[1:]
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(room)
        old = Batches(room.former_shelves()[0].batches)
        assert [0, 1] == old.indexes()
        assert room.former_shelves()[0].path.name.endswith(before.log[-8:])

    @pytest.mark.parametrize("accident", [damaged, missing, copied, rolled_back])
    def test_evidence(self, room: Room, accident: Callable[[Room], None]) -> None:
        """Home rule 10: the first manifest of the new log names the old one's last checkpoint, and carries it."""
        old = Batches(room.current.batches).facts(1)
        accident(room)
        sealing(room)
        batches = Batches(room.current.batches)
        (evidence,) = batches.facts(0).manifest.evidence
        note = dict(batches.blocks(0))[evidence]
        assert old.head.checkpoint == note
        key = keys.load(Home(room.path.parent))
        assert key is not None
        assert 2 == Checkpoint.open(note, key.verifier).size

    def test_another_key(self, room: Room) -> None:
        """Home rule 10: another key cannot go on with a log; what that one had consumed stays consumed."""
        old = Batches(room.current.batches).facts(1).manifest.log
        new_key(room)
        made = sealing(room)
        assert made.sealed is not None
        assert (0, 2) == (made.sealed.index, Batches(room.current.batches).facts(0).manifest.records)
        assert old.split("/")[1] != made.sealed.log.split("/")[1]

    @pytest.mark.parametrize("accident", [newest_gone, newest_damaged])
    def test_newest_batch(self, room: Room, accident: Callable[[Room], None]) -> None:
        """Home rule 10: when the newest batch is lost or damaged, its index is never signed again; sealing goes on."""
        accident(room)
        made = sealing(room)
        assert made.sealed is not None
        assert (0, 2) == (made.sealed.index, Batches(room.current.batches).facts(0).manifest.records)
        assert 1 == len(room.former_shelves())

    def test_other_machine(self, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 10: a home that came from another machine begins a new log."""
        monkeypatch.setattr(disk, "machine_id", lambda: "another")
        assert "another machine" in str(stand(room, keys.load_or_make(Home(room.path.parent)).name).why)

    def test_the_same_home(self, room: Room) -> None:
        """A home that was only moved, or whose keeper changes, goes on with its log."""
        moved = room.path.parent.with_name("moved")
        room.path.parent.rename(moved)
        room = Home(moved).room("logs")
        assert 2 == (sealing(room).sealed or pytest.fail("no head")).index
        assert 1 == len(logs(room))
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(room)
        assert 7 == len(oracle.sealed_records(moved))

    def test_first_log(self, home: Path) -> None:
        """Where there was no log before, the first one has no evidence and no reason."""
        room = Home(home).room("logs")
        put_segment(room, lines(1, 1))
        standing = stand(room, None)
        assert (None, None, None, None) == (standing.sealed, standing.inherited, standing.evidence, standing.why)


class TestLostHead:
    def test_more_than_one_batch(self, home: Path) -> None:
        """Home rule 10: what waits after a lost head may need many batches; none of them holds a record twice."""
        room = Home(home).room("logs")
        for number, writer in enumerate((WRITER, OTHER, "0" * 16)):
            put_live(room, lines(1, 10 + number), writer=writer, records=4).close()
            shutil.copy(room.spool / f"{writer}-0.seg", home / writer)
        sealing(room)
        for writer in (WRITER, OTHER, "0" * 16):
            (room.spool / f"{writer}-0.seg").write_bytes((home / writer).read_bytes() + lines(20, 30))
        missing(room)
        with keeping(Home(home)) as held:
            first = Sealer(held, room)
            cut = first.cut(first.survey(0.0), 0.0, asked=False, hasty=False)
            assert cut is not None
            for _ in first.seal(cut, hasty=False):
                pass
        sealing(room)
        assert [33, 33] == [len(each) for each in logs(room)]
        assert 66 == len(set(everything(room)))

    @pytest.mark.parametrize(
        "accidents", [(missing, missing), (copied, missing), (missing, damaged), (copied, damaged)]
    )
    def test_twice(self, room: Room, accidents: tuple[Callable[[Room], None], ...]) -> None:
        """Home rule 10: a head that is lost twice gives three logs, and still each record once."""
        for number, accident in enumerate(accidents):
            accident(room)
            put_segment(room, lines(6 + number, 6 + number), number=1 + number)
            sealing(room)
        assert numbered(one=range(1, 8), other=range(1, 3)) == everything(room)
        assert 2 == len(room.former_shelves())
        batches = Batches(room.current.batches)
        assert 1 == len(batches.facts(0).manifest.evidence)

    def test_live_segment_twice(self, home: Path) -> None:
        """Home rule 10: what only the oldest log had sealed of a living segment is not sealed again by the third."""
        room = Home(home).room("logs")
        live = put_live(room, lines(1, 5))
        sealing(room)
        missing(room)
        put_segment(room, lines(1, 1), writer=OTHER)
        sealing(room)
        missing(room)
        put_segment(room, lines(2, 2), writer=OTHER, number=1)
        sealing(room)
        live.close()
        sealing(room)
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(room)


class TestCrash:
    @pytest.mark.parametrize("accident", [copied, missing, damaged])
    @pytest.mark.parametrize("step", range(12))
    def test_between_any_two_steps(
        self, room: Room, monkeypatch: pytest.MonkeyPatch, accident: Callable[[Room], None], step: int
    ) -> None:
        """Home rule 10: wherever a keeper dies as it ends a log, the next one ends it; no record is lost or doubled."""
        accident(room)
        calls, real = iter(range(1000)), os.rename

        class Crashed(BaseException):
            pass

        def dying(*args: Path) -> None:
            if next(calls) == step // 2 and step % 2:
                raise Crashed
            real(*args)
            if next(calls) == step // 2:
                raise Crashed

        monkeypatch.setattr(os, "rename", dying)
        held = lock.take(Home(room.path.parent))
        assert held is not None
        try:
            seal_all(Sealer(held, room))
        except Crashed:
            pass
        finally:
            held.release()
            monkeypatch.undo()
        sealing(room)
        assert numbered(one=range(1, 6), other=range(1, 3)) == everything(room)
        assert [0] == Batches(room.current.batches).indexes()
