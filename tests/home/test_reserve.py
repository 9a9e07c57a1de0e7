"""The reserve is space and inodes that a full disk gives back when sealing needs them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home import disk, reserve, volume
from tests.support.logging_home import refuse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the reserve of a home."""
    return tmp_path / "reserve"


def with_disk(
    monkeypatch: pytest.MonkeyPatch, *, total: int = 1 << 40, free: int = 1 << 39, inodes: int = 1000
) -> None:
    """Let the disk say these numbers of itself: bytes in all, free bytes, and free inodes of 100,000."""
    real = os.statvfs

    def told(where: Any) -> os.statvfs_result:
        fields = list(real(where))
        fields[0:8] = [4096, 4096, total // 4096, free // 4096, free // 4096, 100_000, inodes, inodes]
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", told)


class TestSpace:
    def test_the_reserve_is_space_that_the_disk_has_given(self, path: Path) -> None:
        """Home rule 22: it is freed once, and made again; the empty file stays as a sign for the writers."""
        assert reserve.make(path)
        assert reserve.MAX_BYTES <= volume.allocated(path.parent)
        assert reserve.make(path)
        assert reserve.give_up(path)
        assert not reserve.give_up(path)
        assert 0 == path.stat().st_size == volume.allocated(path.parent)
        assert reserve.make(path)

    def test_nothing_is_left_of_a_try_on_a_disk_that_is_nearly_full(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 22: where there is no room for twice its size, there is no reserve."""
        with_disk(monkeypatch, free=reserve.MAX_BYTES)
        assert not reserve.make(path)
        monkeypatch.undo()
        refuse(monkeypatch, "posix_fallocate", OSError(errno.ENOSPC, "full"))
        assert not reserve.make(path)
        assert [] == list(path.parent.iterdir())

    def test_a_reserve_that_is_too_small_is_made_anew(self, path: Path) -> None:
        """A crash may leave it."""
        path.write_bytes(b"x")
        assert reserve.make(path)
        assert reserve.MAX_BYTES == path.stat().st_size

    def test_a_small_disk_gives_an_eighth_of_its_size(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rounded down to whole blocks."""
        with_disk(monkeypatch, total=8 * 123_456)
        assert 122_880 == reserve.wanted_bytes(path)

    def test_where_nothing_can_be_written_there_is_no_reserve_and_no_exception(self, tmp_path: Path) -> None:
        """A missing directory, and a directory in its place."""
        assert not reserve.make(tmp_path / "missing" / "reserve")
        (tmp_path / "reserve").mkdir()
        assert not reserve.make(tmp_path / "reserve")

    def test_a_disk_is_nearly_full_when_less_is_left_than_a_reserve(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 22: less than two reserves while there is none."""
        size = reserve.MAX_BYTES
        with_disk(monkeypatch, free=2 * size)
        assert 0 == reserve.missing_bytes(path)
        with_disk(monkeypatch, free=2 * size - 4096)
        assert 2 * size + 4096 == reserve.missing_bytes(path)
        reserve.give_up(path)
        path.write_bytes(bytes(size))
        assert 0 == reserve.missing_bytes(path)
        with_disk(monkeypatch, free=size - 4096)
        assert 3 * size + 4096 == reserve.missing_bytes(path)

    def test_an_empty_reserve_is_in_use_until_there_is_room_for_it(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Writers begin no segment meanwhile; a missing reserve is no such sign."""
        assert not reserve.is_in_use(path)
        reserve.make(path)
        reserve.give_up(path)
        with_disk(monkeypatch, free=reserve.MAX_BYTES)
        assert reserve.is_in_use(path)
        with_disk(monkeypatch)
        assert not reserve.is_in_use(path)
        assert reserve.MAX_BYTES == path.stat().st_size


class TestFiles:
    def names(self, path: Path) -> list[str]:
        """List the small files."""
        return sorted(disk.names(path.parent / "reserve-files"), key=int)

    def test_the_files_are_made_once_and_made_again(self, path: Path) -> None:
        """Each has a block whose content is written."""
        for _ in range(2):
            reserve.make_files(path)
            assert [str(number) for number in range(reserve.FILES)] == self.names(path)
        assert b"\n" * reserve.FILE_BYTES == (path.parent / "reserve-files" / "0").read_bytes()
        (path.parent / "reserve-files" / "3").unlink()
        reserve.make_files(path)
        assert "3" in self.names(path)

    def test_sealing_leaves_some_files_for_the_counts_of_dropped_records(self, path: Path) -> None:
        """The others give their inodes back."""
        reserve.make_files(path)
        assert reserve.give_up(path)
        assert 8 == len(self.names(path))

    def test_no_file_is_made_where_few_inodes_are_left(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Twice as many as they take must be free."""
        with_disk(monkeypatch, inodes=2 * reserve.FILES - 1)
        reserve.make_files(path)
        assert [] == disk.names(path.parent / "reserve-files")

    @pytest.mark.parametrize("kind", ["file", "link", "pipe"])
    def test_what_stands_in_the_place_of_the_files_is_left_alone(self, path: Path, tmp_path: Path, kind: str) -> None:
        """No exception reaches a logging call or the keeper, and nothing outside the home is touched."""
        outside = tmp_path / "outside"
        outside.mkdir()
        place = path.parent / "reserve-files"
        if kind == "link":
            place.symlink_to(outside)
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            place.write_text("x")
        reserve.make_first(path, with_files=True)
        reserve.make_files(path)
        assert not reserve.take_file(path, path.parent / "taken")
        reserve.give_up(path)
        assert [] == list(outside.iterdir())

    def test_a_file_is_taken_once(self, path: Path) -> None:
        """It has its new name then; when none is left, that is said."""
        reserve.make_files(path)
        for number in range(reserve.FILES):
            assert reserve.take_file(path, path.parent / f"taken-{number}")
        assert not reserve.take_file(path, path.parent / "one-more")
        assert [] == self.names(path)


class TestRoom:
    def test_the_last_inodes_are_for_somebody_who_waits(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch that is due by time alone leaves them."""
        with_disk(monkeypatch, inodes=5)
        room = reserve.room(path)
        assert (True, False, False) == (room.fits(urgent=True), room.fits(urgent=False), room.has_many_inodes)

    def test_a_batch_gets_half_of_what_is_free(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """So it fits in any case; a part of the reserve's size stays free for delivery states."""
        with_disk(monkeypatch, free=1 << 20)
        room = reserve.room(path)
        assert ((1 << 20) - reserve.MAX_BYTES // 16) // 2 == room.max_raw_bytes
        assert room.fits(urgent=False)

    def test_a_disk_without_room_is_named_with_what_is_left(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says how many bytes and inodes are free."""
        with_disk(monkeypatch, free=8192, inodes=1)
        with pytest.raises(OSError, match="8,192 bytes and 1 inodes are free") as caught:
            reserve.make_room(path, urgent=True)
        assert errno.ENOSPC == caught.value.errno

    def test_a_step_that_finds_no_room_is_done_again_from_the_reserve(self, path: Path) -> None:
        """An error of another kind passes through."""
        reserve.make(path)
        errors = [OSError(errno.ENOSPC, "full")]

        def step() -> str:
            if errors:
                raise errors.pop()
            return "done"

        assert "done" == reserve.with_reserve(path, step)
        assert 0 == path.stat().st_size
        errors.append(OSError(errno.EIO, "io"))
        with pytest.raises(OSError, match="io"):
            reserve.with_reserve(path, step)
