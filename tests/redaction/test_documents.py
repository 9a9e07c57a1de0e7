"""In a message that is a JSON document, only the values that are named change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.logging_home import durable, logging_to
from tests.support.redacting import apply, on_disk


class TestJsonMessages:
    @pytest.mark.parametrize(
        "text",
        [
            '{"city":"Zürich","price":1.10}',
            '{ "far" : 1e400, "exact": 12345678901234567890.10 }',
            '{"escaped": "\\u00fc\\/", "twice": 1, "twice": 2}',
            '{"list": ["passwords", 1], "text": "the password is long"}',
        ],
    )
    def test_a_json_message_without_a_name_stays_as_it_is(self, home: Path, text: str) -> None:
        """Numbers keep their digits, texts their escapes, beside names and beside a function that changes nothing."""
        for number, rule in enumerate((["password"], lambda record: record)):
            with logging_to(home / str(number), redact=rule) as logger:
                logger.info(text)
            assert text == durable(home / str(number))[0]["event"]

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ('{"password" : "hush","price":1.10}', '{"password" : "[redacted]","price":1.10}'),
            ('{"a": [1e400, {"password": {"old": 1}}]}', '{"a": [1e400, {"password": "[redacted]"}]}'),
            ('{"a": [["password", "hush"], ["host", 1.0]]}', '{"a": [["password", "[redacted]"], ["host", 1.0]]}'),
            ('[{"value": "hush", "name": "password"}, 1.0]', '[{"value": "[redacted]", "name": "password"}, 1.0]'),
            ('{"a": "{\\"password\\": \\"hush\\"}"}', '{"a": "{\\"password\\": \\"[redacted]\\"}"}'),
        ],
        ids=range(5),
    )  # fmt: skip
    def test_only_the_hidden_value_of_a_json_message_changes(self, text: str, shown: str) -> None:
        """Everything around a hidden value stays character for character, and the message stays JSON."""
        assert shown == apply(("password",), text)[0]
        assert json.loads(shown)

    def test_a_function_that_changes_a_json_message_changes_its_text(self, home: Path) -> None:
        """What a function hides in a JSON message does not stay in the text of it."""

        def rule(record: dict[str, Any]) -> dict[str, Any]:
            record["deep"]["password"] = "gone"
            return record

        with logging_to(home, redact=rule) as logger:
            logger.info('{"deep": {"password": "hush"}, "n": 1}')
        assert b"hush" not in on_disk(home)
        assert {"deep": {"password": "gone"}, "n": 1} == json.loads(durable(home)[0]["event"])
