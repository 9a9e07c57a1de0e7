from __future__ import annotations

import errno
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import directories, disk, locked_files, segments
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.segments import Header, SegmentName
from tests.support.logging_home import WRITER, header, lines, put_live, put_segment, record, refuse, spy
from tests.support.mutations import assert_total, cuts, flips, with_junk

ROOM = HomeDir(Path("/h")).subsystem_dir("logs")


def spans(path: Path, *, owner_gone: bool = True, most: int = 1 << 16) -> list[segments.Span]:
    """Everything in a segment."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found, offset = list[segments.Span](), 0
        while True:
            span = segments.read(descriptor, offset, owner_gone=owner_gone, most=most)
            found.append(span)
            if span.kind in ("end", "pending"):
                return found
            assert span.start == offset < span.end
            offset = span.end
    finally:
        os.close(descriptor)


def kept(path: Path, *, most: int = 1 << 16) -> list[bytes]:
    """Return the records in a segment whose writer is dead."""
    return [json for span in spans(path, most=most) for json in span.records]


class TestNames:
    def test_writer_and_number(self) -> None:
        """A segment's name tells its writer, sixteen hex digits, and a number that is compared as one."""
        names = [SegmentName.parse(f"{WRITER}-{number}.seg") for number in (10, 9, 100)]
        assert [9, 10, 100] == [name.number for name in sorted(filter(None, names))]
        assert f"{WRITER}-9.seg" == SegmentName(WRITER, 9).file_name
        assert f"{WRITER}-9" == str(SegmentName(WRITER, 9))

    @pytest.mark.parametrize(
        "name",
        ["", "x.seg", *(WRITER + end for end in ("-1.tmp", "-.seg", "-1.seg\n", "-١.seg")), f"{WRITER.upper()}-1.seg"],
    )
    def test_other_files(self, name: str) -> None:
        """What is not exactly such a name is no segment."""
        assert SegmentName.parse(name) is None

    def test_only_files(self, tmp_path: Path) -> None:
        """Home rule 14: a pipe, a link or a directory under a segment's name is none, and hangs nobody."""
        subsystem_dir = HomeDir(tmp_path).subsystem_dir("logs")
        put_segment(subsystem_dir, b"")
        os.mkfifo(subsystem_dir.spool / f"{WRITER}-1.seg")
        (subsystem_dir.spool / f"{WRITER}-2.seg").symlink_to(subsystem_dir.spool / f"{WRITER}-0.seg")
        (subsystem_dir.spool / f"{WRITER}-3.seg").mkdir()
        os.mkfifo(subsystem_dir.spool / f"{WRITER}-4.tmp")
        segments.sweep(subsystem_dir.spool)
        assert [SegmentName(WRITER, 0)] == segments.listing(subsystem_dir.spool)

    def test_no_spool(self, tmp_path: Path) -> None:
        """Where nothing was ever logged there are no segments."""
        assert [] == segments.listing(tmp_path / "no")
        segments.sweep(tmp_path / "no")


class TestCreation:
    def test_locked_before_it_has_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 1: made as `.tmp`, locked, given its header, and only then renamed to `.seg`."""
        seen = list[tuple[str, bool, bytes]]()
        real = disk.rename

        def rename(here: Path, there: Path) -> None:
            seen.append((Path(here).name, disk.open_locked(Path(here), os.O_RDONLY) is None, Path(here).read_bytes()))
            real(here, there)

        monkeypatch.setattr(disk, "rename", rename)
        made = put_live(HomeDir(tmp_path).subsystem_dir("logs"), b"", number=3)
        assert [(f"{WRITER}-3.tmp", True, replace(header(), order=1).encode())] == seen
        assert f"{WRITER}-3.seg" == made.path.name
        assert disk.open_locked(made.path, os.O_RDONLY) is None
        made.close()

    def test_private(self, tmp_path: Path) -> None:
        """The file is 0600 in directories of 0700, whatever the umask."""
        before = os.umask(0)
        try:
            path = put_segment(HomeDir(tmp_path / "h").subsystem_dir("logs"), b"")
        finally:
            os.umask(before)
        assert 0o600 == path.stat().st_mode & 0o777
        assert {0o700} == {each.stat().st_mode & 0o777 for each in list(path.parents)[:3]}

    @pytest.mark.parametrize("step", ["write", "rename", "fsync", "fdatasync"])
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_failure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: int) -> None:
        """A creation that fails at any step leaves no locked file and nothing that is taken for records."""
        locked = dict(locked_files._locked)
        spool = HomeDir(tmp_path).subsystem_dir("logs").spool
        disk.ensure_directory(spool.parent)
        disk.ensure_directory(spool)
        refuse(monkeypatch, step, OSError(error, os.strerror(error)))
        with pytest.raises(OSError, match=os.strerror(error)):
            segments.create(spool, header(), 0, sync=True)
        monkeypatch.undo()
        assert locked == locked_files._locked
        assert not list(spool.glob("*.tmp"))
        assert all(not kept(path) for path in spool.glob("*.seg"))

    def test_short_header(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A header that did not fit is as if nothing had been made."""
        real = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:20]))
        with pytest.raises(OSError, match="no room"):
            segments.create(tmp_path / "h" / "logs" / "spool", header(), 0, sync=False)
        assert [] == list((tmp_path / "h" / "logs" / "spool").iterdir())

    def test_sync(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With `durability="power"` the segment and each new directory above it are synced before the first record."""
        synced = list[Path]()
        for module in (disk, directories):
            spy(monkeypatch, module, "sync_directory", synced.append)
        made = segments.create(tmp_path / "h" / "logs" / "spool", header(), 0, sync=True)
        made.close()
        assert [tmp_path, tmp_path / "h", tmp_path / "h" / "logs", tmp_path / "h" / "logs" / "spool"] == synced

    def test_sweep(self, tmp_path: Path) -> None:
        """Home rule 1: what a process died over before it had a name is removed; what lives is not."""
        subsystem_dir = HomeDir(tmp_path).subsystem_dir("logs")
        put_segment(subsystem_dir, lines(1, 1))
        (subsystem_dir.spool / f"{WRITER}-7.tmp").write_bytes(b"half")
        held = disk.open_append(subsystem_dir.spool / f"{WRITER}-8.tmp")
        assert held is not None
        segments.sweep(subsystem_dir.spool)
        assert {f"{WRITER}-0.seg", f"{WRITER}-8.tmp"} == {path.name for path in subsystem_dir.spool.iterdir()}
        disk.close_locked(held)

    def test_intact(self, tmp_path: Path) -> None:
        """Home rule 6: a segment knows when its descriptor is another file, closed, or its own file is deleted."""
        subsystem_dir = HomeDir(tmp_path).subsystem_dir("logs")
        deleted, closed, taken = (put_live(subsystem_dir, b"", number=number) for number in range(3))
        assert all(each.intact() for each in (deleted, closed, taken))
        deleted.path.unlink()
        other = os.open(os.devnull, os.O_RDWR)
        os.dup2(other, taken.descriptor)
        os.close(other)
        os.close(closed.descriptor)
        assert not any(each.intact() for each in (deleted, closed, taken))
        for each in (deleted, closed, taken):
            each.close()
        os.close(taken.descriptor)


class TestOrder:
    def test_segments_are_numbered_as_they_are_made(self, tmp_path: Path) -> None:
        """Home rule 28: whichever process makes a segment, its number is greater than those of all before it."""
        subsystem_dir = HomeDir(tmp_path).subsystem_dir("logs")
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda n: put_segment(subsystem_dir, b"", writer=f"{n:016x}"), range(200)))
        assert list(range(1, 201)) == sorted(segments.read_header(path).order for path in made)
        assert 201 == segments.read_header(put_segment(subsystem_dir, b"")).order

    def test_a_segment_that_another_process_makes_meanwhile_has_another_number(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 28: one that is made while the first one looks for numbers in the spool is counted once."""
        subsystem_dir = HomeDir(tmp_path).subsystem_dir("logs")
        read_headers = segments.read_headers
        made: list[Path] = []

        def read_after_another(spool: Path) -> list[tuple[SegmentName, Header]]:
            monkeypatch.setattr(segments, "read_headers", read_headers)
            made.append(put_segment(subsystem_dir, b"", writer=f"{2:016x}"))
            return read_headers(spool)

        monkeypatch.setattr(segments, "read_headers", read_after_another)
        made.append(put_segment(subsystem_dir, b"", writer=f"{1:016x}"))
        assert [1, 2] == [segments.read_header(path).order for path in made]

    def test_a_clock_that_is_set_back_makes_no_segment_older(self) -> None:
        """Home rule 28, pitfalls 33 and 71: the header with the greatest number is the newest, whatever its time."""
        first = replace(header(), order=1, started="2038-01-19T03:14:08.000000Z")
        second = replace(header(), order=2, started="1970-01-01T00:00:00.000000Z")
        assert second is segments.newest_header([first, second]) is segments.newest_header([second, first])

    @pytest.mark.parametrize("lost", ["removed", "emptied"])
    def test_numbers_go_on_where_the_file_was_lost(self, tmp_path: Path, lost: str) -> None:
        """Without the file that counts them, the numbers go on after those of the segments that are there."""
        subsystem_dir = HomeDir(tmp_path).subsystem_dir("logs")
        for number in range(3):
            put_segment(subsystem_dir, b"", number=number)
        os.truncate(subsystem_dir.order, 0)
        if lost == "removed":
            subsystem_dir.order.unlink()
        orders = [segments.read_header(put_segment(subsystem_dir, b"", number=number)).order for number in (3, 4)]
        assert [4, 5] == orders


class TestHeader:
    def test_both_ways(self, tmp_path: Path) -> None:
        """Home rule 1: writer, subsystem, host, pid, start and policy stand in the first line."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("audit"), b"", records=5)
        found = segments.read_header(path)
        assert replace(header(subsystem="audit", records=5), order=1) == found
        assert 5 == found.settings["records"]

    def test_no_secret(self, tmp_path: Path) -> None:
        """Home rule 27: a header holds no token, though the settings do."""
        from ipfs_log_handlers import subsystems
        from ipfs_log_handlers.config import Settings
        from ipfs_log_handlers.home.policy import Policy

        given = Settings(home=tmp_path, kubo=("http://127.0.0.1:5001",), token="bearer:hush")
        assert "hush" not in str(Policy.of(given, subsystems.get("logs")).as_json())
        assert "hush" not in repr(given)

    def test_mutants(self) -> None:
        """Cut, with junk, or with any bit flipped, a header is refused or another header; nothing else is raised."""
        raw = line.decode(header().encode()[:-1]).json
        assert_total(Header.decode, cuts(raw))
        assert_total(Header.decode, with_junk(raw))
        assert_total(Header.decode, flips(raw))

    @pytest.mark.parametrize(
        "raw",
        [
            b"[]",
            b"{}",
            b'{"v":2}',
            b"[" * 100_000,
            b'{"v":1,"writer":1,"subsystem":"","host":"","pid":1,"started":"","settings":{}}',
            b'{"v":1,"writer":"","subsystem":"","host":"","pid":true,"started":"","settings":{}}',
            b'{"v":1,"writer":"","subsystem":"","host":"","pid":1,"started":"","settings":[]}',
            b'{"v":1,"writer":"","subsystem":"","host":"","pid":1,"started":"","settings":{},"more":1}',
            b'{"v":1,"writer":"","subsystem":"","host":"","pid":1,"started":"","settings":{},"order":"1"}',
        ],
    )
    def test_refused(self, raw: bytes) -> None:
        """Another version, other members or other types are a FormatError."""
        with pytest.raises(FormatError):
            Header.decode(raw)


class TestReading:
    CONTENT = lines(1, 3, note="ein Täter\u2028 \x00")

    def test_whole(self, tmp_path: Path) -> None:
        """A segment is read as header, records, end."""
        found = spans(put_segment(HomeDir(tmp_path).subsystem_dir("logs"), self.CONTENT))
        assert ["header", "records", "end"] == [span.kind for span in found]
        assert 3 == len(found[1].records)

    @pytest.mark.parametrize("most", [20, 64, 500])
    def test_small_reads(self, tmp_path: Path, most: int) -> None:
        """However little is read at once, the records are the same."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), self.CONTENT)
        assert [record(seq, note="ein Täter\u2028 \x00") for seq in (1, 2, 3)] == kept(path, most=most)

    def test_empty_lines(self, tmp_path: Path) -> None:
        """Home rule 3: empty lines are ignored."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), b"\n\n" + lines(1, 1) + b"\n" + lines(2, 2) + b"\n")
        assert [record(1), record(2)] == kept(path)
        assert "damage" not in {span.kind for span in spans(path)}

    def test_live_tail_is_not_yet(self, tmp_path: Path) -> None:
        """Home rule 4: in a segment that is still locked, the first byte that begins no whole line means not yet."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), self.CONTENT)
        content = path.read_bytes()
        start = content.index(b"\n") + 1
        for end in range(start, len(content)):
            path.write_bytes(content[:end])
            found = spans(path, owner_gone=False)
            assert found[-1].kind in {"pending", "end"}
            whole = content[start:end].count(b"\n")
            assert whole == sum(len(span.records) for span in found)

    def test_every_cut_of_a_dead_one(self, tmp_path: Path) -> None:
        """Home rule 4: cut anywhere, every record before the cut is there, and the torn rest is damage."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), self.CONTENT)
        content = path.read_bytes()
        for end in range(len(content)):
            path.write_bytes(content[:end])
            assert content[:end].count(b"\n{") + max(0, content[:end].count(b"\n") - 1) == len(kept(path))

    @pytest.mark.slow
    def test_every_byte_flipped(self, tmp_path: Path) -> None:
        """Home rule 4, pitfall 37: any one bit flipped harms one line, or the two that it joined; no other record."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), lines(1, 3))
        content, whole = path.read_bytes(), [record(seq) for seq in (1, 2, 3)]
        for at in range(len(content)):
            for bit in (0, 3, 7):
                mutant = bytearray(content)
                mutant[at] ^= 1 << bit
                path.write_bytes(mutant)
                found = kept(path)
                lost = [each for each in whole if each not in found]
                assert len(lost) <= 1, (at, bit)
                assert set(found) <= set(whole)

    @pytest.mark.parametrize(
        "junk",
        [
            b"\0" * 5000,
            b"\n" + b"\0" * 10,
            b"junk",
            b"junk\n",
            b"00000000 {}\n",
            b"00000000 {",
            b"\xff" * 70_000,
            lines(9, 9)[:-5],
            b"0123456789abcdef" * 300 + b"\n",
        ],
    )
    def test_salvage_behind_damage(self, tmp_path: Path, junk: bytes) -> None:
        """Home rule 4: behind damage of any kind, zeros too, the next whole line is found, and the bytes are told."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), lines(1, 1) + junk + lines(2, 2))
        assert [record(1), record(2)] == kept(path)
        content = path.read_bytes()
        damaged = b"".join(content[span.start : span.end] for span in spans(path) if span.kind == "damage")
        assert junk.strip(b"\n") == damaged.strip(b"\n")

    def test_control_lines(self, tmp_path: Path) -> None:
        """Home rule 5: control lines are told from records by what stands outside the JSON."""
        told = line.control(b'{"dropped":{}}')
        found = spans(put_segment(HomeDir(tmp_path).subsystem_dir("logs"), lines(1, 1) + told + lines(2, 2)))
        assert ["header", "records", "control", "records", "end"] == [span.kind for span in found]

    @given(st.binary(max_size=400), st.booleans())
    def test_anything(self, tmp_path_factory: pytest.TempPathFactory, junk: bytes, owner_gone: bool) -> None:
        """Whatever stands in a segment, reading it moves on or stops, and the last whole line is found."""
        path = tmp_path_factory.mktemp("s") / "s.seg"
        path.write_bytes(junk + b"\n" + lines(1, 1))
        found = spans(path, owner_gone=owner_gone)
        if owner_gone:
            assert record(1) == found[-2].records[-1]

    def test_giant_line(self, tmp_path: Path) -> None:
        """A line of many times the size of a read is one record."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), lines(1, 2, text="x" * 300_000))
        assert 2 == len(kept(path, most=4096))

    def test_giant_damage(self, tmp_path: Path) -> None:
        """Megabytes of what looks like the beginnings of lines are searched in time that grows with their length."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), b"\0x" * 1_000_000 + b"\n" + lines(1, 1))
        assert [record(1)] == kept(path)

    def test_many_damaged_lines_are_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A search ends at the next whole line: what stands behind that is not read for each damaged line again."""
        damaged = lines(1, 1).replace(b'"seq"', b'"sea"')
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), (damaged + lines(1, 1)) * 2_000)
        size, read = path.stat().st_size, list[int]()
        monkeypatch.setattr(segments, "_SEARCH_BYTES", 4096)
        pread = os.pread

        def counting(descriptor: int, length: int, offset: int) -> bytes:
            read.append(length)
            return pread(descriptor, length, offset)

        monkeypatch.setattr(os, "pread", counting)
        assert 2_000 == len(kept(path, most=4096))
        assert sum(read) < 100 * size

    @pytest.mark.parametrize("before", [b"", b'00000000 {"time":', lines(1, 1)[:-1]])
    def test_a_hole_is_skipped(self, tmp_path: Path, before: bytes) -> None:
        """A terabyte of nothing in a sparse segment is one damaged piece: it is neither read nor held."""
        path = put_segment(HomeDir(tmp_path).subsystem_dir("logs"), lines(1, 1) + before)
        with path.open("r+b") as file:
            file.seek(1 << 40)
            file.write(b"\n" + lines(2, 2))
        tracemalloc.start()
        assert [record(1), record(2)] == kept(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()
