"""Sizes, spans and control characters as they are printed."""

from __future__ import annotations

import json

import pytest

from ipfs_log_handlers.cli import output
from ipfs_log_handlers.cli.output import age, cell_width, neutral, safe_json, size

NASTY = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eoverride\nnext\x7f\u2028 "


def test_sizes_spans_and_control_characters_are_shown_for_people():
    """Sizes and spans have the unit that fits; control characters are shown."""
    assert [size(number) for number in (0, 1023, 1536, 200 << 10, 5 << 30, 3 << 40)] == [
        "0 B", "1023 B", "1.5 KiB", "200 KiB", "5.0 GiB", "3.0 TiB",
    ]  # fmt: skip
    assert [age(seconds) for seconds in (None, 3, 600, 7200, 500_000)] == ["-", "3 s", "10 min", "2 h", "6 d"]
    assert neutral("a\x1b\tb\u202e") == "a\\x1b\\tb\\u202e"
    line = json.dumps({"a": NASTY}, ensure_ascii=False).encode()
    assert json.loads(safe_json(line)) == {"a": NASTY}


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("abc", 3),
        ("é", 1),
        ("e\u0301", 1),
        ("日本", 4),
        ("ＡＢ", 4),
        ("हिन्दी", 5),
        ("a\u200bb\u200d", 2),
        ("\N{PILE OF POO}", 2),
    ],
)
def test_the_width_of_a_text_is_what_a_terminal_shows(text, cells):
    """Wide characters take two cells; marks on others and joiners take none."""
    assert cell_width(text) == cells


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("one two  three four", ["one two", "    three", "    four"]),
        ("  indented words go on", ["  indented", "      words", "      go", "      on"]),
        ("日本語の文章です", ["日本語の文", "    章です"]),
        ("a日本語の文章です", ["a日本語の", "    文章で", "    す"]),
        ("x 日本 語の文章", ["x 日本 語", "    の文章"]),
        ("see bafybeiaverylongcid now", ["see", "    bafybeiaverylongcid", "    now"]),
        ("in /家/のログ/長い名前 now", ["in", "    /家/のログ/長い名前", "    now"]),
    ],
)
def test_a_line_is_broken_between_words_and_beside_wide_characters(text, lines):
    """On a terminal of ten columns no line is wider, but for a word that cannot be broken, and for a path."""
    assert output._fitted(text, 10, 4).split("\n") == lines
    assert output._fitted(text, None, 4) == text
