from __future__ import annotations

import sys
from typing import Any

import pytest

from ipfs_log_handlers.fields import exception_text, json_members, rename_clashing, resolve_event
from tests.odd import BadRepr


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
        ],
        ids=range(12),
    )
    def test_objects_only(self, text: str, found: object) -> None:
        """A message that is one JSON object is taken apart; any other text stays one."""
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
            ("text", {"event": None}, False, "text", {}),
        ],
    )
    def test_table(self, text: str, fields: dict[str, Any], from_json: bool, event: str, left: dict[str, Any]) -> None:
        """An `event` among the fields is the event; the text, where it differs, becomes `message`."""
        assert event == resolve_event(text, fields, "first", from_json=from_json)
        assert left == fields

    def test_bad(self) -> None:
        """Pitfall 26: an event that cannot become text is a marked text."""
        assert "RuntimeError" in resolve_event("text", {"event": BadRepr()}, None, from_json=False)

    def test_no_first(self) -> None:
        """A JSON message in a subsystem without events keeps its text as event."""
        assert '{"a":1}' == resolve_event('{"a":1}', {"a": 1}, None, from_json=True)


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
    def test_table(self, fields: dict[str, Any], renamed: dict[str, Any]) -> None:
        """Pitfall 30: a field never overwrites one of ours nor another field; it gets a trailing `_`."""
        assert renamed == rename_clashing(fields)


class TestExceptionText:
    @pytest.mark.parametrize("told", [None, False, (), (None, None, None), "text", 5, (1, 2), True])
    def test_none(self, told: Any) -> None:
        """Pitfall 31: `exc_info` without an exception is nothing."""
        assert exception_text(told) is None

    def test_forms(self) -> None:
        """Pitfall 31: True, an instance and a tuple give the same traceback."""
        try:
            raise ValueError("größer\ud800")
        except ValueError as error:
            forms = [exception_text(each) for each in (True, error, sys.exc_info())]
        assert [forms[0]] * 3 == forms
        assert "ValueError: größer" in str(forms[0])

    def test_chain(self) -> None:
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

    def test_bad_str(self) -> None:
        """Pitfall 31: an exception that cannot become text is still told by its kind."""

        class BadError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        assert "BadError" in str(exception_text(BadError()))

    def test_no_value(self) -> None:
        """Pitfall 31: a tuple that is no triple of an exception does no harm."""
        assert "cannot be written" in str(exception_text((5, 5, 5)))
