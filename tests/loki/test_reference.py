"""Queries for numbers and lines equal an evaluation by brute force over all records."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers.format.moment import micros
from tests.support.loki_server import COUNT, START, LokiServer

Record = dict[str, Any]
_US = 1_000_000
"""µs of a second."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a query, and its meaning."""

    text: str
    meets: Callable[[Record], bool] = field(repr=False)


class Records(list[Record]):
    """Records, shown by their number: an example that fails shows all it was given."""

    def __repr__(self) -> str:
        return f"{len(self)} records"


def _line(record: Record) -> str:
    return record["line"]


def _number(record: Record) -> int:
    return record["number"]


def _any(_: Record) -> bool:
    return True


def _none(_: Record) -> bool:
    return False


WITHOUT = (
    "level, logger, number, seq, pid, time, event, latency, size, status, status_code, request_path, "
    "request_user_agent, level_extracted, logger_extracted, subsystem_extracted"
)
SELECTORS = (
    Part('{subsystem="audit"}', lambda record: record["subsystem"] == "audit"),
    Part('{subsystem=~".+"}', _any),
    Part('{subsystem!="audit", level="error"}', lambda r: r["subsystem"] != "audit" and r["level"] == "error"),
    Part('{service_name=~"audit|wal"}', lambda record: record["subsystem"] in ("audit", "wal")),
    Part(
        '{level=~"warning|critical", subsystem=~"a.*"}',
        lambda r: r["level"] in ("warning", "critical") and r["subsystem"] == "audit",
    ),
    Part('{logger="app.web"}', lambda record: record["logger"] == "app.web"),
    Part('{logger=~"app\\\\..*", origin=""}', lambda record: record["logger"].startswith("app.")),
    Part('{logger!~"app.+"}', lambda record: not record["logger"].startswith("app.")),
    Part('{subsystem="none"}', _none),
)
FILTERS = (
    Part("", _any),
    Part(' |= "timeout"', lambda record: "timeout" in _line(record)),
    Part(
        ' != "timeout" |= "log" or "Antwort"',
        lambda r: "timeout" not in _line(r) and ("log" in _line(r) or "Antwort" in _line(r)),
    ),
    Part(' !~ "log(in|out)"', lambda r: "login" not in _line(r) and "logout" not in _line(r)),
    Part(" |~ `sp.te`", lambda record: "späte" in _line(record)),
)
STEPS = (
    Part("", _any),
    Part(" | json | number >= 40 and number < 60", lambda record: 40 <= _number(record) < 60),
    Part(' | json | event="login" or number < 45', lambda r: r["event"] == "login" or _number(r) < 45),
    Part(' | json | request_path=~"/api/[01]"', lambda r: r.get("request", {}).get("path") in ("/api/0", "/api/1")),
    Part(' | level != "info"', lambda record: record["level"] != "info"),
)
FUNCTIONS = ("count_over_time", "rate", "bytes_over_time", "bytes_rate")
GROUPINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sum by (level, logger) ({})", ("level", "logger")),
    ("sum({})", ()),
    (
        f"sum without ({WITHOUT}) ({{}})",
        ("service_name", "subsystem"),
    ),
    ("sum({}) by (subsystem)", ("subsystem",)),
)


@pytest.fixture(scope="module")
def records(loki: LokiServer) -> list[Record]:
    """Give all records, each with its time in µs and its line."""
    read = Records()
    for match in loki.dataset().matches():
        record = json.loads(match.json)
        record |= {"line": match.json.decode(), "at": micros(record["time"]), "service_name": match.subsystem}
        read.append(record)
    return read


QUERIES = st.tuples(*(st.sampled_from(choice) for choice in (SELECTORS, FILTERS, STEPS)))


def _expected(
    records: list[Record], function: str, names: tuple[str, ...], range_s: int, offset_s: int, at_s: int
) -> dict[tuple[tuple[str, str], ...], Fraction]:
    sums: dict[tuple[tuple[str, str], ...], Fraction] = defaultdict(Fraction)
    for record in records:
        if (at_s - offset_s - range_s) * _US < record["at"] <= (at_s - offset_s) * _US:
            amount = len(record["line"].encode()) if function.startswith("bytes") else 1
            key = tuple((name, record[name]) for name in sorted(names))
            sums[key] += Fraction(amount, range_s) if function.endswith("rate") else amount
    return sums


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberQuery:
    """A query for numbers over a range."""

    query: tuple[Part, ...]
    function: str
    grouping: tuple[str, tuple[str, ...]]
    range_s: int
    offset_s: int
    step_s: int
    start_s: int
    length_s: int


NUMBER_QUERIES = st.builds(
    NumberQuery,
    query=QUERIES,
    function=st.sampled_from(FUNCTIONS),
    grouping=st.sampled_from(GROUPINGS),
    range_s=st.sampled_from((1, 7, 30, 600)),
    offset_s=st.sampled_from((0, 5, -10)),
    step_s=st.sampled_from((1, 7, 60)),
    start_s=st.integers(START - 20, START + COUNT),
    length_s=st.integers(0, 120),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineQuery:
    """A query for lines."""

    query: tuple[Part, ...]
    start_us: int
    length_us: int
    limit: int
    direction: str


LINE_QUERIES = st.builds(
    LineQuery,
    query=QUERIES,
    start_us=st.integers(START * _US - 5 * _US, (START + COUNT) * _US),
    length_us=st.integers(0, 60 * _US),
    limit=st.integers(1, 40),
    direction=st.sampled_from(("forward", "backward")),
)


def _check_numbers(loki: LokiServer, records: list[Record], wanted: NumberQuery) -> None:
    query = "".join(part.text for part in wanted.query)
    range_s, offset_s, step_s, start_s = wanted.range_s, wanted.offset_s, wanted.step_s, wanted.start_s
    end_s, (grouping, names) = start_s + wanted.length_s, wanted.grouping
    offset = f" offset {offset_s}s" if offset_s else ""
    whole = grouping.replace("{}", f"{wanted.function}({query} [{range_s}s]{offset})")

    parameters = {"query": whole, "start": f"{start_s}", "end": f"{end_s}", "step": f"{step_s}"}
    answer = loki.get("query_range", parameters).data

    chosen = [record for record in records if all(part.meets(record) for part in wanted.query)]
    expected: dict[Any, list[list[Any]]] = defaultdict(list)
    for at_s in range(start_s - start_s % step_s, end_s + (-end_s) % step_s + 1, step_s):
        for key, value in _expected(chosen, wanted.function, names, range_s, offset_s, at_s).items():
            expected[key].append([at_s, pytest.approx(float(value), rel=1e-12)])
    assert "matrix" == answer["resultType"]
    got = {
        tuple(sorted(row["metric"].items())): [[at, float(value)] for at, value in row["values"]]
        for row in answer["result"]
    }
    assert expected == got


def _check_lines(loki: LokiServer, records: list[Record], wanted: LineQuery) -> None:
    query = "".join(part.text for part in wanted.query)
    start_us, end_us = wanted.start_us, wanted.start_us + wanted.length_us
    limit, direction = wanted.limit, wanted.direction
    parameters = {"query": query, "start": f"{start_us}000", "end": f"{end_us}000", "limit": f"{limit}"}
    result = loki.get("query_range", {**parameters, "direction": direction}).result

    chosen = [
        (f"{record['at']}000", record["line"])
        for record in records
        if all(part.meets(record) for part in wanted.query) and start_us <= record["at"] < end_us
    ]
    chosen.sort(reverse=direction == "backward")
    got = sorted((tuple(value) for stream in result for value in stream["values"]), reverse=direction == "backward")
    assert chosen[:limit] == got or sorted(at for at, _ in chosen[:limit]) == sorted(at for at, _ in got)
    for stream in result:
        times = [int(value[0]) for value in stream["values"]]
        assert times == sorted(times, reverse=direction == "backward")


_FEW = settings(max_examples=40, deadline=None)
_MANY = settings(max_examples=3_000, deadline=None)


@pytest.mark.slow
@_FEW
@given(wanted=NUMBER_QUERIES)
def test_numbers_equal_a_count_of_all_records(loki, records, wanted):
    """At each step, each series has the count, rate or bytes of the records with t - range < time <= t."""
    _check_numbers(loki, records, wanted)


@_FEW
@given(wanted=LINE_QUERIES)
def test_lines_equal_a_search_of_all_records(loki, records, wanted):
    """A query for lines gives those with start <= time < end, in the order that was asked for, at most `limit`."""
    _check_lines(loki, records, wanted)


@pytest.mark.soak
@_MANY
@given(numbers=NUMBER_QUERIES, lines=LINE_QUERIES)
def test_many_queries_equal_brute_force(loki, records, numbers, lines):
    """Thousands of queries equal the evaluation by brute force."""
    _check_numbers(loki, records, numbers)
    _check_lines(loki, records, lines)
