"""`/api/histogram` and `/api/facets` count what is there, from manifests or from records."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ipfs_log_handlers.api import open_dataset
from ipfs_log_handlers.server.work import TooLongError
from tests.support import query_homes, sample_homes
from tests.support.serving import serving, sources_of

FILTERS: list[dict[str, Any]] = [
    {},
    {"subsystem": "audit"},
    {"level": "warning"},
    {"contains": "timeout"},
    {"where": "user_id=mira"},
    {"since": "2026-02-25T06:13:50Z", "until": "2026-02-25T06:14:10Z"},
]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", FILTERS)
@pytest.mark.parametrize("buckets", [1, 10, 500])
def test_the_histogram_counts_each_record_once_by_level(server, queried, chosen, buckets):
    """The sums by level are those of the records, and no bucket is outside of the range."""
    with open_dataset(queried) as dataset:
        expected = Counter(record["level"] for record in dataset.filter(**chosen))
    answer = server.json("/api/histogram", buckets=buckets, **chosen)
    total: Counter[str] = Counter()
    for bucket in answer["buckets"]:
        total += Counter(bucket["counts"])
        assert sum(bucket["counts"].values()) == bucket["count"]

    assert expected == total
    assert (sum(expected.values()), True) == (answer["total"], answer["complete"])
    assert len(answer["buckets"]) <= buckets + 1
    assert all(bucket["time"] < answer["until"] for bucket in answer["buckets"])


def test_a_span_with_too_many_buckets_is_refused(server):
    """A span that is chosen gives at most 2000 buckets."""
    assert 5 == server.json("/api/histogram", span=5)["span"]
    assert 400 == server.get("/api/histogram", span="0.001").status
    assert 400 == server.get("/api/histogram", span="0").status
    assert 400 == server.get("/api/histogram", buckets=501).status


def test_a_count_that_takes_too_long_says_that_it_is_not_complete(server, monkeypatch):
    """The newest part is given, and `complete` is false; without any part, the answer is an error."""
    from ipfs_log_handlers.api import Dataset

    real, calls = Dataset.histogram, list[int]()

    def slow(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > most:
            raise TooLongError
        return real(self, *args, **options)

    monkeypatch.setattr(Dataset, "histogram", slow)
    most = 3
    partly = server.json("/api/histogram", level="debug", buckets=80)
    calls.clear()
    most = 0
    late = server.get("/api/histogram", level="debug", buckets=80)

    assert partly["complete"] is False
    assert 0 < partly["total"] < 150
    assert 504 == late.status


@pytest.mark.parametrize("chosen", FILTERS)
def test_facets_count_the_values_of_each_field(server, queried, chosen):
    """The counts are those of the records, whether manifests state them or not."""
    fields = ("level", "logger", "subsystem", "event", "user_id")
    with open_dataset(queried) as dataset:
        records = list(dataset.filter(**chosen))
    answer = server.json("/api/facets", field=fields, n=100, **chosen)

    assert list(fields) == [facet["field"] for facet in answer["facets"]]
    for facet in answer["facets"]:
        expected = Counter(record[facet["field"]] for record in records if facet["field"] in record)
        assert expected == {value["value"]: value["count"] for value in facet["values"]}
        counts = [value["count"] for value in facet["values"]]
        assert sorted(counts, reverse=True) == counts
        assert (True, False) == (facet["complete"], facet["more"])


def test_a_field_that_no_manifest_counts_is_counted_in_the_newest_records(server, monkeypatch):
    """The answer says how many records were looked at; level and logger are whole all the same."""
    monkeypatch.setattr("ipfs_log_handlers.server.counts._MAX_COUNTED", 20)
    level, event = server.json("/api/facets", field=["level", "event"])["facets"]

    assert (150, True) == (level["counted"], level["complete"])
    assert (20, False) == (event["counted"], event["complete"])
    assert 20 == sum(value["count"] for value in event["values"])


def test_values_of_any_type_are_counted(server, queried):
    """Lists and objects count as JSON text, true and false as words; nothing else is a fault."""
    (facet,) = server.json("/api/facets", field="status", n=100)["facets"]
    values = {str(value["value"]) for value in facet["values"]}

    assert {"true", "[500]", '{"code":500}', "4.5", "ok"} <= values
    (nested,) = server.json("/api/facets", field="request.path")["facets"]
    expected = Counter(record["request"]["path"] for record in query_homes.records_of(queried) if "request" in record)
    assert expected == {value["value"]: value["count"] for value in nested["values"]}
    assert 400 == server.get("/api/facets", field=["a"] * 11).status


def test_a_gap_that_is_met_twice_is_listed_once(home):
    """The facets read the newest batch for the origin and for the events; what it lacks is one gap."""
    sample_homes.make(home, 30)
    sample_homes.damage(home, 2)
    with serving(sources_of(home)) as server:
        gaps = server.json("/api/facets")["gaps"]

    assert [("damaged", 2)] == [(gap["kind"], gap["index"]) for gap in gaps]
