"""The keeper pauses beside a running program, and does not while somebody waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.keeper import pacing


def burn(steps: int) -> Iterator[None]:
    """Yield steps of a few milliseconds of work."""
    for _ in range(steps):
        until = time.thread_time() + 0.003
        while time.thread_time() < until:
            pass
        yield


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of pauses that the keeper makes, in seconds; none is really made."""
    made: list[float] = []
    turn, rest, thread = asyncio.sleep, clock.sleep, threading.get_ident()

    async def sleep(seconds: float) -> None:
        if threading.get_ident() != thread:  # a keeper of another test
            await turn(seconds)
            return
        if seconds:
            made.append(seconds)
        await turn(0)

    def block(seconds: float) -> None:
        if threading.get_ident() != thread:
            rest(seconds)
            return
        made.append(seconds)

    monkeypatch.setattr("ipfs_log_handlers.keeper.pacing.asyncio.sleep", sleep)
    monkeypatch.setattr("ipfs_log_handlers.keeper.pacing.clock.sleep", block)
    return made


def test_a_pause_is_a_multiple_of_the_work_before_it(pauses: list[float]) -> None:
    """Beside a running program the keeper pauses a multiple of what each step took, but never for long."""
    asyncio.run(pacing.run_paced(burn(3), 5.0, lambda: False))
    assert 3 == len(pauses)
    assert all(0.015 <= pause <= 0.05 for pause in pauses)


def test_the_least_pause_follows_each_step_where_the_spool_is_half_full(pauses: list[float]) -> None:
    """Without a share of the work to pause for, the program still gets its turn after each step."""
    asyncio.run(pacing.run_paced(burn(3), 0.0, lambda: False))
    assert [pacing.MIN_PAUSE_S] * 3 == pauses


def test_a_flush_request_ends_the_pauses_of_a_seal_that_is_under_way(pauses: list[float]) -> None:
    """A flush in the middle of a seal waits for the seal's work, not for its pauses."""
    waiting: list[bool] = []

    def steps() -> Iterator[None]:
        yield from burn(2)
        waiting.append(True)
        yield from burn(20)

    asyncio.run(pacing.run_paced(steps(), 30.0, lambda: bool(waiting)))
    assert 2 == len(pauses)
