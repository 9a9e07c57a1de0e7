from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk, locked_files, segments
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.spool.scan import Spool
from tests.support.logging_home import OTHER, WRITER, dropped, header, lines, path_meant, put_live, put_segment, record

NOTHING: Mapping[str, int] = {}


@pytest.fixture
def subsystem_dir(home: Path) -> SubsystemDir:
    """Return a subsystem in which nothing was logged."""
    return HomeDir(home).subsystem_dir("logs")


def walked(spool: Spool, consumed: Mapping[str, int] = NOTHING) -> list[tuple[str, str, int]]:
    """Each piece of a walk: segment, kind, number of records."""
    return [(str(each.name), each.span.kind, len(each.span.records)) for each in spool.scan(consumed, 1 << 16)]


def records(spool: Spool, consumed: Mapping[str, int] = NOTHING) -> list[bytes]:
    """Return the records of a scan."""
    return [json for each in spool.scan(consumed, 1 << 16) for json in each.span.records]


class TestSurvey:
    def test_counts(self, subsystem_dir: SubsystemDir) -> None:
        """What waits is counted from the offsets on, headers left out, and only once."""
        spool = Spool(subsystem_dir)
        assert (0, None) == (spool.backlog({}, 1.0).records, spool.backlog({}, 1.0).since)
        live = put_live(subsystem_dir, lines(1, 3))
        assert (3, 2.0) == (spool.backlog({}, 2.0).records, spool.backlog({}, 3.0).since)
        os.write(live.descriptor, lines(4, 5))
        assert (5, 2.0) == (spool.backlog({}, 4.0).records, spool.backlog({}, 5.0).since)
        offset = len(header().encode() + lines(1, 4))
        spool.note_sealed(live.name, 4)
        found = spool.backlog({str(live.name): offset}, 6.0)
        assert (1, len(lines(5, 5)), 6.0) == (found.records, found.bytes, found.since)
        live.close()

    def test_age(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 12: the age of a line is the keeper's own clock since it first saw it, whatever the line says."""
        spool = Spool(subsystem_dir)
        put_segment(subsystem_dir, lines(1, 1, at="1999-01-01T00:00:00.000000Z"))
        assert 5.0 == spool.backlog({}, 5.0).since == spool.backlog({}, 9.0).since

    def test_shorter_than_its_offset(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 8: a segment that a power cut left shorter than its offset counts as consumed, and is retired."""
        spool = Spool(subsystem_dir)
        path = put_segment(subsystem_dir, lines(1, 2))
        consumed = {path.stem: path.stat().st_size + 100}
        assert 0 == spool.backlog(consumed, 1.0).records
        assert [] == walked(spool, consumed)
        assert spool.retire(consumed)
        assert not path.exists()

    @pytest.mark.parametrize("tail", [lines(3, 3)[:-1], b"\0" * 4096, b"junk\n"])
    def test_torn_tail(self, subsystem_dir: SubsystemDir, tail: bytes) -> None:
        """Home rule 4: what a dead writer left behind that is no line waits too, so that it is set aside one day."""
        spool = Spool(subsystem_dir)
        path = put_segment(subsystem_dir, lines(1, 2) + tail)
        consumed = {path.stem: len(header().encode() + lines(1, 2))}
        assert 1 == spool.backlog(consumed, 1.0).records
        assert [(path.stem, "damage", 0)] == walked(spool, consumed)

    def test_live_tail(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 4: while its writer lives, half a line is nothing that waits."""
        live = put_live(subsystem_dir, lines(1, 2) + lines(3, 3)[:-4])
        consumed = {str(live.name): len(header().encode() + lines(1, 2))}
        assert 0 == Spool(subsystem_dir).backlog(consumed, 1.0).records
        live.close()

    def test_a_hole_is_not_read(self, subsystem_dir: SubsystemDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sparse segment is counted without its holes being read."""
        path = put_segment(subsystem_dir, lines(1, 2))
        with path.open("r+b") as file:
            file.seek(200 << 20)
            file.write(b"\n" + lines(3, 5))
        read = list[int]()
        pread = os.pread

        def counting(descriptor: int, length: int, offset: int) -> bytes:
            read.append(length)
            return pread(descriptor, length, offset)

        monkeypatch.setattr(os, "pread", counting)
        assert 6 == Spool(subsystem_dir).backlog({}, 0.0).records  # five records, and an empty line until it is scanned
        assert sum(read) < 2 << 20

    def test_corrected(self, subsystem_dir: SubsystemDir) -> None:
        """A count of lines that were no records is put right by a walk."""
        spool = Spool(subsystem_dir)
        live = put_live(subsystem_dir, lines(1, 1) + b"x\ny\n")
        assert 3 == spool.backlog({}, 1.0).records
        spool.correct_counts({live.name: 1})
        assert 1 == spool.backlog({}, 2.0).records
        live.close()
        spool.correct_counts({})
        assert 1 == spool.backlog({}, 3.0).records


class TestWalk:
    def test_order(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 2: the segments of a writer are taken by number, as numbers; writers take turns."""
        for number in (10, 9, 2):
            put_segment(subsystem_dir, lines(number, number), number=number)
            put_segment(subsystem_dir, lines(number, number), number=number, writer=OTHER)
        spool = Spool(subsystem_dir)
        order = [(WRITER, 2), (WRITER, 9), (WRITER, 10), (OTHER, 2), (OTHER, 9), (OTHER, 10)]
        assert order == [(each.name.writer, each.name.number) for each in spool.scan({}, 99) if each.span.records]
        spool.note_sealed(segments.SegmentName(WRITER, 2), 1)
        assert OTHER == next(iter(spool.scan({}, 99))).name.writer

    def test_not_before_the_one_before(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 2: number n+1 is not touched before n is closed and wholly read."""
        live = put_live(subsystem_dir, lines(1, 2) + lines(3, 3)[:-3])
        put_segment(subsystem_dir, lines(4, 4), number=1)
        assert [record(1), record(2)] == records(Spool(subsystem_dir))
        os.write(live.descriptor, lines(3, 3)[-3:])
        assert [record(seq) for seq in (1, 2, 3)] == records(Spool(subsystem_dir))
        live.close()
        assert [record(seq) for seq in (1, 2, 3, 4)] == records(Spool(subsystem_dir))

    def test_new_segment_while_reading(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 2: a segment that appears while its forerunner is read is not taken before that one's last line."""
        live = put_live(subsystem_dir, lines(1, 1))
        walk = Spool(subsystem_dir).scan({}, 1 << 16)
        next(walk)
        os.write(live.descriptor, lines(2, 2))
        live.close()
        put_segment(subsystem_dir, lines(3, 3), number=1)
        assert [record(1), record(2)] == [json for each in walk for json in each.span.records]

    def test_nothing_is_written(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 2: who adopts a segment never appends to it, never truncates it."""
        locked = dict(locked_files._locked)
        path = put_segment(subsystem_dir, lines(1, 2) + b"torn")
        before = path.read_bytes()
        walked(Spool(subsystem_dir))
        assert before == path.read_bytes()
        assert locked == locked_files._locked

    def test_control_lines(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 5: control lines come in their place among the records."""
        path = put_segment(subsystem_dir, lines(1, 1) + dropped("EIO", 1) + lines(3, 3))
        assert ["header", "records", "control", "records"] == [kind for _, kind, _ in walked(Spool(subsystem_dir))]
        assert not Spool(subsystem_dir).retire({path.stem: len(header().encode())})

    @pytest.mark.parametrize("call", ["open", "pread"])
    def test_unreadable(self, subsystem_dir: SubsystemDir, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        """Home rule 14: a file that cannot be read is skipped and told; the others go on, and it is tried again."""
        locked = dict(locked_files._locked)
        bad = put_segment(subsystem_dir, lines(1, 1))
        put_segment(subsystem_dir, lines(2, 2), writer=OTHER)
        spool, real = Spool(subsystem_dir), getattr(os, call)

        def failing(what: object, *args: object, **options: object) -> object:
            if path_meant(what, options) == bad:
                raise OSError(errno.EIO, "bad sector")
            return real(what, *args, **options)

        monkeypatch.setattr(os, call, failing)
        spool.backlog({}, 1.0)
        assert [record(2)] == records(spool)
        assert {bad.stem: "bad sector"} == {str(name): told for name, told in spool.unreadable.items()}
        spool.retire({})
        monkeypatch.undo()
        assert [record(1), record(2)] == records(spool)
        assert {} == spool.unreadable
        assert locked == locked_files._locked


class TestRetire:
    def test_consumed(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 7: a segment goes when nobody writes to it and nothing waits in it."""
        live, done, waiting = (put_live(subsystem_dir, lines(1, 1), number=number) for number in range(3))
        done.close()
        waiting.close()
        size = len(header().encode() + lines(1, 1))
        consumed = {str(live.name): size, str(done.name): size}
        assert Spool(subsystem_dir).retire(consumed)
        assert [live.name, waiting.name] == segments.listing(subsystem_dir.spool)
        assert not Spool(subsystem_dir).retire(consumed)
        live.close()

    def test_synced(self, subsystem_dir: SubsystemDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 7: unlink, fsync of the spool, and only then may an offset leave the head; tried until it works."""
        path = put_segment(subsystem_dir, b"")
        spool = Spool(subsystem_dir)
        monkeypatch.setattr(disk, "sync_directory", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
        with pytest.raises(OSError, match="io"):
            spool.retire({})
        assert not path.exists()
        with pytest.raises(OSError, match="io"):
            spool.sync_removals()
        monkeypatch.undo()
        synced = list[Path]()
        monkeypatch.setattr(disk, "sync_directory", synced.append)
        spool.sync_removals()
        spool.sync_removals()
        assert [subsystem_dir.spool] == synced

    def test_header_only(self, subsystem_dir: SubsystemDir) -> None:
        """A segment whose writer never wrote a record goes too."""
        put_segment(subsystem_dir, b"\n\n")
        assert Spool(subsystem_dir).retire({})


class TestLostHead:
    def test_offsets(self, subsystem_dir: SubsystemDir) -> None:
        """Home rule 10: the records behind the last known sequence number are found again, damage or not."""
        first = put_segment(subsystem_dir, lines(1, 4) + b"damage\n" + lines(5, 9))
        live = put_live(subsystem_dir, lines(10, 12) + b"half", number=1)
        put_segment(subsystem_dir, lines(1, 2), writer=OTHER)
        spool = Spool(subsystem_dir)
        for floor in range(13):
            found = spool.offsets_after({WRITER: floor})
            expected = [record(seq) for seq in range(floor + 1, 13)]
            of_writer = [
                json for each in spool.scan(found, 1 << 16) if each.name.writer == WRITER for json in each.span.records
            ]
            assert expected == of_writer
            assert set(found) <= {first.stem, str(live.name)}
        live.close()
