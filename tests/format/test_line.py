from __future__ import annotations

import json
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.line import CONTROL, HEADER, RECORD, Line
from tests.format.mutations import assert_canonical, assert_refused, cuts, flips, with_junk

JSON = '{"event":"größer \u2028 \\n","seq":1}'.encode()
MAKERS = {RECORD: line.record, HEADER: line.header, CONTROL: line.control}
objects = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), max_size=3).map(
    lambda value: json.dumps(value).encode()
)


def again(decoded: Line) -> bytes:
    """Encode a decoded line once more, without its LF."""
    return MAKERS[decoded.kind](decoded.json)[:-1]


@pytest.mark.parametrize("kind", MAKERS)
class TestEachKind:
    def test_both_ways(self, kind: bytes) -> None:
        """What is encoded is decoded to the same kind and bytes."""
        assert Line(kind, JSON) == line.decode(MAKERS[kind](JSON)[:-1])

    def test_mutants(self, kind: bytes) -> None:
        """Cut anywhere, with junk behind it, or with any bit flipped, it is no line, of no kind."""
        whole = MAKERS[kind](JSON)[:-1]
        assert_refused(line.decode, cuts(whole))
        assert_refused(line.decode, with_junk(whole))
        assert_refused(line.decode, flips(whole))

    def test_other_kinds(self, kind: bytes) -> None:
        """Home rule 5: the kind stands outside the JSON and under the checksum: no line turns into another kind."""
        whole = MAKERS[kind](JSON)[:-1]
        assert_refused(
            line.decode, [whole[:8] + other + whole[9:] for other in (b" ", b"#", b"!", b"?") if other != kind]
        )


def test_what_was_found_is_text() -> None:
    """An error shows the bytes that it found as text, with escapes for what is none."""
    with pytest.raises(FormatError, match=r"expected [0-9a-f]{8}, found 0badc0de$"):
        line.decode(b"0badc0de {}")
    with pytest.raises(FormatError, match=r"found \\xff\\n$"):
        line.decode(b"\xff\n")


class TestShape:
    def test_bytes(self) -> None:
        """A record's line is its CRC-32 in eight lower-case hex digits, a space, the JSON, LF."""
        assert b"%08x %b\n" % (crc32(b"{}"), b"{}") == line.record(b"{}")
        assert b"%08x#{}\n" % crc32(b"#{}") == line.header(b"{}")
        assert b"%08x!{}\n" % crc32(b"!{}") == line.control(b"{}")

    @pytest.mark.parametrize("json", [b"", b"{", b"}", b"[]", b"null", b'"{}"', b" {}", b"{} "])
    def test_no_object(self, json: bytes) -> None:
        """A line with a right checksum over something that is no object is refused."""
        assert_refused(line.decode, [make(json)[:-1] for make in MAKERS.values()])

    def test_upper_case(self) -> None:
        """There is one way to write a checksum."""
        numbered = [line.record(b'{"a":%d}' % n)[:-1] for n in range(20)]
        assert_refused(line.decode, [each[:8].upper() + each[8:] for each in numbered if each[:8] != each[:8].upper()])

    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        """Whatever the bytes, the answer is a FormatError or a line that encodes to them again."""
        assert_canonical(line.decode, again, [data, b"%08x %b" % (crc32(data), data)])


class TestRecords:
    @given(st.lists(objects, max_size=6), st.binary(max_size=40))
    def test_whole_lines_first(self, bodies: list[bytes], junk: bytes) -> None:
        """Whole records at the start of a block are split off, and nothing behind the first that is none."""
        block = b"".join(map(line.record, bodies))
        found, used = line.records(block + b"\xff" + junk)
        assert (bodies, len(block)) == (found, used)

    @pytest.mark.parametrize("stop", [line.header(b"{}"), line.control(b"{}"), b"\n", b"x\n", line.record(b"[]"), b"x"])
    def test_stops(self, stop: bytes) -> None:
        """Headers, control lines, empty lines and damage end the run of records."""
        assert [b"{}"] == line.records(line.record(b"{}") + stop + line.record(b"{}"))[0]

    def test_cut(self) -> None:
        """A record whose LF is not there yet is not taken."""
        block = line.record(JSON) * 2
        for end in range(len(block)):
            assert block[:end].count(b"\n") == len(line.records(block[:end])[0])


class TestSearch:
    @given(st.lists(st.one_of(objects.map(line.record), st.binary(max_size=30)), max_size=8))
    def test_finds_every_whole_line(self, parts: list[bytes]) -> None:
        """Home rule 4: every line that stands whole in a block is found, whatever is before or behind it."""
        block = b"".join(parts)
        found = set(line.next_line(block, 0))
        at = 0
        for part in parts:
            if part[-1:] == b"\n" and _is_line(part):
                assert at in found
            at += len(part)
        for position in found:
            line.decode(block[position : block.index(b"\n", position)])

    def test_joined(self) -> None:
        """Home rule 4: when the damaged byte is the LF between two lines, the second one is found."""
        one, two = line.record(b'{"a":1}'), line.record(b'{"a":2}')
        assert [len(one)] == list(line.next_line(one[:-1] + b"x" + two, 1))

    def test_text_that_looks_like_a_line(self) -> None:
        """A text that was logged, and looks like a line, is not found as a whole one in its record's line."""
        inner = line.record(b'{"seq":9}').decode()
        outer = line.record(json.dumps({"event": inner, "seq": 1}).encode())
        found = [line.decode(outer[at:-1]).json for at in line.next_line(outer, 1)]
        assert [] == found


def _is_line(part: bytes) -> bool:
    try:
        line.decode(part[:-1])
    except FormatError:
        return False
    return True
