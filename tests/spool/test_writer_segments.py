"""Segments of a writer: their bound, a descriptor that is not ours any more, a next one that is refused."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.home import reserve, segments, volume
from ipfs_log_handlers.spool.writer import Writer
from tests.support import oracle
from tests.support.logging_home import (
    refuse,
    seal_home,
    spy,
    wait_until,
)
from tests.support.spool_appends import append, append_plain, front, numbers, told


class TestSpool:
    def test_the_spool_keeps_within_its_bound(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 22: segments never take more than `max_spool_bytes`; what comes then is dropped and counted."""
        bound = 256 << 10
        made = make(max_spool_bytes=bound)
        for number in range(3000):
            made.append(front(number, "x" * 200))
            assert number % 100 or volume.allocated(made.spool) <= bound
        assert {"the spool is full"} == set(made.dropped)
        assert 3000 == made.durable + made.dropped["the spool is full"]
        assert made.durable * 300 > bound // 2
        seal_home(home)
        monkey = made.durable

        def again() -> bool:
            made.append(front(9999))
            return made.durable > monkey

        made.close()
        seal_home(home)
        wait_until(again)
        made.close()
        seal_home(home)
        (log,) = oracle.read_home(home)["logs"]
        assert made.durable == len(log.records)
        assert made.dropped == {
            "the spool is full": sum(sum(each.manifest["dropped"].values()) for each in log.batches)
        }

    def test_unshipped_batches_count_towards_the_bound(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 22: with a store that is down, sealed batches count too: the home stays within its bound."""
        bound = 512 << 10
        made = make(max_spool_bytes=bound, kubo=("http://127.0.0.1:1",))
        for number in range(400):
            made.append(front(number, os.urandom(2000).hex()))
            if number % 20 == 0:
                made.close()
                seal_home(home)
        assert made.dropped["the spool is full"] > 0
        assert volume.allocated(home / "logs") <= bound + (64 << 10)

    def test_block_waits_for_room(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 22: under `block` a record waits until the keeper has made room."""
        made = make(max_spool_bytes=256 << 10, when_full="block", flush_timeout=30)
        blocked = threading.Event()

        def work() -> None:
            for number in range(1500):
                if number > 300:
                    blocked.set()
                made.append(front(number, "x" * 300))

        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            assert blocked.wait(20) or not thread.is_alive()
            seal_home(home)
            thread.join(0.01)
        made.close()
        seal_home(home)
        assert {} == made.dropped
        assert list(range(1500)) == [each["n"] for each in oracle.sealed_records(home)]


class TestDescriptors:
    def test_a_descriptor_that_was_closed_is_followed_by_a_new_segment(
        self, make: Callable[..., Writer], home: Path
    ) -> None:
        """Home rule 6: a daemonizer closed our file: the next record begins a new segment, and none is lost."""
        made = make()
        made.append(front(0))
        assert made.segments.current is not None
        os.close(made.segments.current.descriptor)
        made.append(front(1))
        made.check_segment()
        made.append(front(2))
        assert [0, 1, 2] == numbers(home)
        assert {} == made.dropped

    def test_a_descriptor_that_is_another_file_now_is_left_alone(
        self, make: Callable[..., Writer], home: Path, tmp_path: Path
    ) -> None:
        """Home rule 6: after a check no line lands in a file that took our descriptor's number, nor is it closed."""
        made = make()
        made.append(front(0))
        assert made.segments.current is not None
        number = made.segments.current.descriptor
        other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(other, number)
        os.close(other)
        made.check_segment()
        made.append(front(1))
        os.write(number, b"mine")
        os.close(number)
        assert b"mine" == (tmp_path / "other").read_bytes()
        assert [0, 1] == numbers(home)

    def test_a_home_that_was_removed_is_made_again(self, make: Callable[..., Writer], home: Path) -> None:
        """Pitfall 38: the home is deleted under us: from the next check on a new one is there."""
        made = make()
        made.append(front(0))
        shutil.rmtree(home)
        made.check_segment()
        made.append(front(1))
        assert [1] == numbers(home)

    @pytest.mark.parametrize("plain", [True, False], ids=["fast path", "slow path"])
    @pytest.mark.parametrize("durability", ["process", "power"])
    def test_a_writer_without_a_keeper_notices_a_home_that_was_removed(
        self, make: Callable[..., Writer], home: Path, plain: bool, durability: str
    ) -> None:
        """Home rule 6, pitfall 62: the next record is kept in a new home; what went with the old one is counted."""
        made = make(durability=durability)
        add = append_plain if plain else append
        for number in range(3):
            made.append(front(number))
        made.segments.check_at = 0.0
        add(made, 3)  # looked at just before
        made.segments.check_at = clock.monotonic() + 3600
        add(made, 4)
        add(made, 5)
        shutil.rmtree(home)
        made.segments.check_at = 0.0
        add(made, 6)
        assert [6] == numbers(home)
        assert {"the segment was removed": 3} == made.dropped
        assert 7 == made.activity

    def test_records_go_to_a_directory_that_was_put_in_the_place_of_the_home(
        self, make: Callable[..., Writer], home: Path, tmp_path: Path
    ) -> None:
        """Home rule 6: the old home was moved away, with its segment; without another one there, that one goes on."""
        made = make()
        made.append(front(0))
        home.rename(tmp_path / "old")
        made.segments.check_at = made.segments.check_home_at = 0.0
        made.append(front(1))
        home.mkdir(mode=0o700)
        made.segments.check_at = 0.0
        made.append(front(2))  # looked at just before
        made.segments.check_at = made.segments.check_home_at = 0.0
        made.append(front(3))
        assert [0, 1, 2] == numbers(tmp_path / "old")
        assert [3] == numbers(home)
        assert {} == made.dropped

    def test_lines_that_landed_before_a_descriptor_was_taken_are_not_counted(
        self, make: Callable[..., Writer], home: Path, tmp_path: Path
    ) -> None:
        """Home rule 6: between two looks some lines landed in the segment, some in another file: these are counted."""
        made = make()
        made.append(front(0))
        made.segments.check_at = clock.monotonic() + 3600
        made.append(front(1))
        assert made.segments.current is not None
        other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(other, made.segments.current.descriptor)
        made.append(front(2))
        made.segments.check_at = 0.0
        made.append(front(3))
        assert [0, 1, 3] == numbers(home)
        assert {"the segment was removed": 1} == made.dropped
        assert {"the segment was removed": 1} == told(home)
        os.close(other)

    @pytest.mark.usefixtures("_python_takes_records")
    def test_a_segment_is_looked_at_often_but_not_at_each_record(
        self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 6: a look costs a system call, so that records in quick succession share one."""
        looks: list[object] = []
        spy(monkeypatch, segments.Segment, "intact", looks.append)
        made = make()
        made.append(front(0))
        made.segments.check_at = clock.monotonic() + 3600
        for number in range(1, 100):
            append_plain(made, number)
        assert [] == looks
        made.segments.check_at = 0.0
        append_plain(made, 100)
        assert 1 == len(looks)

    def test_a_check_leaves_a_good_segment_alone(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 6: where nothing happened, a check changes nothing."""
        made = make()
        made.append(front(0))
        made.check_segment()
        made.append(front(1))
        assert 1 == len(list((home / "logs" / "spool").iterdir()))


class TestReserveInUse:
    """Home rule 22: the space that sealing has freed for itself is not for new records."""

    @pytest.mark.parametrize("put", [append, append_plain])
    def test_the_open_segment_does_not_grow_into_the_space_of_the_reserve(
        self,
        make: Callable[..., Writer],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        put: Callable[[Writer, int], None],
    ) -> None:
        """It takes 64 KiB at most, then records are dropped until the disk has room for a reserve again."""
        made = make()
        put(made, 0)
        assert (home / "reserve").stat().st_size > 0
        with monkeypatch.context() as patch:
            patch.setattr("ipfs_log_handlers.home.volume.free_bytes", lambda _: 0)
            assert reserve.give_up(home / "reserve")
            for number in range(1, 3000):
                put(made, number)
            [path] = (home / "logs" / "spool").glob("*.seg")
            assert path.stat().st_size < 128 << 10
            assert {"ENOSPC"} == set(made.dropped)
        kept = made.durable

        def again() -> bool:
            put(made, 3000)
            return made.durable > kept

        wait_until(again)
        assert len(list((home / "logs" / "spool").glob("*.seg"))) > 1


class TestNextSegmentRefused:
    """Where no further segment can be made, the open one goes on: its file takes what the directory refuses."""

    @pytest.mark.slow
    @pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE])
    @pytest.mark.parametrize("put", [append, append_plain])
    def test_the_open_segment_goes_on(
        self,
        make: Callable[..., Writer],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        put: Callable[[Writer, int], None],
        error: int,
    ) -> None:
        """No record is lost; as soon as a segment can be made, the full one is ended."""
        made = make(max_spool_bytes=1 << 20)
        put(made, 0)
        with monkeypatch.context() as patch:
            refuse(patch, "mkdir", OSError(error, "refused"))
            refuse(patch, "open", OSError(error, "refused"))
            for number in range(1, 3000):
                put(made, number)
        assert {} == made.dropped
        assert 1 == len(list((home / "logs" / "spool").glob("*.seg")))
        made.segments._retry_at = 0.0
        for number in range(3000, 5000):
            put(made, number)
        made.close()
        assert list(range(5000)) == numbers(home)
        assert 2 <= len(list((home / "logs" / "spool").glob("*.seg")))

    def test_it_goes_on_up_to_the_bound_of_the_spool_and_then_says_what_was_dropped(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control line has room: `status` of another process counts the dropped records, too."""
        made = make(max_spool_bytes=256 << 10)
        append(made, 0)
        refuse(monkeypatch, "open", OSError(errno.EACCES, "refused"))
        for number in range(1, 4000):
            append(made, number)
        made.close()
        monkeypatch.undo()
        [segment] = (home / "logs" / "spool").glob("*.seg")
        assert (256 << 10) - (16 << 10) < segment.stat().st_size <= 256 << 10
        kept = len(numbers(home))
        assert {"EACCES": 4000 - kept} == told(home) == made.dropped

    def test_on_a_full_disk_the_full_segment_is_ended(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So it can be sealed and removed, which makes room."""
        made = make(max_spool_bytes=1 << 20)
        append(made, 0)
        with monkeypatch.context() as patch:
            refuse(patch, "mkdir", OSError(errno.ENOSPC, "full"))
            refuse(patch, "open", OSError(errno.ENOSPC, "full"))
            for number in range(1, 3000):
                append(made, number)
        assert "ENOSPC" in made.dropped
        assert made.segments.current is None

    def test_what_refused_is_explained(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The text names the file, and the next step; it is gone when the next record is kept."""
        made = make()
        with monkeypatch.context() as patch:
            refuse(patch, "open", PermissionError(errno.EACCES, "Permission denied", str(home)))
            append(made, 0)
        assert made.refusal is not None
        assert f"{home}: permission denied. " in made.refusal
        assert "IPFS_LOGS_HOME" in made.refusal
        made.segments._retry_at = 0.0
        append(made, 1)
        assert made.refusal is None
