"""A disk that refuses, is full, is slow, or closes files under us: nothing is lost unless it is counted."""

from __future__ import annotations

import errno
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk
from ipfs_log_handlers.writer import Writer
from tests import oracle
from tests.workshop import (
    durable,
    refuse,
    seal_home,
    wait_until,
)
from tests.writer.appended import front, numbers, told


class TestDiskRefuses:
    @pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "EBADF"])
    @pytest.mark.parametrize("call", ["write", "open", "rename"])
    def test_counted(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: str
    ) -> None:
        """Pitfall 38: the disk refuses: no exception, the reason is counted; it recovers, and a control line tells."""
        made = make()
        made.append(front(0))
        if call != "write":
            made.close()
        refuse(monkeypatch, call, OSError(getattr(errno, error), "refused"))
        for number in range(1, 4):
            made.append(front(number))
        monkeypatch.undo()
        assert {error: 3} == made.dropped == made.untold
        monkeypatch.setattr(made, "_retry_at", 0.0)
        made.append(front(4))
        assert [0, 4] == numbers(home)
        assert {error: 3} == told(home)
        assert [1, 5] == [each["seq"] for each in durable(home)]
        assert (2, 5) == (made.durable, made.activity)

    def test_once(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 3: a record whose first write failed goes to a new segment at once, and nothing is lost."""
        made = make()
        made.append(front(0))
        refuse(monkeypatch, "write", OSError(errno.EIO, "io"), times=1)
        made.append(front(1))
        assert [0, 1] == numbers(home)
        assert {} == made.dropped

    @pytest.mark.parametrize("kept", [1, 50, -1])
    def test_short_write(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch, kept: int
    ) -> None:
        """Home rule 3: after a short write nothing follows in that segment; what was torn is damage, never a record."""
        made, real, once = make(), os.write, iter([1])
        made.append(front(0))
        monkeypatch.setattr(
            os, "write", lambda descriptor, data: real(descriptor, data[:kept] if next(once, None) else data)
        )
        made.append(front(1))
        made.append(front(2))
        made.close()
        monkeypatch.undo()
        seal_home(home)
        (log,) = oracle.read_home(home)["logs"]
        assert [0, 1, 2] == [each["n"] for each in log.records]
        assert 1 == len(list((home / "logs" / "quarantine").iterdir()))

    def test_written_and_yet_an_error(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A `write` that fails after it has written counts for what the file says."""
        made, real = make(), os.write
        made.append(front(0))

        def failing(descriptor: int, data: bytes) -> int:
            real(descriptor, data)
            raise OSError(errno.EIO, "late")

        monkeypatch.setattr(os, "write", failing)
        made.append(front(1))
        monkeypatch.undo()
        made.append(front(2))
        assert [0, 1, 2] == numbers(home)
        assert {} == made.dropped

    def test_block(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: under `block` a record waits for a full disk, and is there when somebody makes room."""
        made = make(when_full="block", flush_timeout=20)
        made.append(front(0))
        calls = refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"), times=4)
        made.append(front(1))
        assert 4 == len(calls)
        assert [0, 1] == numbers(home)
        assert {} == made.dropped

    def test_block_ends(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: `block` waits at most `flush_timeout`, then drops and counts."""
        made = make(when_full="block", flush_timeout=0.1)
        made.append(front(0))
        refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
        begun = time.monotonic()
        made.append(front(1))
        assert 0.1 <= time.monotonic() - begun < 5
        assert {"ENOSPC": 1} == made.dropped

    def test_no_wait_for_other_errors(self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: what making room does not cure is not waited for."""
        made = make(when_full="block", flush_timeout=100)
        made.append(front(0))
        refuse(monkeypatch, "open", OSError(errno.EROFS, "read-only"))
        made.close()
        made.append(front(1))
        assert {"EROFS": 1} == made.dropped

    def test_told_at_the_end(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 5: what was dropped is told when the writer is closed, though no record comes after it."""
        made = make()
        made.append(front(0))
        made.close()
        refuse(monkeypatch, "open", OSError(errno.EROFS, "read-only"))
        made.append(front(1))
        monkeypatch.undo()
        made.close()
        assert {} == made.untold
        assert 1 == seal_home(home)
        assert {"EROFS": 1} == oracle.read_home(home)["logs"][0].batches[0].manifest["dropped"]

    def test_foreign_home(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 29: nothing is written to another user's home; it is counted as that."""
        home.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        made = make()
        made.append(front(1))
        assert {"the home is refused": 1} == made.dropped
        assert [] == list(home.iterdir())

    def test_file_size_limit(self, make: Callable[..., Writer], home: Path) -> None:
        """Pitfall 38: a limit on the size of files is a disk that refuses, not a dead program."""
        made = make()
        made.append(front(0))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            for number in range(1, 40):
                made.append(front(number, "x" * 1500))
            large = made.durable
            made.append(front(99, "x" * 9000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert large == 40 - sum(made.dropped.values()) + 1 or large == made.durable
        assert 41 == made.durable + sum(made.dropped.values())
        assert set(made.dropped) <= {"EFBIG", "ENOSPC"}


class TestSpool:
    def test_bound(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 22: segments never take more than `max_spool_bytes`; what comes then is dropped and counted."""
        bound = 256 << 10
        made = make(max_spool_bytes=bound)
        for number in range(3000):
            made.append(front(number, "x" * 200))
            assert number % 100 or disk.allocated(home) <= bound
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

    def test_sealing_is_no_way_around(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 22: with a store that is down, sealed batches count too: the home stays within its bound."""
        bound = 512 << 10
        made = make(max_spool_bytes=bound, kubo=("http://127.0.0.1:1",))
        for number in range(400):
            made.append(front(number, os.urandom(2000).hex()))
            if number % 20 == 0:
                made.close()
                seal_home(home)
        assert made.dropped["the spool is full"] > 0
        assert disk.allocated(home / "logs") <= bound + (64 << 10)

    def test_block(self, make: Callable[..., Writer], home: Path) -> None:
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
    def test_closed_under_us(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 6: a daemonizer closed our file: the next record begins a new segment, and none is lost."""
        made = make()
        made.append(front(0))
        assert made._segment is not None
        os.close(made._segment.descriptor)
        made.append(front(1))
        made.tick()
        made.append(front(2))
        assert [0, 1, 2] == numbers(home)
        assert {} == made.dropped

    def test_somebody_else_has_it(self, make: Callable[..., Writer], home: Path, tmp_path: Path) -> None:
        """Home rule 6: after a tick no line lands in a file that took our descriptor's number, nor is it closed."""
        made = make()
        made.append(front(0))
        assert made._segment is not None
        number = made._segment.descriptor
        other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(other, number)
        os.close(other)
        made.tick()
        made.append(front(1))
        os.write(number, b"mine")
        os.close(number)
        assert b"mine" == (tmp_path / "other").read_bytes()
        assert [0, 1] == numbers(home)

    def test_directory_deleted(self, make: Callable[..., Writer], home: Path) -> None:
        """Pitfall 38: the home is deleted under us: from the next tick on a new one is there."""
        made = make()
        made.append(front(0))
        __import__("shutil").rmtree(home)
        made.tick()
        made.append(front(1))
        assert [1] == numbers(home)

    def test_untouched(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 6: where nothing happened, a tick changes nothing."""
        made = make()
        made.append(front(0))
        made.tick()
        made.append(front(1))
        assert 1 == len(list((home / "logs" / "spool").iterdir()))


class TestPower:
    def test_synced(self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        """With `durability="power"` a record is synced before the call returns; otherwise none is."""
        synced = list[int]()
        monkeypatch.setattr(disk, "sync_data", lambda _: synced.append(1))
        made = make()
        made.append(front(0))
        assert [] == synced
        made = make(durability="power")
        made.append(front(1))
        before = len(synced)
        made.append(front(2))
        assert before + 1 == len(synced)
        made.close()
        assert before + 2 == len(synced)

    def test_threads_share(self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Threads that wait together share one sync."""
        made, entered, go, synced = make(durability="power"), threading.Event(), threading.Event(), list[int]()
        made.append(front(0))

        def sync(_: int) -> None:
            synced.append(1)
            entered.set()
            go.wait(10)

        monkeypatch.setattr(disk, "sync_data", sync)
        threads = [threading.Thread(target=made.append, args=(front(n),)) for n in range(1, 7)]
        for each in threads:
            each.start()
        assert entered.wait(10)
        wait_until(lambda: made.activity == 7)
        go.set()
        for each in threads:
            each.join(10)
        assert len(synced) <= 3
        monkeypatch.undo()

    def test_sync_fails(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 7: a sync that failed is counted and never tried again on that segment; the next is another."""
        made = make(durability="power")
        made.append(front(0))
        monkeypatch.setattr(disk, "sync_data", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
        made.append(front(1))
        monkeypatch.undo()
        made.append(front(2))
        assert {"not synced": 1} == made.dropped == made.untold
        assert [0, 1, 2] == numbers(home)
        assert 2 == len(list((home / "logs" / "spool").iterdir()))

    def test_sync_before_a_torn_line(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What another thread appended, and has not synced yet, is synced when a torn line ends its segment."""
        made, synced = make(durability="power"), list[int]()
        made.append(front(0))
        monkeypatch.setattr(made, "_afterwards", None)  # the other thread stands between its write and its sync
        made.append(front(1))
        [segment] = (home / "logs" / "spool").iterdir()
        monkeypatch.setattr(disk, "sync_data", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
        refuse(monkeypatch, "write", OSError(errno.EIO, "io"), times=1)
        made.append(front(2))
        assert segment.stat().st_ino in synced
        assert [0, 1, 2] == numbers(home)

    def test_sync_of_a_full_segment_fails(self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        """A sync that fails as a segment is closed is counted too."""
        made = make(durability="power")
        made.append(front(0))
        monkeypatch.setattr(disk, "sync_data", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
        made.close()
        assert {"not synced": 1} == made.dropped
