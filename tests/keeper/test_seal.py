"""Seal: in which order, by whom, when, and what the disk may do meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, reserve, volume
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.lock import LostLockError
from ipfs_log_handlers.keeper.seal import Sealer
from tests.support.logging_home import (
    OTHER,
    WRITER,
    lines,
    path_meant,
    put_live,
    put_segment,
    refuse,
    seal_all,
    spy,
)
from tests.support.many_batches import files_looked_at, seal_batches
from tests.support.sealed_records import sealed_seqs


class TestOrder:
    def test_steps(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 7: CAR written and synced, head renamed, directory synced, only then is a segment unlinked."""
        put_segment(subsystem_dir, lines(1, 3))
        made = sealer()
        seal_all(made)
        steps = list[str]()

        def noting(name: str) -> None:
            real = getattr(os, name)

            def step(*args: Any, **options: Any) -> Any:
                steps.append(f"{name} {path_meant(args[0], options).name.split('.')[0]}")
                return real(*args, **options)

            monkeypatch.setattr(os, name, step)

        put_segment(subsystem_dir, lines(4, 4), number=1)
        for name in ("fsync", "rename"):
            noting(name)
        spy(monkeypatch, disk, "remove", lambda path: steps.append(f"unlink {path.stem}"))
        assert 1 == seal_all(made)
        monkeypatch.undo()
        segment = f"unlink {WRITER}-1"
        expected = ["fsync 000001", "fsync 000", "fsync head", "rename head", "fsync logs", segment, "fsync spool"]
        assert expected == [each for each in steps if each in expected]

    @pytest.mark.parametrize("step", range(24))
    def test_a_crash_between_any_two(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], step: int
    ) -> None:
        """Home rule 7: whichever call to the disk is the last one, the next keeper has each record exactly once."""
        for number in range(3):
            put_segment(subsystem_dir, lines(1 + 5 * number, 5 + 5 * number), number=number)
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
        assert list(range(1, 16)) == sealed_seqs(subsystem_dir)
        assert [] == list(subsystem_dir.spool.iterdir())

    @pytest.mark.slow
    @pytest.mark.parametrize("step", ["write", "fsync", "rename", "link"])
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EMFILE])
    def test_a_disk_that_refuses(
        self,
        subsystem_dir: SubsystemDir,
        sealer: Callable[[], Sealer],
        monkeypatch: pytest.MonkeyPatch,
        step: str,
        error: int,
    ) -> None:
        """Pitfall 38: when the disk refuses, nothing is sealed and nothing lost; when it works again, all is."""
        put_segment(subsystem_dir, lines(1, 5))
        made = sealer()
        refuse(monkeypatch, step, OSError(error, os.strerror(error)))
        with pytest.raises(OSError, match=os.strerror(error)):
            seal_all(made)
        monkeypatch.undo()
        assert made.sealed is None
        assert 1 == seal_all(made)
        assert [1, 2, 3, 4, 5] == sealed_seqs(subsystem_dir)

    def test_above_the_head(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 7: a CAR above the head exists for no reader, and is gone before its index is built anew."""
        put_segment(subsystem_dir, lines(1, 1))
        seal_all(sealer())
        batches = Batches(subsystem_dir.current.batches)
        batches.file(1).write_bytes(b"what a dead keeper wrote")
        batches.file(7).write_bytes(batches.file(0).read_bytes())
        put_segment(subsystem_dir, lines(2, 2), number=1)
        seal_all(sealer())
        assert [0, 1] == batches.indexes()
        assert [1, 2] == sealed_seqs(subsystem_dir)

    def test_a_keeper_starts_as_fast_in_an_old_home(
        self,
        home: Path,
        subsystem_dir: SubsystemDir,
        sealer: Callable[[], Sealer],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Home rule 33: it looks at the newest batch, at the newest directory, and at the first ten batches."""
        monkeypatch.setattr("ipfs_log_handlers.home.batch_files.A_DIRECTORY", 10)
        seal_batches(home, 25)
        batches = subsystem_dir.current.batches
        with files_looked_at() as paths:
            sealer()
        below = {path.removeprefix(f"{batches}/") for path in paths if path.startswith(f"{batches}/")}
        first = {f"000/{index:06}.car" for index in range(10)}
        assert below <= {"index", "002", "002/000024.car", *first}

    def test_offsets_leave_after_their_segments(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """Home rule 7: an offset stays in the head as long as its segment's name does."""
        live = put_live(subsystem_dir, lines(1, 2))
        made = sealer()
        seal_all(made)
        assert {str(live.name)} == set(made.consumed)
        put_segment(subsystem_dir, lines(1, 1), writer=OTHER)
        seal_all(made)
        assert str(live.name) in made.consumed
        live.close()
        seal_all(made)
        put_segment(subsystem_dir, lines(2, 2), writer=OTHER, number=1)
        seal_all(made)
        assert {f"{OTHER}-1"} == set(made.consumed)


class TestLock:
    def test_lost_before_the_signature(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 9: a keeper whose lock file was replaced seals nothing."""
        put_segment(subsystem_dir, lines(1, 1))
        made = sealer()
        HomeDir(subsystem_dir.path.parent).lock.unlink()
        with pytest.raises(LostLockError):
            seal_all(made)
        assert not subsystem_dir.current.head.exists()
        assert [] == Batches(subsystem_dir.current.batches).indexes()

    def test_lost_before_the_head(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 9: looked at again just before the head is replaced; then the index is given up, unshipped."""
        put_segment(subsystem_dir, lines(1, 1))
        made, real = sealer(), Batches.write

        def write(*args: Any) -> int:
            HomeDir(subsystem_dir.path.parent).lock.unlink()
            return real(*args)

        monkeypatch.setattr(Batches, "write", write)
        with pytest.raises(LostLockError):
            seal_all(made)
        assert not subsystem_dir.current.head.exists()

    def test_head_of_another(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 9: when the head is not what this keeper last wrote, it leaves; the other's batch stays."""
        put_segment(subsystem_dir, lines(1, 1))
        made = sealer()
        seal_all(made)
        put_segment(subsystem_dir, lines(2, 2), number=1)
        seal_all(sealer())
        put_segment(subsystem_dir, lines(3, 3), number=2)
        with pytest.raises(LostLockError):
            seal_all(made)
        assert [1, 2] == sealed_seqs(subsystem_dir)

    def test_network_mount(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 9: on a network mount signing is refused, and the error says so."""
        put_segment(subsystem_dir, lines(1, 1))
        monkeypatch.setattr(volume, "network_mount", lambda _: "nfs4")
        with pytest.raises(HomeError, match=r"network mount.*nfs4"):
            sealer()

    def test_exchanged_key(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 10: a key that was exchanged under a living keeper never signs the old log."""
        put_segment(subsystem_dir, lines(1, 1))
        made = sealer()
        seal_all(made)
        HomeDir(subsystem_dir.path.parent).key.unlink()
        put_segment(subsystem_dir, lines(2, 2), number=1)
        with pytest.raises(LostLockError):
            seal_all(made)


class TestSpace:
    def test_reserve(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 22: on ENOSPC the reserve is given up, and the same step is done once more, from nothing."""
        put_segment(subsystem_dir, lines(1, 1))
        home = HomeDir(subsystem_dir.path.parent)
        made = sealer()
        assert reserve.make(home.reserve)
        refuse(monkeypatch, "fsync", OSError(errno.ENOSPC, "full"), times=1)
        assert 1 == seal_all(made)
        assert 0 == home.reserve.stat().st_size
        assert [1] == sealed_seqs(subsystem_dir)

    def test_no_reserve(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 22: without a reserve, and for any other error, the disk's word is passed on."""
        put_segment(subsystem_dir, lines(1, 1))
        made = sealer()
        reserve.make(HomeDir(subsystem_dir.path.parent).reserve)
        refuse(monkeypatch, "fsync", OSError(errno.EIO, "io"))
        with pytest.raises(OSError, match="io"):
            seal_all(made)
        assert HomeDir(subsystem_dir.path.parent).reserve.exists()


def test_what_a_killed_keeper_left_half_written_is_swept(subsystem_dir, sealer):
    """The next keeper removes the temporary files of one that was killed, a half-written key among them."""
    put_segment(subsystem_dir, lines(1, 3))
    left = [
        subsystem_dir.path.parent / "writer.key.tmp",
        subsystem_dir.path / "head.1.tmp",
        subsystem_dir.current.shipped / "0123.1.tmp",
    ]
    subsystem_dir.current.shipped.mkdir(mode=0o700)
    for path in left:
        path.write_bytes(b"half")
    sealer()
    assert [] == [path for path in left if path.exists()]
