from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, head, keys, lock, quarantine, reserve, settings
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.keeper.seal import FLOOD, Cut, LostLockError, Sealer, dropped_in
from ipfs_log_handlers.keeper.spool import Waiting
from tests import oracle
from tests.workshop import (
    OTHER,
    WRITER,
    dropped,
    header,
    keeping,
    lines,
    put_live,
    put_segment,
    record,
    refuse,
    seal_all,
    spy,
)


@pytest.fixture
def room(home: Path) -> Room:
    """A subsystem in which nothing was logged."""
    return Home(home).room("logs")


@pytest.fixture
def sealer(room: Room) -> Iterator[Callable[[], Sealer]]:
    """Makes the sealer of a home's one keeper; a second one is the keeper after it."""
    held = list[lock.KeeperLock]()

    def make() -> Sealer:
        for each in held:
            each.release()
        taken = lock.take(Home(room.path.parent))
        assert taken is not None
        held.append(taken)
        return Sealer(taken, room)

    yield make
    for each in held:
        each.release()


def sealed_seqs(room: Room) -> list[int]:
    """The sequence numbers in all logs of a subsystem, in their order; every claim of the logs is verified."""
    return [each["seq"] for log in oracle.read_home(room.path.parent)[room.name] for each in log.records]


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
        assert (100, 100, 9) == (due.bounds.records, due.least, due.bounds.level)

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


class TestContent:
    def test_manifest(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """The manifest tells log, sources, times, counts and what the subsystem promises."""
        at = "2026-01-02T03:04:05.000006Z"
        put_segment(room, lines(3, 4, at=at) + lines(7, 7, at="1999-12-31T23:59:59.999999Z"))
        made = sealer()
        seal_all(made)
        (log,) = oracle.read_home(room.path.parent)["logs"]
        told = log.batches[0].manifest
        assert [[WRITER, 7, 3, 4], [WRITER, 7, 7, 7]] == told["sources"]
        assert (946_684_799_999_999, 1_767_323_045_000_006) == (told["first"], told["last"])
        assert (3, "logs", 3) == (told["records"], told["meta"]["type"], told["meta"]["record_count"])
        assert told["log"].split("/")[2] == "logs"
        assert abs(told["sealed"] / 1e6 - time.time()) < 60
        rules = subsystems.get("logs").rules.id
        assert {"levels": {"info": 3}, "loggers": {"t": 3}, "events": ["e"], "rules": rules} == told["stats"]

    def test_log_name(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home, names: key name, subsystem, eight hex digits that are drawn when the log starts and kept ever after."""
        for number in range(2):
            put_segment(room, lines(number + 1, number + 1), number=number)
            seal_all(sealer())
        (log,) = oracle.read_home(room.path.parent)["logs"]
        first, second = (each.manifest["log"] for each in log.batches)
        key = keys.load(Home(room.path.parent))
        assert key is not None
        assert first == second
        assert first.startswith(f"{key.name}/logs/")
        assert 8 == len(first.rpartition("/")[2])

    @pytest.mark.parametrize(
        "at", ["", "x", "0", "9", "0001-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.-12345Z", "9999-99-99"]
    )
    def test_odd_times(self, room: Room, sealer: Callable[[], Sealer], at: str) -> None:
        """Home rule 14: a `time` that is none stops no batch."""
        put_segment(room, lines(1, 1, at=at) + lines(2, 2))
        seal_all(sealer())
        assert [1, 2] == sealed_seqs(room)

    def test_dropped(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 5: what writers had to drop stands in the manifest and is added up in the head; once."""
        put_segment(room, lines(1, 1) + dropped("ENOSPC", 4, 2, 5) + lines(6, 6) + dropped("ENOSPC", 1, 7, 7))
        put_segment(room, dropped("EIO", 2), writer=OTHER)
        made = sealer()
        seal_all(made)
        assert made.sealed is not None
        assert {"ENOSPC": 5, "EIO": 2} == made.sealed.dropped
        put_segment(room, dropped("EIO", 1), writer=OTHER, number=1)
        seal_all(made)
        (log,) = oracle.read_home(room.path.parent)["logs"]
        assert [{"ENOSPC": 5, "EIO": 2}, {"EIO": 1}] == [each.manifest["dropped"] for each in log.batches]
        assert {"ENOSPC": 5, "EIO": 3} == made.sealed.dropped

    @pytest.mark.parametrize(
        "told",
        [
            b"{}",
            b"[]",
            b"{",
            b'{"dropped":{"x":{"count":Infinity}}}',
            b'{"dropped":{"x":{"count":-1}}}',
            b'{"dropped":{"x":{"count":1e9}}}',
            b'{"dropped":{"x":{"count":99999999999999999999}}}',
            b'{"dropped":{"x":1}}',
            b'{"dropped":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        ],
        ids=range(9),
    )
    def test_odd_control_line(self, told: bytes, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 14: a control line that makes no sense is counted as that, and stops nothing."""
        assert {"unreadable control line": 1} == dropped_in(told)
        put_segment(room, (line.control(told) if told[-1:] == b"}" else b"") + lines(1, 1))
        assert 1 == seal_all(sealer())

    def test_damage(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 4: damage is in quarantine and counted before the head passes it; all whole records are sealed."""
        bad = line.record(b'{"no":"record"}')
        path = put_segment(room, lines(1, 2) + b"torn" + lines(3, 3) + bad + lines(4, 4) + b"\0\0\0")
        start = len(header().encode() + lines(1, 2))
        made = sealer()
        seal_all(made)
        assert [1, 2, 3, 4] == sealed_seqs(room)
        assert made.sealed is not None
        assert 3 == made.sealed.quarantined == quarantine.count(room.quarantine)
        assert b"torn" == (room.quarantine / f"{path.stem}.{start}").read_bytes()
        assert {b"torn", bad, b"\0\0\0"} == {each.read_bytes() for each in room.quarantine.iterdir()}
        assert not path.exists()

    def test_quarantine_first(self, room: Room, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 4: damage that could not be set aside is not passed."""
        put_segment(room, b"torn\n" + lines(1, 1))
        made = sealer()
        monkeypatch.setattr(quarantine, "put", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            seal_all(made)
        assert not room.current.head.exists()

    def test_only_a_torn_tail(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 4: the torn tail of a killed writer is set aside though nothing else waits."""
        live = put_live(room, lines(1, 1))
        made = sealer()
        seal_all(made)
        os.write(live.descriptor, b"0123")
        assert 0 == seal_all(made)
        live.close()
        assert 1 == seal_all(made)
        assert 1 == quarantine.count(room.quarantine)
        assert [] == list(room.spool.iterdir())

    @pytest.mark.parametrize("damaged", ["missing", "cut"])
    def test_a_damaged_batch_before(self, room: Room, sealer: Callable[[], Sealer], damaged: str) -> None:
        """Home rule 14: an older batch that was damaged stops no sealing: its place in the chain is known elsewhere."""
        made = sealer()
        for number in range(14):
            put_segment(room, lines(number + 1, number + 1), number=number)
            seal_all(made)
        batches = Batches(room.current.batches)
        whole = {index: batches.file(index).read_bytes() for index in range(13)}
        cids = [batches.facts(index).cid for index in range(14)]
        for index in range(0, 13, 2):
            batches.file(index).unlink() if damaged == "missing" else batches.file(index).write_bytes(b"cut")
        made = sealer()
        for number in range(14, 20):
            put_segment(room, lines(number + 1, number + 1), number=number)
            assert 1 == seal_all(made)
        for index, content in whole.items():
            batches.file(index).write_bytes(content)
        assert list(range(1, 21)) == sealed_seqs(room)
        assert cids == [batches.facts(index).cid for index in range(14)]


class TestOthers:
    def test_policy_of_the_newest(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 28: `settings.json` is the keeper's, from the newest header of this very subsystem and writer."""
        put_segment(room, lines(1, 1), records=5)
        made = sealer()
        made.survey(0.0)
        assert 5 == made.policy.records == json.loads(room.settings.read_bytes())["records"]
        path = put_segment(room, b"", number=1, records=6)
        path.write_bytes(header(OTHER, records=9).encode())
        path = put_segment(room, b"", number=2, records=6)
        path.write_bytes(header(WRITER, "audit", records=9).encode())
        made.survey(0.0)
        assert 5 == made.policy.records
        put_segment(room, b"", number=3, records=7)
        made.survey(0.0)
        assert 7 == made.policy.records == sealer().policy.records

    @pytest.mark.parametrize(
        "first",
        [
            b"junk\n",
            line.header(b"{}"),
            line.header(b'{"v":9}'),
            line.header(b'{"v":1,"settings":5}'),
            line.header(json.dumps({**json.loads(header().encode()[9:]), "settings": {"records": 1e308}}).encode()),
            line.header(json.dumps({**json.loads(header().encode()[9:]), "settings": {"type": "x" * 99_999}}).encode()),
        ],
        ids=range(6),
    )
    def test_foreign_header(self, room: Room, sealer: Callable[[], Sealer], first: bytes) -> None:
        """Home rule 14: a segment with a header of another kind is sealed like others, under the known policy."""
        path = put_segment(room, b"")
        path.write_bytes(first + lines(1, 2))
        made = sealer()
        assert 1 == seal_all(made)
        assert 200 == made.policy.records
        assert [1, 2] == sealed_seqs(room)

    def test_long_names(self, room: Room, sealer: Callable[[], Sealer]) -> None:
        """Home rule 13: whatever loggers and events are called, the manifest fits its 16 KiB."""
        odd = [
            line.record(record(n, event="語" * 60 + str(n), logger="字" * 60 + str(n), level="級" * 60 + str(n)))
            for n in range(1, 33)
        ]
        put_segment(room, b"".join(odd))
        assert 1 == seal_all(sealer())
        assert list(range(1, 33)) == sealed_seqs(room)


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


class TestSettings:
    def test_store(self, home: Path, tmp_path: Path) -> None:
        """Home rule 28: settings that cannot be written cost nothing but the defaults of the next keeper."""
        room = Home(home).room("logs")
        put_segment(room, lines(1, 1), records=5)
        with keeping(Home(home)) as held:
            made = Sealer(held, room)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(settings, "store", lambda *_: (_ for _ in ()).throw(OSError(30, "read-only")))
                made.survey(0.0)
            assert 5 == made.policy.records
            assert not room.settings.exists()

    def test_unreadable_head(self, home: Path) -> None:
        """Home rule 9: a head that became unreadable under a living keeper is not written over."""
        room = Home(home).room("logs")
        put_segment(room, lines(1, 1))
        with keeping(Home(home)) as held:
            made = Sealer(held, room)
            seal_all(made)
            room.current.head.write_bytes(b"damage")
            put_segment(room, lines(2, 2), number=1)
            with pytest.raises(LostLockError):
                seal_all(made)
        assert b"damage" == room.current.head.read_bytes()
        with pytest.raises(FormatError):
            head.load(room.current.head)


def test_what_a_killed_keeper_left_half_written_is_swept(room, sealer):
    """The next keeper removes the temporary files of one that was killed, a half-written key among them."""
    put_segment(room, lines(1, 3))
    left = [room.path.parent / "writer.tmp", room.path / "head.1.tmp", room.current.shipped / "0123.1.tmp"]
    room.current.shipped.mkdir(mode=0o700)
    for path in left:
        path.write_bytes(b"half")
    sealer()
    assert [] == [path for path in left if path.exists()]
