from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.segments import Header, SegmentName
from tests.format.mutations import assert_total, cuts, flips, with_junk
from tests.workshop import WRITER, header, lines, put_live, put_segment, record, refuse, spy

ROOM = Home(Path("/h")).room("logs")


def pieces(path: Path, *, owner_gone: bool = True, most: int = 1 << 16) -> list[segments.Piece]:
    """Everything in a segment."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found, offset = list[segments.Piece](), 0
        while True:
            piece = segments.read(descriptor, offset, owner_gone=owner_gone, most=most)
            found.append(piece)
            if piece.kind in ("end", "pending"):
                return found
            assert piece.start == offset < piece.end
            offset = piece.end
    finally:
        os.close(descriptor)


def kept(path: Path, *, most: int = 1 << 16) -> list[bytes]:
    """The records in a segment whose owner is gone."""
    return [json for piece in pieces(path, most=most) for json in piece.records]


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
        room = Home(tmp_path).room("logs")
        put_segment(room, b"")
        os.mkfifo(room.spool / f"{WRITER}-1.seg")
        (room.spool / f"{WRITER}-2.seg").symlink_to(room.spool / f"{WRITER}-0.seg")
        (room.spool / f"{WRITER}-3.seg").mkdir()
        os.mkfifo(room.spool / f"{WRITER}-4.tmp")
        segments.sweep(room.spool)
        assert [SegmentName(WRITER, 0)] == segments.listing(room.spool)

    def test_no_spool(self, tmp_path: Path) -> None:
        """Where nothing was ever logged there are no segments."""
        assert [] == segments.listing(tmp_path / "no")
        segments.sweep(tmp_path / "no")


class TestCreation:
    def test_locked_before_it_has_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 1: made as `.tmp`, locked, given its header, and only then renamed to `.seg`."""
        seen = list[tuple[str, bool, bytes]]()
        real = os.rename

        def rename(here: Path, there: Path) -> None:
            seen.append((Path(here).name, disk.open_locked(Path(here), os.O_RDONLY) is None, Path(here).read_bytes()))
            real(here, there)

        monkeypatch.setattr(os, "rename", rename)
        made = put_live(Home(tmp_path).room("logs"), b"", number=3)
        assert [(f"{WRITER}-3.tmp", True, header().encode())] == seen
        assert f"{WRITER}-3.seg" == made.path.name
        assert disk.open_locked(made.path, os.O_RDONLY) is None
        made.close()

    def test_private(self, tmp_path: Path) -> None:
        """The file is 0600 in directories of 0700, whatever the umask."""
        before = os.umask(0)
        try:
            path = put_segment(Home(tmp_path / "h").room("logs"), b"")
        finally:
            os.umask(before)
        assert 0o600 == path.stat().st_mode & 0o777
        assert {0o700} == {each.stat().st_mode & 0o777 for each in list(path.parents)[:3]}

    @pytest.mark.parametrize("step", ["write", "rename", "fsync", "fdatasync"])
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_failure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: int) -> None:
        """A creation that fails at any step leaves no locked file and nothing that is taken for records."""
        locked = dict(disk._locked)
        spool = Home(tmp_path).room("logs").spool
        disk.ensure_directory(spool.parent)
        disk.ensure_directory(spool)
        refuse(monkeypatch, step, OSError(error, os.strerror(error)))
        with pytest.raises(OSError, match=os.strerror(error)):
            segments.create(spool, header(), 0, sync=True)
        monkeypatch.undo()
        assert locked == disk._locked
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
        spy(monkeypatch, disk, "sync_directory", synced.append)
        made = segments.create(tmp_path / "h" / "logs" / "spool", header(), 0, sync=True)
        made.close()
        assert [tmp_path, tmp_path / "h", tmp_path / "h" / "logs", tmp_path / "h" / "logs" / "spool"] == synced

    def test_sweep(self, tmp_path: Path) -> None:
        """Home rule 1: what a process died over before it had a name is removed; what lives is not."""
        room = Home(tmp_path).room("logs")
        put_segment(room, lines(1, 1))
        (room.spool / f"{WRITER}-7.tmp").write_bytes(b"half")
        held = disk.open_append(room.spool / f"{WRITER}-8.tmp")
        assert held is not None
        segments.sweep(room.spool)
        assert {f"{WRITER}-0.seg", f"{WRITER}-8.tmp"} == {path.name for path in room.spool.iterdir()}
        disk.close_locked(held)

    def test_intact(self, tmp_path: Path) -> None:
        """Home rule 6: a segment knows when its descriptor is another file, closed, or its own file is deleted."""
        room = Home(tmp_path).room("logs")
        deleted, closed, taken = (put_live(room, b"", number=number) for number in range(3))
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


class TestHeader:
    def test_both_ways(self, tmp_path: Path) -> None:
        """Home rule 1: writer, subsystem, host, pid, start and policy stand in the first line."""
        path = put_segment(Home(tmp_path).room("audit"), b"", records=5)
        found = segments.read_header(path)
        assert header(subsystem="audit", records=5) == found
        assert 5 == found.settings["records"]

    def test_no_secret(self, tmp_path: Path) -> None:
        """Home rule 27: a header holds no token, though the settings do."""
        from ipfs_log_handlers import subsystems
        from ipfs_log_handlers.config import Settings
        from ipfs_log_handlers.home.settings import Policy

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
        found = pieces(put_segment(Home(tmp_path).room("logs"), self.CONTENT))
        assert ["header", "records", "end"] == [piece.kind for piece in found]
        assert 3 == len(found[1].records)

    @pytest.mark.parametrize("most", [20, 64, 500])
    def test_small_reads(self, tmp_path: Path, most: int) -> None:
        """However little is read at once, the records are the same."""
        path = put_segment(Home(tmp_path).room("logs"), self.CONTENT)
        assert [record(seq, note="ein Täter\u2028 \x00") for seq in (1, 2, 3)] == kept(path, most=most)

    def test_empty_lines(self, tmp_path: Path) -> None:
        """Home rule 3: empty lines are ignored."""
        path = put_segment(Home(tmp_path).room("logs"), b"\n\n" + lines(1, 1) + b"\n" + lines(2, 2) + b"\n")
        assert [record(1), record(2)] == kept(path)
        assert "damage" not in {piece.kind for piece in pieces(path)}

    def test_live_tail_is_not_yet(self, tmp_path: Path) -> None:
        """Home rule 4: in a segment that is still locked, the first byte that begins no whole line means not yet."""
        path = put_segment(Home(tmp_path).room("logs"), self.CONTENT)
        content = path.read_bytes()
        start = content.index(b"\n") + 1
        for end in range(start, len(content)):
            path.write_bytes(content[:end])
            found = pieces(path, owner_gone=False)
            assert found[-1].kind in {"pending", "end"}
            whole = content[start:end].count(b"\n")
            assert whole == sum(len(piece.records) for piece in found)

    def test_every_cut_of_a_dead_one(self, tmp_path: Path) -> None:
        """Home rule 4: cut anywhere, every record before the cut is there, and the torn rest is damage."""
        path = put_segment(Home(tmp_path).room("logs"), self.CONTENT)
        content = path.read_bytes()
        for end in range(len(content)):
            path.write_bytes(content[:end])
            assert content[:end].count(b"\n{") + max(0, content[:end].count(b"\n") - 1) == len(kept(path))

    def test_every_byte_flipped(self, tmp_path: Path) -> None:
        """Home rule 4, pitfall 37: any one bit flipped harms one line, or the two that it joined; no other record."""
        path = put_segment(Home(tmp_path).room("logs"), lines(1, 3))
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
        path = put_segment(Home(tmp_path).room("logs"), lines(1, 1) + junk + lines(2, 2))
        assert [record(1), record(2)] == kept(path)
        content = path.read_bytes()
        damaged = b"".join(content[piece.start : piece.end] for piece in pieces(path) if piece.kind == "damage")
        assert junk.strip(b"\n") == damaged.strip(b"\n")

    def test_control_lines(self, tmp_path: Path) -> None:
        """Home rule 5: control lines are told from records by what stands outside the JSON."""
        told = line.control(b'{"dropped":{}}')
        found = pieces(put_segment(Home(tmp_path).room("logs"), lines(1, 1) + told + lines(2, 2)))
        assert ["header", "records", "control", "records", "end"] == [piece.kind for piece in found]

    @given(st.binary(max_size=400), st.booleans())
    def test_anything(self, tmp_path_factory: pytest.TempPathFactory, junk: bytes, owner_gone: bool) -> None:
        """Whatever stands in a segment, reading it moves on or stops, and the last whole line is found."""
        path = tmp_path_factory.mktemp("s") / "s.seg"
        path.write_bytes(junk + b"\n" + lines(1, 1))
        found = pieces(path, owner_gone=owner_gone)
        if owner_gone:
            assert record(1) == found[-2].records[-1]

    def test_giant_line(self, tmp_path: Path) -> None:
        """A line of many times the size of a read is one record."""
        path = put_segment(Home(tmp_path).room("logs"), lines(1, 2, text="x" * 300_000))
        assert 2 == len(kept(path, most=4096))

    def test_giant_damage(self, tmp_path: Path) -> None:
        """Megabytes of what looks like the beginnings of lines are searched in time that grows with their length."""
        path = put_segment(Home(tmp_path).room("logs"), b"\0x" * 1_000_000 + b"\n" + lines(1, 1))
        assert [record(1)] == kept(path)
