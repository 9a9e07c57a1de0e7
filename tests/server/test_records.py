"""`/api/records`, `/api/record` and `/api/related`: every record once, newest first, whatever the keeper does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import open_dataset
from tests.support import query_homes, sample_homes
from tests.support.serving import serving, sources_of


def _shown(pages: Any) -> list[dict[str, Any]]:
    return [item["record"] for page in pages for item in page["records"]]


def _plain(records: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(record, sort_keys=True) for record in records)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 7, 500])
def test_the_pages_have_every_record_once_and_the_newest_first(server, queried, limit):
    """All pages together have what a reader of the files finds, in the opposite order of time."""
    shown = _shown(server.pages(limit))

    assert _plain(query_homes.records_of(queried)) == _plain(shown)
    times = [record["time"] for record in shown]
    assert sorted(times, reverse=True) == times


FILTERS: list[dict[str, Any]] = [
    {"level": "error"},
    {"subsystem": ["audit", "wal"], "logger": ["db", "app.*"]},
    {"logger": "!db", "event": "login"},
    {"where": ["status>=500", "user_id=mira"]},
    {"contains": "timeout"},
    {"since": "2026-02-25T06:13:50Z", "until": "2026-02-25T06:14:10Z"},
]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", FILTERS)
def test_a_filter_shows_what_the_dataset_yields(server, queried, chosen):
    """Each parameter of the filter means what it means in Python."""
    with open_dataset(queried) as dataset:
        expected = list(dataset.filter(**chosen))

    assert expected
    assert _plain(expected) == _plain(_shown(server.pages(9, **chosen)))


def test_records_of_one_moment_stay_together(home):
    """A frozen clock gives many records one time; no page ends between them, and none is lost or shown twice."""
    with sample_homes.Writing(home) as writing:
        for number in range(40):
            record = sample_homes.record(number)
            record.created = 1_772_000_000.0 + number // 10
            writing.handler.handle(record)
    with serving(sources_of(home)) as server:
        pages = list(server.pages(3))

    assert [10, 10, 10, 10] == [len(page["records"]) for page in pages]
    assert set(range(40)) == {record["number"] for record in _shown(pages)}


def test_more_records_of_one_moment_than_a_page_can_have_are_counted(home, monkeypatch):
    """If even these are too many, the cursor counts them."""
    monkeypatch.setattr("ipfs_log_handlers.server.records._MAX_OF_ONE_MOMENT", 4)
    with sample_homes.Writing(home) as writing:
        for number in range(30):
            record = sample_homes.record(number)
            record.created = 1_772_000_000.0
            writing.handler.handle(record)
    with serving(sources_of(home)) as server:
        shown = _shown(server.pages(3))

    assert list(range(30)) == sorted(record["number"] for record in shown)


def test_a_cursor_goes_on_across_new_records_and_sealing(home):
    """Records that come, and a keeper that seals, between two pages neither hide nor repeat a record."""
    sample_homes.log(home, range(50))
    numbers = iter(range(50, 1000))

    def meanwhile() -> None:
        number = next(numbers)
        sample_homes.log(home, range(number, number + 1))
        sample_homes.seal(home)

    with serving(sources_of(home)) as server:
        items = [item for page in server.pages(8, meanwhile) for item in page["records"]]

    assert list(range(49, -1, -1)) == [item["record"]["number"] for item in items]
    assert {"spool", "sealed"} == {item["state"] for item in items}


def test_a_record_is_found_by_its_id_before_and_after_it_is_sealed(home):
    """The id stays; state, batch and number are those of the moment."""
    sample_homes.log(home, range(25))
    with serving(sources_of(home)) as server:
        name = server.json("/api/records", limit=1, where="number=13")["records"][0]["id"]
        waiting = server.json("/api/record", id=name)
        sample_homes.seal(home)
        sealed = server.json("/api/record", id=name)

    assert ("spool", None, None, None) == tuple(waiting[key] for key in ("state", "batch", "number", "manifest"))
    assert ("sealed", 1, 3) == tuple(sealed[key] for key in ("state", "batch", "number"))
    assert waiting["record"] == sealed["record"]
    assert json.loads(sealed["json"])["number"] == 13
    assert (1, 10) == (sealed["manifest"]["index"], sealed["manifest"]["records"])


def test_neighbours_are_those_of_the_same_process_and_trace(home):
    """Around a record stand those that its process logged, in all subsystems; a trace id joins processes."""
    with sample_homes.Writing(home) as audit, sample_homes.Writing(home, "wal") as wal:
        for number in range(20):
            record = sample_homes.record(number, trace_id=f"t{number % 3}")
            record.created = 1_772_000_000.0 + number
            (wal if number % 2 else audit).handler.handle(record)
    with serving(sources_of(home)) as server:
        name = server.json("/api/records", limit=1, where="number=9")["records"][0]["id"]
        detail = server.json("/api/record", id=name)
        around = server.json("/api/related", id=name, by="process", limit=2)
        trace = server.json("/api/related", id=name, by="trace_id")
        few = server.json("/api/related", id=name, by="trace_id", limit=2)
        refused = server.get("/api/related", id=name, by="user")

    assert ["process", "trace_id"] == [related["by"] for related in detail["related"]]
    assert [7, 8, 9, 10, 11] == [item["record"]["number"] for item in around["records"]]
    assert [0, 3, 6, 9, 12, 15, 18] == [item["record"]["number"] for item in trace["records"]]
    assert ([0, 3], True) == ([item["record"]["number"] for item in few["records"]], few["more"])
    assert (400, "by") == (refused.status, refused.json["error"]["where"])


@pytest.mark.parametrize(
    ("path", "parameters", "status", "where"),
    [
        ("/api/records", {"limit": 0}, 400, "limit"),
        ("/api/records", {"limit": 501}, 400, "limit"),
        ("/api/records", {"limit": "1e9"}, 400, "limit"),
        ("/api/records", {"colour": "red"}, 400, "colour"),
        ("/api/records", {"level": "loud"}, 400, "level"),
        ("/api/records", {"since": "whenever"}, 400, None),
        ("/api/records", {"since": ["1h", "2h"]}, 400, "since"),
        ("/api/records", {"cursor": "../../etc/passwd"}, 400, "cursor"),
        ("/api/records", {"subsystem": "nope"}, 400, None),
        ("/api/records", {"where": "path~^/a"}, 400, "where"),
        ("/api/records", {"where": "nonsense"}, 400, "where"),
        ("/api/records", {"contains": ["a"] * 51}, 400, "contains"),
        ("/api/records", {"contains": "a" * 2001}, 400, "contains"),
        ("/api/record", {}, 400, "id"),
        ("/api/record", {"id": "audit/1"}, 400, "id"),
        ("/api/record", {"id": "audit~2026-02-25T06:13:50.000000Z~1~1"}, 404, "id"),
        ("/api/record", {"id": "../x~2026-02-25T06:13:50.000000Z~1~1"}, 404, "id"),
    ],
)
def test_a_wrong_parameter_is_named(server, path, parameters, status, where):
    """What is wrong is an error in words, and names the parameter."""
    answer = server.get(path, **parameters)
    error = answer.json["error"]

    assert (status, status) == (answer.status, error["status"])
    assert where is None or where == error["where"]
    assert error["message"]


def test_a_damaged_batch_is_a_gap_and_the_rest_is_shown(home):
    """The records of other batches are shown, and the answer says which are not."""
    sample_homes.make(home, 30)
    sample_homes.damage(home, 1)
    with serving(sources_of(home)) as server:
        page = server.json("/api/records", limit=100)

    assert 20 == len(page["records"])
    assert [("damaged", 1)] == [(gap["kind"], gap["index"]) for gap in page["gaps"]]


def test_a_home_that_was_never_logged_to_has_no_record(home: Path):
    """An empty home has empty answers."""
    home.mkdir(mode=0o700)
    with serving(sources_of(home)) as server:
        assert [] == server.json("/api/records")["records"]
        assert 0 == server.json("/api/histogram")["total"]
        assert [] == server.json("/api/facets", field="level")["facets"][0]["values"]
        assert [] == server.json("/api/logs")["logs"]
