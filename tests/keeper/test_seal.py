"""Seal: in which order, by whom, when, and what the disk may do meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, quarantine, reserve
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.keeper.seal import FLOOD, Cut, LostLockError, Sealer
from ipfs_log_handlers.keeper.spool import Waiting
from tests import oracle
from tests.keeper.sealed import sealed_seqs
from tests.workshop import (
    OTHER,
    WRITER,
    lines,
    put_live,
    put_segment,
    refuse,
    seal_all,
    spy,
)


class TestOrder:
    def test_steps(self, room: Room, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 7: CAR written and synced, head renamed, directory synced, only then is a segment unlinked."""
        put_segment(room, lines(1, 3))
        made = sealer()
        seal_all(made)
        steps = list[str]()

        def noting(name: str) -> None:
            real = getattr(os, name)

            def step(*args: Any, **options: Any) -> Any:
                told = os.readlink(f"/proc/self/fd/{args[0]}") if isinstance(args[0], int) else str(args[0])
                steps.append(f"{name} {Path(told).name.split('.')[0]}")
                return real(*args, **options)

            monkeypatch.setattr(os, name, step)

        put_segment(room, lines(4, 4), number=1)
        for name in ("fsync", "rename"):
            noting(name)
        spy(monkeypatch, disk, "remove", lambda path: steps.append(f"unlink {path.stem}"))
        assert 1 == seal_all(made)
        monkeypatch.undo()
        segment = f"unlink {WRITER}-1"
        expected = ["fsync 000001", "fsync 000", "fsync head", "rename head", "fsync logs", segment, "fsync spool"]
        assert expected == [each for each in steps if each in expected]

    @pytest.mark.parametrize("step", range(24))
    def test_a_crash_between_any_two(self, room: Room, sealer: Callable[[], Sealer], step: int) -> None:
        """Home rule 7: whichever call to the disk is the last one, the next keeper has each record exactly once."""
        for number in range(3):
            put_segment(room, lines(1 + 5 * number, 5 + 5 * number), number=number)
        calls = iter(range(1000))
        patch = pytest.MonkeyPatch()

        class Crashed(BaseException):
            pass

        for name in ("fsync", "rename", "unlink", "link", "write"):
            real = getattr(os, name)

            def dying(*args: Any, real: Callable[..., Any] = real, **options: Any) -> Any:
                if next(calls) >= step:
                    raise Crashed
                return real(*args, **options)

            patch.setattr(os, name, dying)
        try:
            seal_all(sealer())
        except Crashed:
            pass
        finally:
            patch.undo()
        seal_all(sealer())
        assert list(range(1, 16)) == sealed_seqs(room)
        assert [] == list(room.spool.iterdir())

    @pytest.mark.parametrize("step", ["write", "fsync", "rename", "link"])
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EMFILE])
    def test_a_disk_that_refuses(
        self, room: Room, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch, step: str, error: int
    ) -> None:
        """Pitfall 38: when the disk refuses, nothing is sealed and nothing lost; when it works again, all is."""
        put_segment(room, lines(1, 5))
        made = sealer()
        refuse(monkeypatch, step, OSError(error, os.strerror(error)))
        with pytest.raises(OSError, match=os.strerror(error)):
            seal_all(made)
        monkeypatch.undo()
        assert made.sealed is None
        assert 1 == seal_all(made)
        assert [1, 2, 3, 4, 5] == sealed_seqs(room)

    def test_above_the_head(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 7: a CAR above the head exists for no reader, and is gone before its index is built anew."""
        put_segment(room, lines(1, 1))
        seal_all(sealer())
        batches = Batches(room.current.batches)
        batches.file(1).write_bytes(b"what a dead keeper wrote")
        batches.file(7).write_bytes(batches.file(0).read_bytes())
        put_segment(room, lines(2, 2), number=1)
        seal_all(sealer())
        assert [0, 1] == batches.indexes()
        assert [1, 2] == sealed_seqs(room)

    def test_offsets_leave_after_their_segments(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 7: an offset stays in the head as long as its segment's name does."""
        live = put_live(room, lines(1, 2))
        made = sealer()
        seal_all(made)
        assert {str(live.name)} == set(made.consumed)
        put_segment(room, lines(1, 1), writer=OTHER)
        seal_all(made)
        assert str(live.name) in made.consumed
        live.close()
        seal_all(made)
        put_segment(room, lines(2, 2), writer=OTHER, number=1)
        seal_all(made)
        assert {f"{OTHER}-1"} == set(made.consumed)


class TestLock:
    def test_lost_before_the_signature(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 9: a keeper whose lock file was replaced seals nothing."""
        put_segment(room, lines(1, 1))
        made = sealer()
        Home(room.path.parent).lock.unlink()
        with pytest.raises(LostLockError):
            seal_all(made)
        assert not room.current.head.exists()
        assert [] == Batches(room.current.batches).indexes()

    def test_lost_before_the_head(
        self, room: Room, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 9: looked at again just before the head is replaced; then the index is given up, unshipped."""
        put_segment(room, lines(1, 1))
        made, real = sealer(), Batches.write

        def write(*args: Any) -> int:
            Home(room.path.parent).lock.unlink()
            return real(*args)

        monkeypatch.setattr(Batches, "write", write)
        with pytest.raises(LostLockError):
            seal_all(made)
        assert not room.current.head.exists()

    def test_head_of_another(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 9: when the head is not what this keeper last wrote, it leaves; the other's batch stays."""
        put_segment(room, lines(1, 1))
        made = sealer()
        seal_all(made)
        put_segment(room, lines(2, 2), number=1)
        seal_all(sealer())
        put_segment(room, lines(3, 3), number=2)
        with pytest.raises(LostLockError):
            seal_all(made)
        assert [1, 2] == sealed_seqs(room)

    def test_network_mount(self, room: Room, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 9: on a network mount signing is refused, and the error says so."""
        put_segment(room, lines(1, 1))
        monkeypatch.setattr(disk, "network_mount", lambda _: "nfs4")
        with pytest.raises(HomeError, match=r"network mount.*nfs4"):
            sealer()

    def test_exchanged_key(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 10: a key that was exchanged under a living keeper never signs the old log."""
        put_segment(room, lines(1, 1))
        made = sealer()
        seal_all(made)
        Home(room.path.parent).key.unlink()
        put_segment(room, lines(2, 2), number=1)
        with pytest.raises(LostLockError):
            seal_all(made)


class TestWhen:
    def cut(self, made: Sealer, waiting: Waiting, now: float = 100.0, **how: bool) -> Cut | None:
        """The batch that is due."""
        return made.cut(waiting, now, **{"asked": False, "hasty": False, **how})

    def test_which_is_reached_first(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """A batch is due by count, by bytes, by age, or when somebody asks; otherwise it is not."""
        put_segment(room, b"", records=100, bytes=10_000, seconds=10)
        made = sealer()
        made.survey(0.0)
        assert self.cut(made, Waiting()) is None
        assert self.cut(made, Waiting(99, 9_999, 90.1)) is None
        assert self.cut(made, Waiting(99, 10_000, 99.0)) is not None
        assert self.cut(made, Waiting(99, 9_999, 90.0)) is not None
        assert self.cut(made, Waiting(1, 100, 99.9), asked=True) is not None
        due = self.cut(made, Waiting(250, 9_000, 99.9))
        assert due is not None
        assert (100, 100, 11) == (due.bounds.records, due.least, due.bounds.level)

    def test_flood(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Above ten batches' worth a batch takes all that waits, up to 32 MiB of lines, with the quick compression."""
        put_segment(room, b"", records=100)
        made = sealer()
        made.survey(0.0)
        due = self.cut(made, Waiting(FLOOD * 100 + 1, 0, 99.9))
        assert due is not None
        assert (1, True) == (due.bounds.level, due.bounds.records > 1 << 30)
        assert due.bounds.raw <= 32 << 20

    def test_exact_count(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Below a flood, batches have exactly the configured number of records."""
        put_segment(room, lines(1, 25), records=10)
        made = sealer()
        for expected in (10, 10, None):
            cut = made.cut(made.survey(0.0), 0.0, asked=False, hasty=False)
            assert expected == (cut and cut.bounds.records)
            list(made.seal(cut, hasty=False)) if cut else None
        assert [10, 10] == [len(each.lines or ()) for each in oracle.read_home(room.path.parent)["logs"][0].batches]

    def test_many_writers(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 13: a batch that closes at 64 sources is sealed though it is short, the others later."""
        for number in range(100):
            put_segment(room, lines(1, 1), writer=f"{number:016x}", records=100)
        made, found = sealer(), list[int]()
        for now in (0.0, 11.0, 22.0):
            cut = made.cut(made.survey(now), now, asked=False, hasty=False)
            for _ in made.seal(cut, hasty=False) if cut else ():
                pass
            found.append(made.sealed.records if made.sealed else 0)
        assert [64, 100, 100] == found
        (log,) = oracle.read_home(room.path.parent)["logs"]
        assert [64, 36] == [len(each.manifest["sources"]) for each in log.batches]

    def test_estimate(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """A count that was only an estimate makes no short batch, and is not asked again and again."""
        live = put_live(room, lines(1, 3) + b"junk\njunk\n", records=5)
        made = sealer()
        cut = made.cut(made.survey(0.0), 0.0, asked=False, hasty=False)
        assert cut is not None
        list(made.seal(cut, hasty=False))
        assert made.sealed is None
        assert made.cut(made.survey(0.0), 0.0, asked=False, hasty=False) is None
        assert 1 == seal_all(made)
        live.close()
        assert 1 == seal_all(made)
        assert made.sealed is not None
        assert (1, 3) == (quarantine.count(room.quarantine), made.sealed.records)


class TestSpace:
    def test_reserve(self, room: Room, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: on ENOSPC the reserve is given up, and the same step is done once more, from nothing."""
        put_segment(room, lines(1, 1))
        home = Home(room.path.parent)
        made = sealer()
        assert reserve.make(home.reserve)
        refuse(monkeypatch, "fsync", OSError(errno.ENOSPC, "full"), times=1)
        assert 1 == seal_all(made)
        assert not home.reserve.exists()
        assert [1] == sealed_seqs(room)

    def test_no_reserve(self, room: Room, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: without a reserve, and for any other error, the disk's word is passed on."""
        put_segment(room, lines(1, 1))
        made = sealer()
        reserve.make(Home(room.path.parent).reserve)
        refuse(monkeypatch, "fsync", OSError(errno.EIO, "io"))
        with pytest.raises(OSError, match="io"):
            seal_all(made)
        assert Home(room.path.parent).reserve.exists()


def test_what_a_killed_keeper_left_half_written_is_swept(room, sealer):
    """The next keeper removes the temporary files of one that was killed, a half-written key among them."""
    put_segment(room, lines(1, 3))
    left = [room.path.parent / "writer.tmp", room.path / "head.1.tmp", room.current.shipped / "0123.1.tmp"]
    room.current.shipped.mkdir(mode=0o700)
    for path in left:
        path.write_bytes(b"half")
    sealer()
    assert [] == [path for path in left if path.exists()]
