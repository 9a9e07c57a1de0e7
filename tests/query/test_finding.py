"""One record, one batch and the logs are found in a home, in a CAR file and at a CID."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers import ConfigurationError, FormatError, open_dataset, open_home
from tests.support import sample_homes


@pytest.fixture
def sealed(home: Path) -> Path:
    """Make a home with two batches of `audit` and one of `wal`."""
    sample_homes.make(home, 12)
    sample_homes.make(home, 20)
    sample_homes.make(home, 3, "wal")
    return home


def test_the_logs_of_a_home_and_of_its_copy_are_described_alike(sealed: Path, tmp_path: Path) -> None:
    """Batches, records, times and the newest manifest are those that the home lists."""
    batches = list(open_home(sealed).batches())
    copy = tmp_path / "copy.car"
    open_home(sealed).export_car(copy)
    for source in (sealed, copy):
        with open_dataset(source) as dataset:
            logs = dataset.logs()
        assert ["audit", "wal"] == [log.subsystem for log in logs]
        for log in logs:
            own = [batch for batch in batches if batch.subsystem == log.subsystem]
            assert (len(own), sum(batch.records for batch in own), 0) == (log.batches, log.records, log.waiting)
            assert (own[-1].cid, own[-1].sealed) == (log.head, log.sealed)
            assert (min(batch.first for batch in own), max(batch.last for batch in own)) == (log.first, log.last)
        assert ["wal"] == [log.subsystem for log in dataset.filter(subsystem="wal").logs()]


def test_a_batch_and_a_record_are_found_by_cid(sealed: Path) -> None:
    """By the manifest and, in a home, by the payload; a number that the batch does not have finds nothing."""
    home = open_home(sealed)
    info = next(iter(home.batches()))
    with open_dataset(sealed) as dataset:
        for cid in (info.cid, info.payload):
            batch = dataset.batch_with_cid(cid)
            match = dataset.record_at(cid, 2)
            assert batch is not None
            assert match is not None
            assert (info.cid, info.index, info.records) == (batch.cid, batch.index, batch.records)
            assert home.record_at(cid, 2) == (match.subsystem, match.line)
            assert dataset.prove(match)
        assert dataset.record_at(info.cid, info.records) is None
        assert dataset.batch_with_cid("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy") is None
        with pytest.raises(ConfigurationError):
            dataset.record_at(info.cid, -1)
        with pytest.raises(FormatError):
            dataset.batch_with_cid("no CID")


def test_records_are_found_by_their_sequence_number(sealed: Path) -> None:
    """One for each process that has counted so far."""
    with open_dataset(sealed) as dataset:
        [match] = dataset.records_with_seq("wal", 2)
        assert 2 == match.record["seq"]
        assert (match,) == dataset.records_with_seq("wal", 2, pid=match.record["pid"])
        assert () == dataset.records_with_seq("wal", 2, pid=1)
        with pytest.raises(ConfigurationError):
            dataset.records_with_seq("nothing", 2)


def test_a_reading_ends_where_its_check_says_so(sealed: Path) -> None:
    """The function is called before a batch is read, by iteration, by a count, and to find one record."""
    with open_dataset(sealed) as dataset:

        def stop() -> None:
            raise TimeoutError

        for read in (
            lambda: list(dataset.stopped_by(stop)),
            lambda: dataset.stopped_by(stop).filter(where={"number": 3}).count(),
            lambda: dataset.stopped_by(stop).records_with_seq("audit", 3),
            lambda: dataset.stopped_by(stop).record_at(sample_homes.head_of(sealed), 0),
        ):
            with pytest.raises(TimeoutError):
                read()


def test_a_follower_ends_in_a_backlog_and_goes_on_from_there(sealed: Path) -> None:
    """The function is called after a record that does not pass; the next call misses no record."""
    stops = iter([True, True, *[False] * 1000])

    def stop() -> None:
        if next(stops):
            raise TimeoutError

    with open_dataset(sealed) as dataset:
        chosen = dataset.filter(subsystem="audit", where={"number": {">=": 11}})
        start = '[{"audit": "{\\"log\\":\\"\\",\\"index\\":0,\\"offset\\":0,\\"seqs\\":{}}"}]'
        following = chosen.stopped_by(stop).follow(start)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                following.poll()
        assert [11, *range(11, 20)] == [match.record["number"] for match in following.poll()]
