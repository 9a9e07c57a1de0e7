"""Space in a home: what fails there is counted, and harms nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper import house
from ipfs_log_handlers.keeper.seal import Sealer
from tests.workshop import keeping, lines, put_segment


def test_what_fails_is_counted_and_the_others_have_their_turn(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention that fails in one subsystem is told, and goes on with the next one."""
    seen: list[str] = []
    failed: list[tuple[str, str]] = []
    done = asyncio.Event()

    async def retain(room: Any, *_: object, **__: object) -> int:
        seen.append(room.name)
        if len(seen) == 2:
            done.set()
        if room.name == "audit":
            raise ValueError("odd")
        return 0

    monkeypatch.setattr(house, "retain", retain)
    for name in ("audit", "logs"):
        put_segment(Home(home).room(name), lines(1, 3))

    async def keep(sealers: list[Sealer]) -> None:
        kept = house.House(
            Home(home), lambda: [(each, []) for each in sealers], lambda what, error: failed.append((what, str(error)))
        )
        kept.look(0.0)
        await done.wait()
        await kept.close()

    with keeping(Home(home)) as lock:
        asyncio.run(keep([Sealer(lock, Home(home).room(name)) for name in ("audit", "logs")]))
    assert ["audit", "logs"] == seen
    assert [("retention in audit", "odd")] == failed
