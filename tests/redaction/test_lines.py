"""Secrets are hidden in the stored lines of records, and a line without one stays the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_log_handlers.config.redact import parse_redact
from ipfs_log_handlers.redaction.lines import LineRedaction
from tests.support.realistic_lines import TEMPLATES

ALL = ("*password*", "x-token", "api?key", "@credit_card", "@iban", "@email", "@jwt", "@aws_key", "@bearer_token")


def redaction(*rules: str) -> LineRedaction:
    """Return the redaction of some rules."""
    parsed = parse_redact(list(rules or ALL))
    assert isinstance(parsed, tuple)
    return LineRedaction(parsed)


def line_of(**members: Any) -> bytes:
    """Return the line of a record."""
    return json.dumps({"time": "2026-03-02T10:00:00.000000Z", **members, "seq": 1}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "members",
    [
        {"password": "hunter2"},
        {"request": {"headers": [["X-Token", "hunter2"]]}},
        {"environ": {"HTTP_X_TOKEN": "hunter2"}},
        {"event": "called with api_key=hunter2 and more"},
        {"note": "first\nmira.hunter2@example.org"},
        {"url": "https://example.org/?p%61ssword=hunter2"},
        {"body": '{"Password": "hunter2"}'},
        {"exception": "Traceback\n  headers: Authorization: Bearer hunter2"},
    ],
    ids=lambda members: next(iter(members)),
)
def test_a_secret_is_hidden_wherever_it_stands(members: dict[str, Any]) -> None:
    """The time and the number stay, the secret does not, alone and among other lines."""
    line, plain = line_of(**members), line_of(event="nothing")
    hidden = redaction().in_line(line)

    assert b"hunter2" in line
    assert b"hunter2" not in hidden
    assert {"time", "seq", *members} == set(json.loads(hidden))
    assert hidden.startswith(line[:38])
    assert plain + b"\n" + hidden + b"\n" == redaction().in_text(plain + b"\n" + line + b"\n")


def test_a_card_after_a_line_break_and_a_card_as_a_number_are_found() -> None:
    """JSON writes a line break as two characters, of which the second one is a letter."""
    for value in ("paid with\n4111 1111 1111 1111", 4111111111111111):
        assert b"[redacted]" in redaction("@credit_card").in_line(line_of(note=value))


def test_ordinary_lines_stay_the_same_object() -> None:
    """What has no secret is not decoded and not copied."""
    text = b"".join(line_of(event=template, number=5) + b"\n" for template in TEMPLATES if "%" not in template)

    assert redaction("pass_phrase", "@jwt", "@aws_key").in_text(text) is text


def test_a_line_that_is_no_json_is_searched_as_text() -> None:
    """Half a surrogate, invalid UTF-8 and broken JSON raise nothing, and keep no secret."""
    for line in (
        b'{"password":"hunter2"', b'{"time":"\xff\xfe","password":"hunter2"}', b'{"a":"\\ud800","password":"hunter2"}',
        b'["password","hunter2"]', b"password=hunter2",
    ):  # fmt: skip
        assert b"hunter2" not in redaction().in_line(line), line


def test_a_pattern_without_a_word_looks_at_each_line() -> None:
    """Such a pattern may fit any name, so nothing is left out."""
    assert b"hunter2" not in redaction("?ass*d").in_line(line_of(passed="hunter2"))
    assert b"hunter2" not in redaction("*").in_line(line_of(a="hunter2"))
    assert b"hunter2" not in redaction("[*]key[]*]").in_line(line_of(**{"*key]": "hunter2"}))
    assert b"hunter2" not in redaction("api[_-]k?y").in_line(line_of(**{"API-KÄY": "hunter2"}))


def test_a_word_of_a_pattern_alone_makes_no_line_slow() -> None:
    """`/api/` in a path is no part of `*api?key*`, so the line is not decoded."""
    text = line_of(path="/api/v1") + b"\n"
    assert redaction("*api?key*").in_text(text) is text


def test_a_dotted_path_to_a_hidden_member_is_hidden() -> None:
    """A condition on a member of a hidden object is one on a hidden value."""
    assert redaction("user").hides_name("user.name")
    assert redaction("password").hides_name("user.Password")
    assert not redaction("password").hides_name("user.name")
