from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.keeper.spool import Spool
from tests.workshop import OTHER, WRITER, dropped, header, lines, put_live, put_segment, record

NOTHING: Mapping[str, int] = {}


@pytest.fixture
def room(home: Path) -> Room:
    """A subsystem in which nothing was logged."""
    return Home(home).room("logs")


def walked(spool: Spool, consumed: Mapping[str, int] = NOTHING) -> list[tuple[str, str, int]]:
    """Each piece of a walk: segment, kind, number of records."""
    return [(str(each.name), each.piece.kind, len(each.piece.records)) for each in spool.walk(consumed, 1 << 16)]


def records(spool: Spool, consumed: Mapping[str, int] = NOTHING) -> list[bytes]:
    """The records of a walk."""
    return [json for each in spool.walk(consumed, 1 << 16) for json in each.piece.records]


class TestSurvey:
    def test_counts(self, room: Room) -> None:
        """What waits is counted from the offsets on, headers left out, and only once."""
        spool = Spool(room)
        assert (0, None) == (spool.survey({}, 1.0).records, spool.survey({}, 1.0).since)
        live = put_live(room, lines(1, 3))
        assert (3, 2.0) == (spool.survey({}, 2.0).records, spool.survey({}, 3.0).since)
        os.write(live.descriptor, lines(4, 5))
        assert (5, 2.0) == (spool.survey({}, 4.0).records, spool.survey({}, 5.0).since)
        offset = len(header().encode() + lines(1, 4))
        spool.took(live.name, 4)
        found = spool.survey({str(live.name): offset}, 6.0)
        assert (1, len(lines(5, 5)), 6.0) == (found.records, found.bytes, found.since)
        live.close()

    def test_age(self, room: Room) -> None:
        """Home rule 12: the age of a line is the keeper's own clock since it first saw it, whatever the line says."""
        spool = Spool(room)
        put_segment(room, lines(1, 1, at="1999-01-01T00:00:00.000000Z"))
        assert 5.0 == spool.survey({}, 5.0).since == spool.survey({}, 9.0).since

    def test_shorter_than_its_offset(self, room: Room) -> None:
        """Home rule 8: a segment that a power cut left shorter than its offset counts as consumed, and is retired."""
        spool = Spool(room)
        path = put_segment(room, lines(1, 2))
        consumed = {path.stem: path.stat().st_size + 100}
        assert 0 == spool.survey(consumed, 1.0).records
        assert [] == walked(spool, consumed)
        assert spool.retire(consumed)
        assert not path.exists()

    @pytest.mark.parametrize("tail", [lines(3, 3)[:-1], b"\0" * 4096, b"junk\n"])
    def test_torn_tail(self, room: Room, tail: bytes) -> None:
        """Home rule 4: what a dead writer left behind that is no line waits too, so that it is set aside one day."""
        spool = Spool(room)
        path = put_segment(room, lines(1, 2) + tail)
        consumed = {path.stem: len(header().encode() + lines(1, 2))}
        assert 1 == spool.survey(consumed, 1.0).records
        assert [(path.stem, "damage", 0)] == walked(spool, consumed)

    def test_live_tail(self, room: Room) -> None:
        """Home rule 4: while its writer lives, half a line is nothing that waits."""
        live = put_live(room, lines(1, 2) + lines(3, 3)[:-4])
        consumed = {str(live.name): len(header().encode() + lines(1, 2))}
        assert 0 == Spool(room).survey(consumed, 1.0).records
        live.close()

    def test_corrected(self, room: Room) -> None:
        """A count of lines that were no records is put right by a walk."""
        spool = Spool(room)
        live = put_live(room, lines(1, 1) + b"x\ny\n")
        assert 3 == spool.survey({}, 1.0).records
        spool.correct({live.name: 1})
        assert 1 == spool.survey({}, 2.0).records
        live.close()
        spool.correct({})
        assert 1 == spool.survey({}, 3.0).records


class TestWalk:
    def test_order(self, room: Room) -> None:
        """Home rule 2: the segments of a writer are taken by number, as numbers; writers take turns."""
        for number in (10, 9, 2):
            put_segment(room, lines(number, number), number=number)
            put_segment(room, lines(number, number), number=number, writer=OTHER)
        spool = Spool(room)
        order = [(WRITER, 2), (WRITER, 9), (WRITER, 10), (OTHER, 2), (OTHER, 9), (OTHER, 10)]
        assert order == [(each.name.writer, each.name.number) for each in spool.walk({}, 99) if each.piece.records]
        spool.took(segments.SegmentName(WRITER, 2), 1)
        assert OTHER == next(iter(spool.walk({}, 99))).name.writer

    def test_not_before_the_one_before(self, room: Room) -> None:
        """Home rule 2: number n+1 is not touched before n is closed and wholly read."""
        live = put_live(room, lines(1, 2) + lines(3, 3)[:-3])
        put_segment(room, lines(4, 4), number=1)
        assert [record(1), record(2)] == records(Spool(room))
        os.write(live.descriptor, lines(3, 3)[-3:])
        assert [record(seq) for seq in (1, 2, 3)] == records(Spool(room))
        live.close()
        assert [record(seq) for seq in (1, 2, 3, 4)] == records(Spool(room))

    def test_new_segment_while_reading(self, room: Room) -> None:
        """Home rule 2: a segment that appears while its forerunner is read is not taken before that one's last line."""
        live = put_live(room, lines(1, 1))
        walk = Spool(room).walk({}, 1 << 16)
        next(walk)
        os.write(live.descriptor, lines(2, 2))
        live.close()
        put_segment(room, lines(3, 3), number=1)
        assert [record(1), record(2)] == [json for each in walk for json in each.piece.records]

    def test_nothing_is_written(self, room: Room) -> None:
        """Home rule 2: who adopts a segment never appends to it, never truncates it."""
        locked = dict(disk._locked)
        path = put_segment(room, lines(1, 2) + b"torn")
        before = path.read_bytes()
        walked(Spool(room))
        assert before == path.read_bytes()
        assert locked == disk._locked

    def test_control_lines(self, room: Room) -> None:
        """Home rule 5: control lines come in their place among the records."""
        path = put_segment(room, lines(1, 1) + dropped("EIO", 1) + lines(3, 3))
        assert ["header", "records", "control", "records"] == [kind for _, kind, _ in walked(Spool(room))]
        assert not Spool(room).retire({path.stem: len(header().encode())})

    @pytest.mark.parametrize("call", ["open", "pread"])
    def test_unreadable(self, room: Room, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        """Home rule 14: a file that cannot be read is skipped and told; the others go on, and it is tried again."""
        locked = dict(disk._locked)
        bad = put_segment(room, lines(1, 1))
        put_segment(room, lines(2, 2), writer=OTHER)
        spool, real = Spool(room), getattr(os, call)

        def failing(what: object, *args: object) -> object:
            if what == bad or (isinstance(what, int) and os.fstat(what).st_ino == bad.stat().st_ino):
                raise OSError(errno.EIO, "bad sector")
            return real(what, *args)

        monkeypatch.setattr(os, call, failing)
        spool.survey({}, 1.0)
        assert [record(2)] == records(spool)
        assert {bad.stem: "[Errno 5] bad sector"} == {str(name): told for name, told in spool.troubles.items()}
        spool.retire({})
        monkeypatch.undo()
        assert [record(1), record(2)] == records(spool)
        assert {} == spool.troubles
        assert locked == disk._locked


class TestRetire:
    def test_consumed(self, room: Room) -> None:
        """Home rule 7: a segment goes when nobody writes to it and nothing waits in it."""
        live, done, waiting = (put_live(room, lines(1, 1), number=number) for number in range(3))
        done.close()
        waiting.close()
        size = len(header().encode() + lines(1, 1))
        consumed = {str(live.name): size, str(done.name): size}
        assert Spool(room).retire(consumed)
        assert [live.name, waiting.name] == segments.listing(room.spool)
        assert not Spool(room).retire(consumed)
        live.close()

    def test_synced(self, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 7: unlink, fsync of the spool, and only then may an offset leave the head; tried until it works."""
        path = put_segment(room, b"")
        spool = Spool(room)
        monkeypatch.setattr(disk, "sync_directory", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
        with pytest.raises(OSError, match="io"):
            spool.retire({})
        assert not path.exists()
        with pytest.raises(OSError, match="io"):
            spool.settle()
        monkeypatch.undo()
        synced = list[Path]()
        monkeypatch.setattr(disk, "sync_directory", synced.append)
        spool.settle()
        spool.settle()
        assert [room.spool] == synced

    def test_header_only(self, room: Room) -> None:
        """A segment whose writer never wrote a record goes too."""
        put_segment(room, b"\n\n")
        assert Spool(room).retire({})


class TestLostHead:
    def test_offsets(self, room: Room) -> None:
        """Home rule 10: the records behind the last known sequence number are found again, damage or not."""
        first = put_segment(room, lines(1, 4) + b"damage\n" + lines(5, 9))
        live = put_live(room, lines(10, 12) + b"half", number=1)
        put_segment(room, lines(1, 2), writer=OTHER)
        spool = Spool(room)
        for floor in range(13):
            found = spool.offsets_behind({WRITER: floor})
            expected = [record(seq) for seq in range(floor + 1, 13)]
            of_writer = [
                json for each in spool.walk(found, 1 << 16) if each.name.writer == WRITER for json in each.piece.records
            ]
            assert expected == of_writer
            assert set(found) <= {first.stem, str(live.name)}
        live.close()
