"""What questions about labels, streams and volumes may cost."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.loki import Limits, streams
from ipfs_log_handlers.loki.limits import Deadline
from ipfs_log_handlers.loki.streams import Streams
from tests.support.loki_server import COUNT, START, LokiServer

SPAN = {"start": f"{START - 30}", "end": f"{START + 200}"}


@pytest.mark.parametrize("path", ["labels", "detected_labels", "label/level/values", "series"])
def test_records_are_read_once_and_there_is_one_deadline(loki: LokiServer, monkeypatch: pytest.MonkeyPatch, path: str):
    """All labels come from one reading; a series has one reading for each selector, and no more time for it."""
    readings: list[Any] = []
    deadlines: list[Any] = []
    matches, begin = Dataset.matches, Deadline.__init__

    def counted(dataset: Dataset, *args: Any) -> Any:
        readings.append(dataset)
        return matches(dataset, *args)

    def begun(deadline: Deadline, *args: Any) -> None:
        deadlines.append(deadline)
        begin(deadline, *args)

    monkeypatch.setattr(Dataset, "matches", counted)
    monkeypatch.setattr(Deadline, "__init__", begun)
    selectors = ['{level="error"}', '{level="info"}']
    parameters: dict[str, Any] = {**SPAN, "query": selectors[0], "match[]": selectors}

    assert loki.get(path, parameters).json
    assert (2 if path == "series" else 1, 1) == (len(readings), len(deadlines))


@pytest.mark.parametrize("path", ["labels", "label/level/values"])
def test_the_deadline_also_ends_what_the_index_answers(loki_home: Path, path: str):
    """Batches at the ends of the span and the spool are read for that."""
    with LokiServer(loki_home, Limits(max_seconds=0.0)) as server:
        late = server.get(path, SPAN)
    assert 504 == late.status
    assert "the query took longer than 0 s" in late.text


class _Labels(dict[str, str]):
    """Labels of a stream that can be referred to weakly."""


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("series", {"match[]": '{level=~".+"}'}),
        ("labels", {"query": '{level=~".+"}'}),
        ("query_range", {"query": 'sum(rate({subsystem=~".+"}[1m]))', "step": "60"}),
    ],
)
def test_streams_beyond_those_that_are_remembered_take_no_memory(
    loki: LokiServer, monkeypatch: pytest.MonkeyPatch, path: str, parameters: dict[str, str]
):
    """Each line of such a stream has labels of its own, which are gone when the next lines are read."""
    alive: weakref.WeakValueDictionary[int, _Labels] = weakref.WeakValueDictionary()
    most = 0
    made = 0
    real = Streams._stream_of

    def stream_of(read: Streams, *args: Any) -> Any:
        nonlocal most, made
        labels = _Labels(real(read, *args) or {})
        made += 1
        alive[made] = labels
        most = max(most, len(alive))
        return labels

    monkeypatch.setattr(Streams, "_stream_of", stream_of)
    monkeypatch.setattr(streams, "_MAX_KNOWN", 0)

    assert loki.get(path, {**SPAN, **parameters}).json
    assert made >= COUNT
    assert most < 10


VOLUME = {**SPAN, "query": '{subsystem=~".+"}', "targetLabels": "level,logger", "step": "1"}


@pytest.mark.parametrize("limits", [Limits(max_inner_series=4), Limits(max_inner_points=1_000)])
def test_volumes_have_the_bound_on_series_of_a_query(loki_home: Path, limits: Limits):
    """Series are counted before there is a number for each step of one more, however few are asked for."""
    with LokiServer(loki_home, limits) as server:
        assert (
            "series at 231 moments inside; aggregate"
            in server.get("index/volume_range", {**VOLUME, "limit": "2"}).refusal
        )


@pytest.mark.parametrize("path", ["index/volume", "index/volume_range"])
def test_volumes_say_how_much_was_read(loki: LokiServer, path: str):
    """The statistics count records and bytes of the reading."""
    data = loki.get(path, {**VOLUME, "query": '{subsystem="audit"}'}).data
    summary = data["stats"]["summary"]
    assert COUNT == summary["totalLinesProcessed"]
    assert summary["totalBytesProcessed"] > 0
    assert len(data["result"]) == summary["totalEntriesReturned"]
