"""Space in a home: what fails there is counted, and harms nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import housekeeping
from ipfs_log_handlers.keeper.retention import Retention
from ipfs_log_handlers.keeper.seal import Sealer
from tests.support.logging_home import keeping, lines, put_segment


def test_what_fails_is_counted_and_the_others_have_their_turn(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention that fails in one subsystem is told, and goes on with the next one."""
    seen: list[str] = []
    failed: list[tuple[str, str]] = []
    done = asyncio.Event()

    class Failing(Retention):
        async def run(self, *_: object, **__: object) -> int:
            seen.append(self._subsystem_dir.name)
            if len(seen) == 2:
                done.set()
            if self._subsystem_dir.name == "audit":
                raise ValueError("odd")
            return 0

    monkeypatch.setattr(housekeeping, "Retention", Failing)
    for name in ("audit", "logs"):
        put_segment(HomeDir(home).subsystem_dir(name), lines(1, 3))

    async def keep(sealers: list[Sealer]) -> None:
        kept = housekeeping.Housekeeping(
            HomeDir(home),
            lambda: [housekeeping.RetentionTarget(sealer, []) for sealer in sealers],
            lambda what, error: failed.append((what, str(error))),
        )
        kept.check(0.0)
        await done.wait()
        await kept.close()

    with keeping(HomeDir(home)) as lock:
        asyncio.run(keep([Sealer.open(lock, HomeDir(home).subsystem_dir(name)) for name in ("audit", "logs")]))
    assert ["audit", "logs"] == seen
    assert [("retention in audit", "odd")] == failed
