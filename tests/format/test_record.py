from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import record
from ipfs_log_handlers.format.record import RESERVED_FIELDS, RecordEncoder, cut_down, decode
from ipfs_log_handlers.format.values import MARK, MAX_REPR_CHARACTERS, encode_total
from tests.support.mutations import assert_total, flips
from tests.support.odd_values import ODD_NAMES, Name, Text, anything, json_like, odd_value

NOW = 1_767_323_045.000_006
WITH_ADDRESS = {"generator", "iterator", "object", "function", "class", "lying class", "lying dict"}
"""Whose repr differs from one object to the next."""
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name not in RESERVED_FIELDS)


def whole(front: bytes) -> dict[str, Any]:
    """Return the record that begins with a prefix, decoded strictly."""
    return decode(front + b',"pid":1,"seq":2}')


def logged(fields: dict[str, Any], *, event: Any = "e", created: Any = NOW, **more: Any) -> dict[str, Any]:
    """Return the encoded record."""
    return whole(RecordEncoder().prefix(created, "INFO", "t", event, fields, **more))


def total(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the same, encoded by the path that takes every object."""
    with monkeypatch.context() as patch:
        patch.setattr(record, "_fast_encoder", lambda: _refuse)
        return logged(fields)


def cut(event: str, fields: dict[str, Any], max_bytes: int) -> tuple[str, dict[str, Any]]:
    """Event and fields of a record without exception and stack, cut down."""
    event, fields, *_ = cut_down(event, fields, None, None, max_bytes)
    return event, fields


def _refuse(_: object) -> bytes:
    raise ValueError("not this way")


class TestEnvelope:
    def test_the_keys_stand_in_order(self) -> None:
        """The keys stand in the order of the format: time, level, logger, event, fields, exception, stack."""
        found = logged({"b": 1, "a": 2}, exception="x", stack="y")
        assert ["time", "level", "logger", "event", "b", "a", "exception", "stack", "pid", "seq"] == list(found)
        assert ("2026-01-02T03:04:05.000006Z", "info", "t") == (found["time"], found["level"], found["logger"])

    @pytest.mark.parametrize(
        ("created", "text"),
        [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-0.5, "1969-12-31T23:59:59.500000Z"),
            (0.000_001, "1970-01-01T00:00:00.000001Z"),
            (1e9 + 0.999_999_9, "2001-09-09T01:46:41.000000Z"),
            (2_147_483_648.25, "2038-01-19T03:14:08.250000Z"),
            (253_402_300_799.5, "9999-12-31T23:59:59.500000Z"),
            (253_402_300_800, "1970-01-01T00:00:00.000000Z"),
            (1e300, None),
            (-1e300, None),
            (math.nan, "1970-01-01T00:00:00.000000Z"),
            (math.inf, "1970-01-01T00:00:00.000000Z"),
            (None, "1970-01-01T00:00:00.000000Z"),
            ("x", "1970-01-01T00:00:00.000000Z"),
        ],
    )
    def test_every_year_of_rfc_3339_is_written(self, created: Any, text: str | None) -> None:
        """Pitfall 33: microseconds and every year that RFC 3339 has are written; anything else is 1970."""
        found = logged({}, created=created)["time"]
        assert text in {None, found}
        dt.datetime.fromisoformat(found.replace("Z", "+00:00"))

    def test_a_clock_that_steps_back_is_written_as_it_is(self) -> None:
        """Pitfall 33: a clock that steps back is written as it is."""
        encoder = RecordEncoder()
        found = [whole(encoder.prefix(at, "INFO", "t", "e", {}))["time"][17:26] for at in (NOW, NOW - 1, NOW, NOW)]
        assert ["05.000006", "04.000006", "05.000006", "05.000006"] == found

    @pytest.mark.parametrize("value", [None, 5, ["x"], {"a": 1}, "a\ud800", "with space", Text("x")], ids=range(7))
    def test_level_logger_and_event_of_any_kind_become_text(self, value: Any) -> None:
        """Pitfall 34: levels and loggers of any kind are text in the record."""
        encoder = RecordEncoder()
        for _ in range(2):
            found = whole(encoder.prefix(NOW, value, value, value, {}))
            assert [str, str, str] == [type(found[name]) for name in ("level", "logger", "event")]

    @pytest.mark.parametrize("text", ["x\ud800\n", 5, True, {"a": 1}])
    def test_exception_and_stack_become_text(self, text: Any) -> None:
        """Pitfall 28: exception and stack are text, lone surrogates in it escaped."""
        found = logged({}, exception=text, stack=text)
        assert isinstance(found["exception"], str)
        assert found["exception"] == found["stack"]
        assert "\\ud800" in found["stack"] or text != "x\ud800\n"

    def test_names_made_at_run_time_do_not_fill_the_memory(self) -> None:
        """Loggers made up at run time do not fill the memory."""
        encoder = RecordEncoder()
        for number in range(5000):
            encoder.prefix(NOW, "INFO", f"l{number}", "e", {})
        assert len(encoder._names) <= 4096


class TestOddValues:
    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_value_leaves_its_neighbours_intact(self, name: str) -> None:
        """Pitfall 26: whatever the value, the record is kept, read strictly, and its neighbours are intact."""
        found = logged({"before": [1.5, "ä"], "value": odd_value(name), "after": {"b": None}})
        assert ([1.5, "ä"], {"b": None}) == (found["before"], found["after"])
        assert "value" in found

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_event_of_any_kind_becomes_text(self, name: str) -> None:
        """Pitfall 27: whatever the message, the record is kept with an event that is text."""
        assert isinstance(logged({}, event=odd_value(name))["event"], str)

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (b"\x00\xff", "AP8="),
            (odd_value("decimal"), "1.10"),
            (odd_value("path"), "/a/b"),
            (odd_value("uuid"), "00000000-0000-0000-0000-000000000005"),
            (odd_value("enum"), "red"),
            (Name.A, "a"),
            (odd_value("dataclass"), {"x": 1, "password": "hush"}),
            (odd_value("naive"), "2026-01-02T03:04:05.000006"),
            (odd_value("aware"), "2026-01-02T03:04:05Z"),
            (odd_value("date"), "2026-01-02"),
            (odd_value("time"), "01:02:03.000004"),
            ({1}, [1]),
            ((1, (2,)), [1, [2]]),
            (2**64, 2**64),
            (True, True),
            ({1: "a", "1": "b"}, {"1": "a", "1_": "b"}),
            ({(1, 2): 3}, {"(1, 2)": 3}),
            ("a\0b\u2028\n", "a\0b\u2028\n"),
        ],
        ids=range(18),
    )
    def test_each_type_has_its_encoding(self, value: object, written: object) -> None:
        """Pitfalls 26, 28, 29, 30: what each kind of value is written as."""
        found = logged({"value": value})["value"]
        assert written == found
        assert type(written) is type(found)

    @pytest.mark.parametrize(
        "name", ["nan", "inf", "surrogate", "10**5000", "bad repr", "generator", "object", "class", "bad mapping"]
    )
    def test_what_json_cannot_hold_is_marked(self, name: str) -> None:
        """Pitfall 26: what JSON cannot hold is a marked object with the reason and its repr."""
        found = logged({"value": odd_value(name)})["value"]
        assert {MARK, "repr"} == set(found)
        assert all(found.values())

    def test_minus_zero_stays(self) -> None:
        """Pitfall 29: -0.0 keeps its sign."""
        assert -1.0 == math.copysign(1, logged({"value": -0.0})["value"])

    def test_a_long_repr_is_cut(self) -> None:
        """The repr of what cannot be written is cut, and says how long it was."""

        class Long:
            def __repr__(self) -> str:
                return "x" * 1_000_000

        found = logged({"value": Long()})["value"]["repr"]
        assert MAX_REPR_CHARACTERS < len(found) < MAX_REPR_CHARACTERS + 50
        assert "1000000 characters" in found

    def test_a_dict_that_changes_meanwhile_loses_no_record(self) -> None:
        """A mapping that changes while it is walked harms only itself."""
        fields: dict[str, Any] = {}

        class Growing:
            def __repr__(self) -> str:
                fields[f"more {len(fields)}"] = 1
                return "growing"

        fields.update(a=Growing(), b=Growing())
        assert {"a", "b"} <= set(logged(fields))

    def test_an_integer_that_readers_refuse_is_marked(self) -> None:
        """Pitfall 29: a program's own limit on the digits of an integer harms only the integer."""
        limit = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(700)
        try:
            found = logged({"value": 10**1000, "other": 1})
        finally:
            sys.set_int_max_str_digits(limit)
        assert MARK in found["value"]
        assert 1 == found["other"]

    def test_near_the_recursion_limit_no_record_is_broken(self) -> None:
        """Near the recursion limit the record is kept, or the caller's own RecursionError comes; never a broken one."""
        fronts = list[bytes]()
        value = odd_value("deep 64")

        def down() -> None:
            fronts.append(RecordEncoder().prefix(NOW, "INFO", "t", "e", {"a": value, "b": 1}))
            down()

        with pytest.raises(RecursionError):
            down()
        assert all(1 == whole(front)["b"] for front in fronts[-100:])

    @given(st.dictionaries(st.one_of(names, st.integers(), st.none()), anything, max_size=4))
    def test_any_fields_give_a_strict_record_with_all_of_them(self, fields: dict[Any, Any]) -> None:
        """Whatever the fields, the record decodes strictly and has as many of them as were given."""
        before = list(fields)
        found = logged(fields)
        assert before == list(fields)
        assert len(fields) + 6 == len(found)

    @given(st.dictionaries(st.text(max_size=8), anything, max_size=4))
    def test_a_name_that_needs_escaping_never_overwrites_another(self, fields: dict[str, Any]) -> None:
        """Pitfall 30: a name that is no Unicode, or ours where that needs escaping, never overwrites another."""
        fields = {name: value for name, value in fields.items() if name not in RESERVED_FIELDS}
        assert len(fields) + 6 == len(logged({**fields, "a\ud800": 1}).keys()) - ("a\ud800" not in fields)


class TestPathsAgree:
    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if name not in WITH_ADDRESS])
    def test_both_encoders_write_the_same_for_odd_values(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The fast encoder writes what the total one writes."""
        assert total({"a": odd_value(name)}, monkeypatch) == logged({"a": odd_value(name)})

    @given(st.dictionaries(names, json_like, max_size=4))
    def test_both_encoders_write_the_same_for_json(self, fields: dict[str, Any]) -> None:
        """What is nearly JSON is written alike both ways, value for value and type for type."""
        with pytest.MonkeyPatch.context() as patch:
            slow = total(fields, patch)
        fast = logged(fields)
        assert json.dumps(slow) == json.dumps(fast)

    @given(
        st.dictionaries(
            names,
            st.one_of(
                st.datetimes(timezones=st.just(dt.timezone.utc)),
                st.datetimes(),
                st.dates(),
                st.times(),
                st.uuids(),
                st.decimals(),
                st.binary(max_size=9),
            ),
            max_size=4,
        )
    )
    def test_both_encoders_write_the_same_for_types_of_the_library(self, fields: dict[str, Any]) -> None:
        """Times, UUIDs, decimals and bytes are written alike both ways."""
        with pytest.MonkeyPatch.context() as patch:
            slow = total(fields, patch)
        assert slow == logged(fields)

    @pytest.mark.parametrize("minutes", [0, 1, 90, -90, 1439, -1439])
    def test_both_encoders_write_the_same_offsets(self, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Times with an offset are written alike both ways."""
        zone = dt.timezone(dt.timedelta(minutes=minutes))
        fields = {"a": dt.datetime(2026, 1, 2, 3, 4, 5, 6, zone), "b": dt.time(3, 4, 5, 6, zone)}
        assert total(fields, monkeypatch) == logged(fields)

    def test_without_msgspec_records_are_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pitfall 16: where msgspec refuses to load, records are written all the same."""
        monkeypatch.setitem(sys.modules, "msgspec", None)
        assert 1 == logged({"a": 1, "b": math.nan})["a"]
        assert RecordEncoder().shape(("a",)) is None

    @given(st.dictionaries(names, anything, max_size=3))
    def test_the_total_encoder_writes_json(self, value: dict[str, Any]) -> None:
        """The total encoder gives strict JSON for every object, and the same twice."""
        encoded = encode_total(value)
        decode(encoded)


class TestCutting:
    @pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 100_000])
    def test_the_longest_text_is_cut_with_length_and_digest(self, size: int) -> None:
        """Home rule 24: the longest texts are cut, with original length and SHA-256; short ones stay."""
        text = "ä" * size
        event, fields = cut("e", {"short": "s", "long": text}, 2000)
        assert ("e", "s") == (event, fields["short"])
        if len(encode_total({"event": "e", "short": "s", "long": text})) > 2000:
            assert fields["long"].startswith("ä")
            assert f"{size} characters" in fields["long"]
            assert hashlib.sha256(text.encode()).hexdigest() in fields["long"]

    def test_several_long_texts_are_cut_until_they_fit(self) -> None:
        """Home rule 24: several long texts are cut further until the record fits, each with its own length."""
        fields = {f"f{n}": chr(97 + n) * 5000 for n in range(8)}
        _, found = cut("e" * 5000, fields, 8192)
        assert all("5000 characters" in value for value in found.values())
        assert len(encode_total(found)) <= 8192

    @pytest.mark.parametrize("text", ["\0", "😀", "\ud83d", '"', "x… (cut: "])
    def test_texts_are_cut_between_characters(self, text: str) -> None:
        """Pitfall 32: cut on a character, whatever each takes in UTF-8 or JSON; no text can say it was cut."""
        event, fields = cut(text * 100_000, {"a": {"b": [text * 100_000]}}, 4096)
        size = len(encode_total({"event": event, **fields}))
        assert 500 < size <= 4096
        assert "characters, sha256" in event

    def test_a_large_value_without_text_is_left_out_with_its_size(self) -> None:
        """Home rule 24: what is large without a text is left out as a whole, with its size and digest."""
        _, fields = cut("e", {"a": list(range(10_000)), "b": 1}, 4096)
        assert 1 == fields["b"]
        assert "left out" in fields["a"][MARK]
        assert 64 == len(fields["a"]["sha256"])

    @pytest.mark.parametrize("fields", [{"k" * 100_000: 1}, {f"k{n}": n for n in range(10_000)}])
    def test_names_that_are_too_long_are_counted(self, fields: dict[str, Any]) -> None:
        """Pitfall 30: even where the names alone are too long the record fits, and says what is missing."""
        event, found = cut("e", fields, 4096)
        assert "e" == event
        assert len(encode_total(found)) <= 4096
        assert f"{len(fields)} fields" in str(found)

    @given(st.dictionaries(names, anything, max_size=4), st.integers(1024, 5000))
    def test_whatever_is_cut_fits(self, fields: dict[str, Any], most: int) -> None:
        """Whatever it is, it fits afterwards."""
        event, found = cut("e" * 3000, fields, most)
        assert len(encode_total({"event": event, **found})) <= most


class TestDecode:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b'{"a":NaN}',
            b'{"a":-Infinity}',
            b'{"a":1e999}',
            b'{"a":1,"a":2}',
            b'{"a":{"b":1,"b":1}}',
            b'{"a":"\xff"}',
            b'{"a":"\\ud800"}',
            b'{"a":1} x',
            b'\xef\xbb\xbf{"a":1}',
            b'{"a":"\n"}',
            b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"a":' + b"9" * 5000 + b"}",
        ],
        ids=range(15),
    )
    def test_what_is_not_strict_json_is_refused(self, data: bytes) -> None:
        """What two parsers might read in two ways is no record."""
        with pytest.raises(FormatError):
            decode(data)

    def test_a_mutated_record_raises_nothing_but_format_errors(self) -> None:
        """Any bit flipped is a FormatError or another record, nothing else."""
        front = RecordEncoder().prefix(NOW, "INFO", "t", "größer", {"a": 1.5, "b": [None, "\u2028"]})
        assert_total(decode, flips(front + b',"pid":1,"seq":2}'))

    @given(st.dictionaries(names, json_like, max_size=4))
    def test_what_was_encoded_is_decoded(self, fields: dict[str, Any]) -> None:
        """A pair of escaped surrogates is one character; what was written is read."""
        data = json.dumps({"a": "😀"}).encode()
        assert {"a": "😀"} == decode(data)
        assert logged(fields) == decode(json.dumps(logged(fields)).encode())
