"""Whatever a record says, it is JSON text, of bounded size in a list, and whole where one record is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import sample_homes
from tests.support.serving import Running, serving, sources_of

TEXTS = {
    "script": "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "ansi": "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "bidi": "\u202eevil\u2066\u200f",
    "lines": "data: x\n\nevent: end\ndata: {}\r\n\r\n\u2028\u2029",
    "nul": "a\x00b",
    "half": "\ud800 half of a pair",
    "long": "m" * 1_000_000,
    "id": "~a~b~../../etc/passwd~%0d%0aSet-Cookie: x",
}


def _deep(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = [value]
    return value


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home with one record of each kind, in the spool and sealed."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    for seal in (True, False):
        with sample_homes.Writing(home) as writing:
            for number, (kind, text) in enumerate(TEXTS.items()):
                fields = {kind: text, f"k{text[:40]}": text[:50], "kind": kind}
                record = sample_homes.record(number, **fields)
                record.msg, record.args, record.name = text[:5000], (), text[:100]
                writing.handler.handle(record)
            writing.handler.handle(sample_homes.record(100, kind="deep", deep=_deep(100), wide=list(range(20_000))))
            writing.handler.handle(sample_homes.record(101, kind="many", **{f"f{n}": "v" * 100 for n in range(1000)}))
        if seal:
            sample_homes.seal(home)
    return home


@pytest.fixture(scope="module")
def running(hostile: Path) -> Iterator[Running]:
    """Serve it."""
    with serving(sources_of(hostile)) as server:
        yield server


def test_every_text_comes_back_as_it_was_logged(running):
    """One record by its id is whole, with every character, in the list it is short."""
    for kind, text in TEXTS.items():
        for item in running.json("/api/records", where=f"kind={kind}")["records"]:
            answer = running.get("/api/record", id=item["id"])
            record = answer.json["record"]
            assert text == record[kind] or (kind == "half" and "!" in record[kind])
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            assert (kind == "long") == item["shortened"]


def test_a_list_stays_small_whatever_its_records_have(running):
    """A megabyte, a thousand fields, long lists: the list cuts them and says so."""
    answer = running.get("/api/records", limit=500)
    items = answer.json["records"]

    assert 20 == len(items)
    assert len(answer.body) < 400_000
    assert {"long", "deep", "many"} == {item["record"]["kind"] for item in items if item["shortened"]}
    assert all(len(json.dumps(item)) < 40_000 for item in items)
    facets = running.get("/api/facets", field=["long", "deep", "logger", "event"])
    assert len(facets.body) < 400_000


def test_no_record_can_end_an_event_of_the_tail(hostile, running):
    """Line ends in a text are escaped: one event stays one event, and its data stays JSON."""
    with running.tail("[{}]") as tail:
        items = tail.until(lambda records: len(records) >= 20)

    assert {*TEXTS, "deep", "many"} == {item["record"]["kind"] for item in items}


def test_a_download_has_every_record_on_one_line(running):
    """JSON Lines has as many lines as records."""
    lines = running.get("/api/download").body.split(b"\n")

    assert 20 == len([json.loads(line) for line in lines if line])


def test_no_error_repeats_more_than_a_little_of_a_request(running):
    """What a client sends comes back as JSON text, and cut."""
    answer = running.get("/api/record", id="<script>" * 200)

    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert len(answer.body) < 3000
