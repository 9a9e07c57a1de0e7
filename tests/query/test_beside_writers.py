"""Random filters over a home in which a writer logs and a keeper seals and indexes, read there and from elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.format.cid import Cid
from tests.query.test_dataset import conditions, place
from tests.support import gateways, indexed_homes, query_homes, sample_homes

ROUNDS = 50
"""How often the writer logs some records; after that, the home stays as it is."""


class BusyHome:
    """A home, and two threads that work on it until `stop` is set."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.durable: set[tuple[str, int]] = set()
        """Subsystem and number of each record whose call has returned."""
        self.blocks: dict[Cid, bytes] = {}
        """The blocks that a gateway serves."""
        self.published = ("", 0)
        """A head of `audit` whose blocks are served, and the number of records up to it."""
        self.stop = threading.Event()
        self._log(0)
        self._seal()
        self.threads = [threading.Thread(target=target) for target in (self._write, self._keep)]

    def _log(self, turn: int) -> None:
        for subsystem, numbers in (("audit", range(turn * 5, turn * 5 + 5)), ("wal", range(turn * 2, turn * 2 + 2))):
            query_homes.log_some(self.home, subsystem, numbers)
            self.durable |= {(subsystem, number) for number in numbers}

    def _seal(self) -> None:
        sample_homes.seal(self.home)
        for subsystem in ("audit", "wal"):
            indexed_homes.index(sample_homes.subsystem_dir(self.home, subsystem))
        batches = sample_homes.batches_of(self.home)
        newest = max(batches.indexes())
        records = sum(batches.facts(index).manifest.records for index in range(newest + 1))
        self.blocks.update(gateways.blocks_of(self.home))
        self.published = sample_homes.head_of(self.home, newest), records

    def _write(self) -> None:
        for turn in range(1, ROUNDS):
            self._log(turn)
            if self.stop.wait(0.05):
                return

    def _keep(self) -> None:
        while not self.stop.wait(0.1):
            self._seal()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BusyHome, gateways.Served]]:
    """Give a home at work, with pages of four batches, and a gateway that has what is sealed."""
    with pytest.MonkeyPatch.context() as patch:
        indexed_homes.small_pages(patch, 4)
        home = BusyHome(tmp_path_factory.mktemp("busy") / "home")
        with gateways.gateway(home.blocks) as served:
            for thread in home.threads:
                thread.start()
            try:
                yield home, served
            finally:
                home.stop.set()
                for thread in home.threads:
                    thread.join()


def narrowed(dataset: Dataset, chosen: Any) -> Dataset:
    """Apply the filters."""
    for keywords, _ in chosen:
        dataset = dataset.filter(**keywords)
    return dataset


def check(dataset: Dataset, chosen: Any, home: BusyHome) -> None:
    """Ask while the home is at work: every record that was durable before is found, once, and no other one."""
    before = frozenset(home.durable)
    found = [place(record) for record in narrowed(dataset, chosen)]
    every = [record for record in query_homes.records_of(home.home) if all(passes(record) for _, passes in chosen)]
    least = {place(record) for record in every if (record["subsystem"], record["number"]) in before}
    assert len(set(found)) == len(found)
    assert least <= set(found) <= {place(record) for record in every}
    assert [time for _, time, _ in found] == sorted(time for _, time, _ in found)


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(chosen=st.lists(conditions.filter(lambda both: both[0].get("subsystem") != "logs"), max_size=3))
def test_random_filters_equal_brute_force_while_a_writer_and_a_keeper_work(busy, chosen):
    """With the index, without it, and from the newest head that a gateway has."""
    home, served = busy
    check(open_dataset(home.home), chosen, home)
    check(open_dataset(home.home, keys=[sample_homes.key_of(home.home)]), chosen, home)
    if any("subsystem" in keywords for keywords, _ in chosen):
        return
    head, records = home.published
    with open_dataset(head, gateway=served.url, keys=[sample_homes.key_of(home.home)]) as dataset:
        found = [place(record) for record in narrowed(dataset, chosen)]
    assert sorted(found) == sorted(
        place(record)
        for record in query_homes.records_of(home.home)
        if record["subsystem"] == "audit" and record["number"] < records and all(passes(record) for _, passes in chosen)
    )


def test_the_home_was_at_work_and_had_an_index(busy):
    """Pages were written, and used, while records were logged."""
    home, _ = busy
    for thread in home.threads[:1]:
        thread.join()
    assert len(home.durable) == ROUNDS * 7
    home.stop.set()
    home.threads[1].join()
    home._seal()
    assert open_dataset(home.home).filter(subsystem="audit").explain().pages > 1
    assert open_dataset(home.home).count() == ROUNDS * 7
