from __future__ import annotations

import logging
import os
import sys
from typing import Any

import pytest

from ipfs_log_handlers.format.record import RESERVED_FIELDS
from ipfs_log_handlers.ingest.event import LoggedEvent
from ipfs_log_handlers.ingest.fields import (
    CLASHING,
    exception_text,
    json_members,
    level_name,
    rename_clashing,
    resolve_event,
    without_repeats,
)
from tests.support.odd_values import BadRepr, Colour


def test_every_reserved_name_but_the_event_clashes() -> None:
    """Fields are renamed exactly where the format has a key of its own."""
    assert RESERVED_FIELDS - {"event"} == CLASHING


class TestJsonMembers:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ('{"a": 1}', {"a": 1}),
            ("{}", {}),
            ('{"a": {"b": [1]}}', {"a": {"b": [1]}}),
            ("", None),
            ("{", None),
            ("{x}", None),
            ("[1]", None),
            ("{1: 2}", None),
            (' {"a": 1}', None),
            ('{"a": 1} and {"b": 2}', None),
            ('{"a":' * 100_000 + "}", None),
            ('{"a":' + "9" * 10_000 + "}", None),
            ('{"a": 1, "b": {"c": 1, "c": [2]}, "a": 2}', {"a": [1, 2], "b": {"c": [1, [2]]}}),
        ],
        ids=range(13),
    )
    def test_only_a_message_that_is_one_json_object_is_taken_apart(self, text: str, found: object) -> None:
        """A message that is one JSON object is taken apart, each value of a key kept; any other text stays one."""
        assert found == json_members(text)


class TestEvent:
    @pytest.mark.parametrize(
        ("text", "fields", "from_json", "event", "left"),
        [
            ("text", {}, False, "text", {}),
            ("text", {"event": "e"}, False, "e", {"message": "text"}),
            ("e", {"event": "e"}, False, "e", {}),
            ("text", {"event": "e", "message": "m"}, False, "e", {"message": "text", "message_": "m"}),
            ("{}", {"event": "e", "a": 1}, True, "e", {"a": 1}),
            ("{}", {"a": 1}, True, "first", {"a": 1}),
            ("text", {"event": 5}, False, "5", {"message": "text"}),
            ("text", {"event": Colour.RED}, False, "red", {"message": "text"}),
            ("text", {"event": b"e"}, False, "e", {"message": "text"}),
            ("text", {"event": {"a": True}}, False, "text", {"event_": {"a": True}}),
            ("text", {"event": ["a"], "event_": 1}, False, "text", {"event_": 1, "event__": ["a"]}),
            ("{}", {"event": {"a": None}, "b": 1}, True, "first", {"event_": {"a": None}, "b": 1}),
            ("text", {"event": None}, False, "text", {}),
        ],
    )
    def test_an_event_among_the_fields_is_the_event(
        self, text: str, fields: dict[str, Any], from_json: bool, event: str, left: dict[str, Any]
    ) -> None:
        """An `event` among the fields is the event; the text, where it differs, becomes `message`."""
        assert event == resolve_event(text, fields, "first", from_json=from_json)
        assert left == fields

    def test_an_event_that_cannot_become_text_is_marked(self) -> None:
        """Pitfall 26: an event that cannot become text is a marked text."""
        assert "RuntimeError" in resolve_event("text", {"event": BadRepr()}, None, from_json=False)

    def test_a_json_message_keeps_its_text_where_no_event_is_known(self) -> None:
        """A JSON message in a subsystem without events keeps its text as event."""
        assert '{"a":1}' == resolve_event('{"a":1}', {"a": 1}, None, from_json=True)


class TestLevelName:
    @pytest.mark.parametrize(
        ("name", "number", "level"),
        [
            ("WARNING", 30, "WARNING"),
            ("\x1b[33mWARNING\x1b[0m", 30, "WARNING"),
            ("\x1b[1;38:5:208m WARNING  \x1b[0m", 30, "WARNING"),
            ("WARNING ", 30, "WARNING"),
            ("W", 30, "WARNING"),
            ("\x1b[32mNOTICE\x1b[0m", 25, "NOTICE"),
            ("NOTICE", 25, "NOTICE"),
            ("NOTICE", None, "NOTICE"),
            ("\x1b[32m\x1b[0m", None, "\x1b[32m\x1b[0m"),
            (5, 20, "INFO"),
            (None, None, None),
            ("INFO", "odd", "INFO"),
        ],
    )
    def test_a_level_that_a_formatter_changed_is_known_by_its_number(
        self, name: object, number: object, level: object
    ) -> None:
        """What counts is the level, not what a console shows: colours, padding and abbreviations are left out."""
        assert level == level_name(name, number)

    def test_a_level_that_was_registered_in_colour_is_plain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A program may colour the names of levels for good, as many do; the record has the plain name."""
        monkeypatch.setitem(logging._levelToName, 30, "\x1b[33mWARNING\x1b[0m")
        assert "WARNING" == level_name("\x1b[33mWARNING\x1b[0m", 30)


TRACEBACK = "Traceback (most recent call last):\n  …\nValueError: x"


class TestRepeats:
    @pytest.mark.parametrize(
        ("fields", "kept"),
        [
            ({"a": 1}, {"a": 1}),
            ({"level": "warning", "logger": "t", "a": 1}, {"a": 1}),
            ({"level": "\x1b[33mWARNING\x1b[0m"}, {}),
            ({"level": "mine", "logger": "mine", "pid": 5}, {"level": "mine", "logger": "mine", "pid": 5}),
            ({"pid": os.getpid(), "seq": 1}, {"seq": 1}),
            ({"level": 30, "logger": None}, {"level": 30, "logger": None}),
            ({"exception": "mine", "stack": ["mine"]}, {"exception": "mine", "stack": ["mine"]}),
            ({"exception": None, "stack": None}, {}),
        ],
    )
    def test_a_field_that_repeats_the_record_is_left_out(self, fields: dict[str, Any], kept: dict[str, Any]) -> None:
        """What stands in the record already is not stored a second time; what differs is a field of the caller's."""
        logged = without_repeats(LoggedEvent(0.0, "WARNING", "t", "e", fields))
        assert (kept, None, None) == (logged.fields, logged.exception, logged.stack)

    def test_a_traceback_that_only_a_field_holds_is_that_of_the_record(self) -> None:
        """Structlog renders a traceback into a field; in the record it stands where tracebacks stand."""
        logged = without_repeats(LoggedEvent(0.0, "ERROR", "t", "e", {"exception": TRACEBACK, "a": 1}))
        assert (TRACEBACK, {"a": 1}) == (logged.exception, logged.fields)

    def test_two_different_tracebacks_are_both_kept(self) -> None:
        """A field with another traceback than the record's stays one."""
        logged = without_repeats(LoggedEvent(0.0, "ERROR", "t", "e", {"exception": TRACEBACK}, "another"))
        assert ("another", {"exception": TRACEBACK}) == (logged.exception, logged.fields)


class TestClashes:
    @pytest.mark.parametrize(
        ("fields", "renamed"),
        [
            ({"a": 1}, {"a": 1}),
            ({"pid": 1, "seq": 2}, {"pid_": 1, "seq_": 2}),
            ({"time": 1, "time_": 2}, {"time__": 1, "time_": 2}),
            ({"level_": 2, "level": 1, "level__": 3}, {"level_": 2, "level___": 1, "level__": 3}),
            ({"event": 1, "message": 2}, {"event": 1, "message": 2}),
            ({5: 1, None: 2, "stack": 3}, {5: 1, None: 2, "stack_": 3}),
        ],
    )
    def test_a_clashing_field_gets_a_trailing_underscore(self, fields: dict[str, Any], renamed: dict[str, Any]) -> None:
        """Pitfall 30: a field never overwrites one of ours nor another field; it gets a trailing `_`."""
        assert renamed == rename_clashing(fields)


class TestExceptionText:
    @pytest.mark.parametrize("exc_info", [None, False, (), (None, None, None), "text", 5, (1, 2), True])
    def test_exc_info_without_an_exception_is_nothing(self, exc_info: Any) -> None:
        """Pitfall 31: `exc_info` without an exception is nothing."""
        assert exception_text(exc_info) is None

    def test_true_an_instance_and_a_tuple_give_the_same_traceback(self) -> None:
        """Pitfall 31: True, an instance and a tuple give the same traceback."""
        try:
            raise ValueError("größer\ud800")
        except ValueError as error:
            forms = [exception_text(form) for form in (True, error, sys.exc_info())]
        assert [forms[0]] * 3 == forms
        assert "ValueError: größer" in str(forms[0])

    def test_causes_in_a_circle_and_thousands_of_contexts_end(self) -> None:
        """Pitfall 31: causes in a circle and three thousand contexts end."""
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        assert "one" in str(exception_text(one))
        last: BaseException = ValueError("0")
        for number in range(3000):
            following = ValueError(str(number))
            following.__context__ = last
            last = following
        assert "ValueError" in str(exception_text(last))

    def test_an_exception_whose_text_fails_is_named_by_its_type(self) -> None:
        """Pitfall 31: an exception that cannot become text is still named by its type."""

        class BadError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        assert "BadError" in str(exception_text(BadError()))

    def test_a_tuple_that_is_no_exception_does_no_harm(self) -> None:
        """Pitfall 31: a tuple that is no triple of an exception does no harm."""
        assert "cannot be written" in str(exception_text((5, 5, 5)))
