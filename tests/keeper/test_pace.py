"""The keeper's pace: rests beside a running program, none for somebody who waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper import loop
from tests.workshop import keeping


def burn(steps: int) -> Iterator[None]:
    """Steps of a few milliseconds of work each."""
    for _ in range(steps):
        until = time.thread_time() + 0.003
        while time.thread_time() < until:
            pass
        yield


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rests that the keeper takes, in seconds; none is really taken."""
    taken: list[float] = []
    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            taken.append(seconds)
        await turn(0)

    monkeypatch.setattr("ipfs_log_handlers.keeper.loop.asyncio.sleep", sleep)
    monkeypatch.setattr("ipfs_log_handlers.keeper.loop.time.sleep", taken.append)
    return taken


def test_rests_for_as_long_as_told(home: Path, rests: list[float]) -> None:
    """Beside a running program the keeper rests a multiple of what each step took, but never for long."""
    with keeping(Home(home)) as lock:
        asyncio.run(loop.Keeper(lock, loop.NoGuest())._paced(burn(3), 5.0))
    assert 3 == len(rests)
    assert all(0.015 <= rest <= 0.05 for rest in rests)


def test_no_rest_where_the_spool_is_half_full(home: Path, rests: list[float]) -> None:
    """Without a rest to take, the program still gets its turn after each step."""
    with keeping(Home(home)) as lock:
        asyncio.run(loop.Keeper(lock, loop.NoGuest())._paced(burn(3), 0.0))
    assert [loop._PAUSE] * 3 == rests


def test_asking_ends_the_rests_of_a_seal_that_is_under_way(home: Path, rests: list[float]) -> None:
    """Whoever flushes in the middle of a gentle seal waits for its work, not for its rests."""
    with keeping(Home(home)) as lock:
        keeper = loop.Keeper(lock, loop.NoGuest())

        def steps() -> Iterator[None]:
            yield from burn(2)
            keeper.ask()
            yield from burn(20)

        asyncio.run(keeper._paced(steps(), 30.0))
    assert 2 == len(rests)
