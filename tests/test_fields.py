from __future__ import annotations

import sys
from typing import Any

import pytest

from ipfs_log_handlers.fields import exception_text, json_members, rename_clashing, resolve_event, with_redaction
from tests.odd import BadRepr, Point, cyclic_dict, cyclic_list, deep


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


class TestRedaction:
    HIDE = staticmethod(with_redaction(("password", "*token*", "api?key")) or dict)

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ({"password": 1, "passwords": 2}, {"password": "[redacted]", "passwords": 2}),
            ({"PASSWORD": 1, "my_TOKEN_x": 1}, {"PASSWORD": "[redacted]", "my_TOKEN_x": "[redacted]"}),
            ({"api-key": 1, "apikey": 1}, {"api-key": "[redacted]", "apikey": 1}),
            ({"a": {"b": [{"token": 1}, 2]}}, {"a": {"b": [{"token": "[redacted]"}, 2]}}),
            ({"a": ({"password": 1},)}, {"a": [{"password": "[redacted]"}]}),
            ({"a": Point(5)}, {"a": {"x": 5, "password": "[redacted]"}}),
            ({5: {"password": 1}}, {5: {"password": "[redacted]"}}),
        ],
        ids=range(7),
    )
    def test_names(self, value: dict[Any, Any], shown: dict[Any, Any]) -> None:
        """Pitfall 35: named values are hidden wherever they stand: nested, in lists, in dataclasses, in any case."""
        assert shown == self.HIDE(value)

    @pytest.mark.parametrize("value", [cyclic_dict(), cyclic_list(), deep(100_000)], ids=range(3))
    def test_without_end(self, value: Any) -> None:
        """Pitfall 26: what has no end is hidden from some depth on; it does not lose the record."""
        assert {"a", "b"} == set(self.HIDE({"a": value, "b": 1}))

    def test_bad_mapping(self) -> None:
        """Pitfall 26: what cannot be searched is hidden whole."""
        from tests.odd import BadMapping

        assert {"a": "[redacted]", "b": 1} == self.HIDE({"a": BadMapping(password=1), "b": 1})

    def test_not_changed(self) -> None:
        """Pitfall 25: hiding changes nothing of the program's own."""
        value = {"a": {"password": 1}}
        self.HIDE(value)
        assert {"a": {"password": 1}} == value

    def test_function(self) -> None:
        """A function of the program's may do as it likes with the fields."""
        rule = with_redaction(lambda fields: {**fields, "a": "hidden"})
        assert rule is not None
        assert {"a": "hidden", "b": 2} == rule({"a": 1, "b": 2})

    @pytest.mark.parametrize("rule", [lambda _: 1 / 0, lambda _: None, lambda fields: fields.clear()])
    def test_bad_function(self, rule: Any) -> None:
        """Pitfall 35: a function that fails hides all fields: better nothing than what it wanted hidden."""
        made = with_redaction(rule)
        assert made is not None
        assert {"redact_failed"} == set(made({"secret": 1}))

    def test_nothing_to_hide(self) -> None:
        """Without a rule there is no function to call."""
        assert with_redaction(None) is None


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
