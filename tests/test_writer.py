from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import subsystems, writer
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.writer import Writer
from tests import oracle
from tests.workshop import (
    durable,
    interrupted,
    keeping,
    refuse,
    seal_all,
    seal_home,
    settings,
    spy,
    wait_until,
)

FRONT = b'{"time":"2026-01-02T03:04:05.000000Z","level":"info","logger":"t","event":"e"'


def front(number: int, more: str = "") -> bytes:
    """The front of a record with a number of the test's own."""
    return FRONT + b',"n":%d,"text":"%b"' % (number, more.encode())


@pytest.fixture
def make(home: Path) -> Iterator[Callable[..., Writer]]:
    """Makes writers of one home, which are closed at the end."""
    made = list[Writer]()

    def new(*, first: Callable[[], None] = lambda: None, **more: Any) -> Writer:
        one = Writer(Home(home), subsystems.get("logs"), settings(home, **more), first)
        made.append(one)
        return one

    yield new
    for each in made:
        each.close()


@pytest.fixture
def room(home: Path) -> Room:
    """Where the writers of `make` write."""
    return Home(home).room("logs")


def numbers(home: Path) -> list[int]:
    """The tests' own numbers of all durable records, in order."""
    return [each["n"] for each in durable(home)]


def told(home: Path) -> dict[str, int]:
    """What the control lines of a spool tell, added up; each with its range of sequence numbers."""
    found: dict[str, int] = {}
    for path in sorted((home / "logs" / "spool").glob("*.seg")):
        for raw in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                decoded = line.decode(raw)
                if decoded.kind == line.CONTROL:
                    for reason, each in json.loads(decoded.json)["dropped"].items():
                        assert each["last"] - each["first"] + 1 >= each["count"] > 0
                        found[reason] = found.get(reason, 0) + each["count"]
    return found


class TestIdentity:
    def test_random(self, make: Callable[..., Writer], home: Path) -> None:
        """Home, names: a writer is 64 random bits, drawn at its first record; `seq` starts at 1."""
        for _ in range(2):
            made = make()
            assert made.position() is None
            made.append(front(1))
            made.append(front(2))
        names = segments.listing(home / "logs" / "spool")
        assert 2 == len({name.writer for name in names})
        assert all(16 == len(name.writer) for name in names)
        assert [1, 1, 2, 2] == sorted(each["seq"] for each in durable(home))

    def test_nothing_before_the_first_record(self, make: Callable[..., Writer], home: Path) -> None:
        """Nothing is made on the disk before the first record."""
        make().close()
        assert not home.exists()

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_fork(self, make: Callable[..., Writer], home: Path) -> None:
        """Home, names: a child draws an identity of its own, and begins at 1."""
        made = make()
        made.append(front(1))
        child = os.fork()
        if not child:
            made.after_fork_in_child()
            made.append(front(2))
            os._exit(0 if (1, 1) == (made.durable, made.activity) else 1)
        assert 0 == os.waitpid(child, 0)[1]
        made.append(front(3))
        assert [(1, 1), (2, 1), (3, 2)] == sorted((each["n"], each["seq"]) for each in durable(home))

    def test_first_record(self, make: Callable[..., Writer]) -> None:
        """The first record is told once, outside all locks."""
        seen = list[bool]()

        def look() -> None:
            seen.append(made._lock.acquire(timeout=5))
            made._lock.release()

        def first() -> None:
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()

        made = make(first=first)
        for number in range(3):
            made.append(front(number))
        assert [True] == seen

    def test_first_record_fails(self, make: Callable[..., Writer], home: Path) -> None:
        """What goes wrong as the keeper is started is not the program's; the record is there, once."""
        made = make(first=lambda: 1 / 0)
        made.append(front(1))
        made.append(front(2))
        assert [1, 2] == numbers(home)


class TestAppend:
    def test_one_write_each(self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 3: a record is one `write(2)` of one whole line."""
        made, written = make(), list[bytes]()
        made.append(front(0))
        spy(monkeypatch, os, "write", lambda _, data: written.append(data))
        for number in range(5):
            made.append(front(number))
        assert list(range(5)) == [json.loads(line.decode(each[:-1]).json)["n"] for each in written]

    def test_threads(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 3: file order is seq order, without a gap, whatever the threads do."""
        made = make()

        def work(base: int) -> None:
            for number in range(300):
                made.append(front(base + number))

        threads = [threading.Thread(target=work, args=(1000 * each,)) for each in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        found = durable(home)
        assert list(range(1, 1801)) == [each["seq"] for each in found]
        assert 1800 == len({each["n"] for each in found}) == made.durable
        for base in range(6):
            own = [each["n"] for each in found if each["n"] // 1000 == base]
            assert sorted(own) == own

    def test_rotation(self, make: Callable[..., Writer], room: Room) -> None:
        """Home rule 2: a segment that is full is closed, and the next number begun; the order goes on."""
        made = make(max_spool_bytes=1 << 20)
        for number in range(60):
            made.append(front(number, "x" * 9000))
        names = segments.listing(room.spool)
        assert [0, 1, 2, 3] == [name.number for name in names]
        assert list(range(60)) == numbers(room.path.parent)
        free = [disk.open_locked(room.spool / name.file_name, os.O_RDONLY) for name in names]
        assert [True, True, True, False] == [each is not None for each in free]
        for descriptor in free:
            disk.close_locked(descriptor) if descriptor is not None else None

    def test_after_close(self, make: Callable[..., Writer], home: Path) -> None:
        """A record after `close` begins another segment."""
        made = make()
        for number in range(3):
            made.append(front(number))
            made.close()
            made.close()
        assert [0, 1, 2] == numbers(home)
        assert 3 == len(list((home / "logs" / "spool").iterdir()))

    def test_configure(self, make: Callable[..., Writer], home: Path, room: Room) -> None:
        """Home rule 28: new settings stand in the header of a new segment, begun with the next record."""
        made = make()
        made.append(front(1))
        made.configure(settings(home, keep_days=3))
        made.configure(settings(home, keep_days=3))
        made.append(front(2))
        headers = [segments.read_header(room.spool / each.file_name) for each in segments.listing(room.spool)]
        assert [7.0, 3] == [each.settings["keep_days"] for each in headers]


class TestNested:
    def test_signal_handler(self, make: Callable[..., Writer], home: Path) -> None:
        """Home rule 3, pitfall 19: what a signal handler logs inside `append` is written by it before it returns."""
        made, ticks = make(), list[int]()

        def handler(*_: object) -> None:
            if len(ticks) < 100:
                ticks.append(1)
                made.append(front(1_000_000 + len(ticks)))

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.004)
        until = time.monotonic() + 30
        number = 0
        try:
            while len(ticks) < 100 and time.monotonic() < until:
                made.append(front(number))
                number += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        made.append(front(number))
        found = numbers(home)
        assert list(range(number + 1)) == [each for each in found if each < 1_000_000]
        assert 100 == len([each for each in found if each > 1_000_000]) == len(ticks)
        assert list(range(1, number + 102)) == [each["seq"] for each in durable(home)]

    @pytest.mark.parametrize("durability", ["process", "power"])
    def test_inside_each_call(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch, durability: str
    ) -> None:
        """Pitfall 19: wherever in the disk's calls a nested record comes, it does not deadlock, and is written."""
        made = make(durability=durability)
        made.append(front(0))
        numbers_left = iter(range(1000, 2000))
        for name in ("write", "fstat", "fsync", "fdatasync", "rename"):
            real = getattr(os, name)

            def nesting(*args: Any, real: Callable[..., Any] = real) -> Any:
                number = next(numbers_left, None)
                if number is not None and number < 1010:
                    made.append(front(number))
                return real(*args)

            monkeypatch.setattr(os, name, nesting)
        for number in range(1, 6):
            made.append(front(number))
        made.close()
        monkeypatch.undo()
        found = numbers(home)
        assert list(range(6)) == [each for each in found if each < 1000]
        assert list(range(1000, 1010)) == sorted(each for each in found if each >= 1000)

    def test_too_often(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 5: nested records beyond every bound are counted, and the count is told."""
        monkeypatch.setattr(writer, "_LONGEST_NESTED", 3)
        made, real, once = make(), os.write, iter([1])
        made.append(front(0))

        def nesting(descriptor: int, data: bytes) -> int:
            if next(once, None):
                for number in range(10, 20):
                    made.append(front(number))
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", nesting)
        made.append(front(1))
        monkeypatch.undo()
        assert [0, 1, 10, 11, 12] == numbers(home)
        assert {"nested too often": 7} == made.dropped == made.untold
        made.close()
        made.append(front(2))
        assert {"nested too often": 7} == told(home) == made.dropped
        assert {} == made.untold

    def test_close_inside(self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A `close` or a tick of the thread from a signal handler takes no segment away from under a record."""
        made, real = make(), os.write
        made.append(front(0))

        def closing(descriptor: int, data: bytes) -> int:
            made.close()
            made.tick()
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", closing)
        made.append(front(1))
        monkeypatch.undo()
        assert [0, 1] == numbers(home)
        assert {} == made.dropped

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
    @pytest.mark.parametrize("first", [True, False])
    def test_interrupted_at_every_line(
        self,
        make: Callable[..., Writer],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: type[BaseException],
        first: bool,
    ) -> None:
        """Pitfall 24: an interrupt at any line leaves no half line and no held lock; a record is there once or not."""
        monkeypatch.setattr(writer, "spool_bytes", lambda *_: 0)  # its lines grow with the number of segments
        made, line_number = make(), 0
        if not first:
            made.append(front(-1))
        while True:
            line_number += 1
            if first:
                made.close()
                made._afterwards = made._start
            if not interrupted(partial(made.append, front(line_number)), line_number, error):
                break
            thread = threading.Thread(target=made.append, args=(front(1_000_000 + line_number),))
            thread.start()
            thread.join(5)
            assert not thread.is_alive(), f"the lock is held after line {line_number}"
            assert line_number < 2000
        found = numbers(home)
        assert line_number > 10
        assert sorted(set(found)) == sorted(found)
        assert {1_000_000 + each for each in range(1, line_number)} <= set(found)
        seqs = [each["seq"] for each in durable(home)]
        assert sorted(set(seqs)) == seqs
        assert len(found) == made.durable
        gaps = seqs[-1] - len(seqs)
        assert gaps == sum(made.dropped.values())


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

    def test_sync_of_a_full_segment_fails(self, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        """A sync that fails as a segment is closed is counted too."""
        made = make(durability="power")
        made.append(front(0))
        monkeypatch.setattr(disk, "sync_data", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
        made.close()
        assert {"not synced": 1} == made.dropped


class TestPosition:
    def test_behind_the_last_record(self, make: Callable[..., Writer], home: Path, room: Room) -> None:
        """Home rule 18: a flush waits for the segment and offset behind the last record, also of a closed segment."""
        made = make()
        made.append(front(0))
        name, offset = made.position() or pytest.fail("no position")
        assert (room.spool / name.file_name).stat().st_size == offset
        made.close()
        assert (name, -1) == made.position()
        with keeping(Home(home)) as held:
            seal_all(Sealer(held, room))
        assert not (room.spool / name.file_name).exists()

    def test_after_a_failed_beginning(
        self, make: Callable[..., Writer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 18: a segment that could not be begun is not waited for; the one with records is."""
        made = make()
        made.append(front(0))
        name = (made.position() or pytest.fail("no position"))[0]
        made.close()
        refuse(monkeypatch, "rename", OSError(errno.ENOSPC, "full"))
        made.append(front(1))
        assert (name, -1) == made.position()


def test_settings_are_kept(home: Path) -> None:
    """A writer knows the settings in force and where its segments lie."""
    given = Settings(home=home, keeper="none")
    made = Writer(Home(home), subsystems.get("logs"), given, lambda: None)
    assert (given, home / "logs" / "spool") == (made.settings, made.spool)
