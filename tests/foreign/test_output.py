"""Records that another writer signed reach a terminal as text and a program as JSON Lines, whatever their bytes are."""

from __future__ import annotations

import json

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.format.merkle import RecordTree
from tests.support.cli import run
from tests.support.hostile_homes import signed_batch

LINES = [
    b'{"time":"2026-01-01T00:00:00.000000Z","level":"info","logger":"l","event":"whole","pid":1,"seq":1}',
    b'{"event":"\x9b2J\x9b31m"}',
    b'{"event":"\x1b[2J"}',
    b'{"event":"\xc2\x9b2J \xe2\x80\xae"}',
    b'{"\x1b]0;title\x07":1}',
    b"{no json: \x1b[2J}",
    b'{"n":NaN}',
    b'{"lone":"\\ud800"}',
    b"{}",
    b"[1,2]",
    b"5",
    b"",
    b'{"deep":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b'{"subsystem":"another","event":"\x7f"}',
]
ACTIVE = {*range(0x20), 0x7F, *range(0x80, 0xA0), 0x202E} - {0x0A}
"""Characters that a terminal obeys, but the end of a line."""


@pytest.fixture
def prepared(home):
    """Make a home with one sealed batch of such records."""
    tree = RecordTree(bytes(32))
    tree.add(LINES)
    raw = b"".join(line + b"\n" for line in LINES)
    signed_batch(home, [raw], records=len(LINES), raw=len(raw), root=tree.root())
    return home


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_control_character_of_a_record_is_printed(prepared, form):
    """Whatever a line holds, it is shown and not obeyed."""
    ended = run("cat", "-o", form, home=prepared)

    assert 0 == ended.code
    assert set() == ACTIVE & set(map(ord, ended.out))


def test_each_line_of_json_output_is_json(prepared):
    """A line that is no JSON object becomes a marked one; one that Python cannot read is printed as it is."""
    printed = run("cat", "-o", "json", home=prepared).out.splitlines()

    assert len(LINES) == len(printed)
    objects = [json.loads(line) for line in printed if "deep" not in line]
    assert {"audit"} == {found["subsystem"] for found in objects}
    assert ["not JSON"] * 7 == [found["!"] for found in objects if "!" in found]
    assert "'{no json: \\x1b[2J}'" == objects[5]["repr"]


def test_reading_in_a_program_raises_for_no_record(prepared):
    """The same through `open_home`: a line that Python cannot read is marked, and the records after it come."""
    with open_home(prepared).dataset() as dataset:
        found = list(dataset.records("audit"))

    assert len(LINES) == len(found)
    assert {"!": "not JSON", "repr": "'5'", "subsystem": "audit"} in found
    assert ["too deep or too long for Python"] == [
        record["!"] for record in found if "not" not in record.get("!", "not")
    ]
