from __future__ import annotations

import json
from contextlib import suppress
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.line import CONTROL, HEADER, RECORD, Line
from tests.support.mutations import assert_canonical, assert_refused, cuts, flips, with_junk

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


class TestNotUtf8:
    LINE = line.record(b'{"event":"\x9b2J"}')

    def test_json_that_is_not_utf_8_is_no_line(self) -> None:
        """A line whose checksum holds over bytes that are no UTF-8 is refused: a terminal would obey these bytes."""
        assert_refused(line.decode, [self.LINE[:-1], line.control(b'{"\xff":1}')[:-1], line.header(b'{"\xc3":1}')[:-1]])

    def test_records_end_before_bytes_that_are_no_text(self) -> None:
        """Such a line ends the run of records, and those in front of it are taken."""
        good = line.record(JSON) + line.record(b'{"a":1}')
        assert ([JSON, b'{"a":1}'], len(good)) == line.records(good + self.LINE + good)


json_values = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.none(), st.text(st.sampled_from('0123 #!{}"\\abz,:é')), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)
"""JSON values, some with texts that look like the beginning of a line."""


class TestSearch:
    @given(st.sampled_from((b"", b"x", b"0123 {", b'00000000 {"a', b'00000000 {"time":1}')), objects, st.binary())
    def test_a_whole_line_after_other_bytes_is_found(self, text: bytes, body: bytes, junk: bytes) -> None:
        """Home rule 4: the line that ends a stretch is found at its beginning, and anywhere behind other bytes."""
        whole = line.record(body)[:-1]
        assert 0 == line.find_at_end(whole)
        before = text + junk.replace(b"\n", b"")
        named = line.record(b'{"time":1,' + body[1:] if body != b"{}" else b'{"time":1}')[:-1]
        assert len(before) == line.find_at_end(before + named, 1 if before else 0)

    def test_joined(self) -> None:
        """Home rule 4: when the damaged byte is the LF between two lines, the second one is found."""
        one, two = line.record(b'{"a":1}'), line.record(b'{"a":2}')
        assert len(one) == line.find_at_end(one[:-1] + b"x" + two[:-1], 1)

    def test_several_joined_lines_give_the_first_that_is_whole(self) -> None:
        """Where the LFs of several lines were damaged, the last one alone ends with the stretch."""
        lines = [line.record(b'{"a":%d}' % number) for number in range(10)]
        joined = b"".join(each[:-1] + b"\r" for each in lines[:-1]) + lines[-1][:-1]
        assert len(joined) - len(lines[-1]) + 1 == line.find_at_end(joined, 1)

    @pytest.mark.slow
    @given(st.dictionaries(st.text(), json_values, min_size=1, max_size=5))
    def test_no_logged_value_looks_like_the_beginning_of_a_line(self, value: dict[str, object]) -> None:
        """Whatever a stranger makes a program log, the bytes of its line hold no second beginning to be searched."""
        for text in (json.dumps(value), json.dumps(value, separators=(",", ":"), ensure_ascii=False)):
            with suppress(UnicodeEncodeError):
                assert [] == list(line._BEGINNING_INSIDE.finditer(b"01234567_" + text.encode()))

    def test_text_that_looks_like_a_line(self) -> None:
        """A text that was logged, and looks like a line, is not found as a whole one in its record's line."""
        inner = line.record(b'{"seq":9}').decode()
        outer = line.record(json.dumps({"event": inner, "seq": 1}).encode())
        assert line.find_at_end(outer[:-1], 1) is None

    @pytest.mark.parametrize("beginning", [b"00000000 {", b'00000000 {"', b'00000000 {"a', b'"00000000 {",'])
    def test_the_work_grows_with_the_length_and_not_with_its_square(
        self, beginning: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many beginnings of lines stand in damaged bytes, few checksums are calculated over the rest."""
        summed: list[int] = []

        def counting(data: bytes) -> int:
            summed.append(len(data))
            return crc32(data)

        monkeypatch.setattr(line, "crc32", counting)
        length = 4_000_000
        assert line.find_at_end(beginning * (length // len(beginning)) + b"}", 1) is None
        assert sum(summed) <= 20 * length
