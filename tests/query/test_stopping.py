"""A reading can be stopped between two batches; a filter can be asked about single records; a record has its batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import open_dataset, open_home
from tests.support import query_homes, sample_homes


@pytest.fixture(scope="module")
def queried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with several subsystems, sealed and not sealed."""
    home = tmp_path_factory.mktemp("queried") / "home"
    query_homes.make(home)
    return home


class Stopped(Exception):  # noqa: N818
    """What a check raises."""


@pytest.mark.parametrize(
    "read",
    [
        list,
        lambda dataset: list(dataset.matches()),
        lambda dataset: list(dataset.context(1)),
        lambda dataset: list(dataset.reverse()),
        lambda dataset: dataset.filter(contains="timeout").count(),
        lambda dataset: dataset.histogram("1m", by="event"),
        lambda dataset: dataset.top("event"),
        lambda dataset: dataset.follow(last=1000),
    ],
)
def test_an_error_of_the_check_ends_each_kind_of_reading(queried, read):
    """The check is called before each batch that is read; what it raises comes out, and no later batch is read."""
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Stopped

    with open_dataset(queried) as dataset, pytest.raises(Stopped):
        read(dataset.stopped_by(check))
    assert len(calls) == 3


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"level": "error"},
        {"subsystem": ["audit", "wal"]},
        {"contains": "timeout"},
        {"where": ["status>=500"], "logger": "db"},
        {"since": "2026-02-25T06:13:50Z", "until": "2026-02-25T06:14:10Z"},
    ],
)
def test_a_predicate_takes_what_the_filter_yields(queried, chosen: dict[str, Any]):
    """Asked record by record, it gives the same records as the dataset itself."""
    with open_dataset(queried) as dataset:
        takes = dataset.filter(**chosen).predicate()
        taken = [match.json for match in dataset.matches() if takes(match)]
        expected = [match.json for match in dataset.filter(**chosen).matches()]

    assert expected
    assert expected == taken


def test_a_record_is_in_its_batch(queried):
    """A sealed record has the batch that `ls` lists; one in the spool has none."""
    batches = {(batch.log, batch.index): batch for batch in open_home(queried).batches()}
    with open_dataset(queried) as dataset:
        found = [(match, dataset.batch_of(match)) for match in dataset.matches()]

    sealed = [(match, batch) for match, batch in found if batch is not None]
    assert len(found) - len(sealed) == sum(
        status["durable"] - status["sealed"] for status in sample_homes.status(queried)
    )
    for match, batch in sealed:
        listed = batches[match.log, match.batch]
        assert (listed.cid, listed.payload, listed.records) == (batch.cid, batch.payload, batch.records)
        assert listed.sealed == batch.as_json()["sealed"]
