"""What a client of the live tail has missed is read in readings of bounded time, and closed after the last one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.server.missed import Missed
from ipfs_log_handlers.server.parameters import Chosen
from ipfs_log_handlers.server.sources import Sources
from ipfs_log_handlers.server.work import Reading, StoppedError, Work
from tests.support import sample_homes
from tests.support.serving import serving, sources_of

NOTHING = Chosen({"contains": ["no record has this"]}, None, None)


@contextmanager
def reading_of(home: Path, seconds: float | None = None) -> Iterator[Reading]:
    """Open a home for one reading."""
    sources = sources_of(home)
    with sources.open(lambda _: None) as dataset:
        yield Reading(sources, dataset, [], seconds)


def test_each_call_obeys_the_time_of_its_own_reading(home):
    """A call whose time is over finds nothing and is not the end; the next call goes on behind it."""
    sample_homes.make(home, 30)
    missed = Missed(sources_of(home), NOTHING, "[{}]")
    with reading_of(home, 0.0) as short, reading_of(home) as long:
        first = missed.next(short)
        last = missed.next(long)
    missed.close()

    assert ([], False) == (list(first.items), first.is_end)
    assert ([], True) == (list(last.items), last.is_end)
    assert first.cursor not in ("[{}]", last.cursor)


def test_a_reading_that_nobody_waits_for_ends(home):
    """A client that has gone holds no thread."""
    sample_homes.make(home, 30)
    missed = Missed(sources_of(home), NOTHING, "[{}]")
    with reading_of(home) as reading:
        reading.stopped.set()
        with pytest.raises(StoppedError):
            missed.next(reading)
    missed.close()


class Held(Reading):
    """A reading that stops at its first record until it may go on."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def check(self, *_: object) -> None:
        """Wait."""
        self.begun.set()
        assert self.go_on.wait(30)


def counting(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> tuple[Sources, list[Dataset], list[Any]]:
    """Return the same sources, and lists of the datasets that are opened, and of the sources of those closed."""
    opened: list[Dataset] = []
    closed: list[Any] = []
    real = Dataset.close

    def close(dataset: Dataset) -> None:
        closed.append(dataset.sources)
        real(dataset)

    def opening(on_gap: Any) -> Dataset:
        opened.append(sources.open(on_gap))
        return opened[-1]

    monkeypatch.setattr(Dataset, "close", close)
    return replace(sources, open=opening), opened, closed


def test_it_is_closed_at_the_end_of_the_call_that_runs(home, monkeypatch):
    """While a thread reads, nothing is closed under its hands."""
    sample_homes.make(home, 30)
    sources, opened, closed = counting(sources_of(home), monkeypatch)
    missed = Missed(sources, NOTHING, "[{}]")
    with sources_of(home).open(lambda _: None) as dataset:
        reading = Held(sources, dataset, [], None)
        thread = threading.Thread(target=missed.next, args=(reading,))
        thread.start()
        assert reading.begun.wait(30)
        missed.close()
        while_it_runs = list(closed)
        reading.go_on.set()
        thread.join(30)

        assert [] == while_it_runs
        assert [opened[0].sources] == closed


def test_what_was_opened_for_a_client_that_has_gone_is_closed(home, monkeypatch):
    """A call that begins after the client has gone leaves no dataset open."""
    sample_homes.make(home, 5)
    sources, opened, closed = counting(sources_of(home), monkeypatch)
    missed = Missed(sources, NOTHING, "[{}]")
    with sources_of(home).open(lambda _: None) as dataset:
        missed.close()
        missed.open(Reading(sources, dataset, [], None))

        assert [opened[0].sources] == closed


def test_a_tail_reads_on_after_a_reading_that_took_too_long(home, monkeypatch):
    """Also if each reading has no time at all, the tail gets to the present, and to a record that is logged then."""
    monkeypatch.setitem(Work.run.__kwdefaults__, "seconds", 0.0)
    sample_homes.make(home, 30)
    with serving(sources_of(home)) as server, server.tail("[{}]", contains="did 77") as tail:
        assert tail.next().name == "ready"
        sample_homes.log(home, range(70, 80))
        [found] = tail.until(lambda records: records)

    assert 77 == found["record"]["number"]
