"""Batches of each subsystem are cut at its own number of records."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.due import FLOOD_BATCHES
from ipfs_log_handlers.keeper.seal import Sealer
from tests.support import oracle
from tests.support.logging_home import keeping, logging_to
from tests.support.subsystem_events import samples

TABLE = {
    "audit": 100, "logs": 200, "wal": 1000, "telemetry": 1000, "health": 50, "fs_monitor": 100, "fs_replication": 50,
    "lifecycle": 50, "data_lifecycle": 50, "mcp_files": 100, "mcp_actions": 100,
}  # fmt: skip


def keep(sealer: Sealer, now: float) -> None:
    """Seal what is due at a moment, and nothing that only waits."""
    while (cut := sealer.schedule.due_batch(sealer.backlog(now), now, urgent=False)) is not None:
        for _ in sealer.seal(cut, urgent=True):
            pass


def sizes(home: Path, name: str) -> list[int]:
    """Return the records of each batch."""
    return [batch.manifest["records"] for log in oracle.read_home(home)[name] for batch in log.batches]


def test_the_numbers_of_the_subsystems_of_the_first_version_stay() -> None:
    """Each subsystem of version 0.1 has the number that the table gives it; a later one states its own."""
    assert {name: subsystems.get(name).records for name in TABLE} == TABLE


@pytest.mark.slow
@pytest.mark.parametrize(("name", "records"), [("audit", None), ("lifecycle", None), ("telemetry", None), ("audit", 7)])
def test_exactly(home: Path, name: str, records: int | None) -> None:
    """While at most ten batches' worth waits each batch has exactly that number; above it one takes all that waits."""
    size = records or TABLE[name]
    batch = {"seconds": 3600.0, "bytes": 64 << 20} | ({} if records is None else {"records": records})
    stream = samples(name, 22 * size)

    with logging_to(home, name, batch=batch) as logger, keeping(HomeDir(home)) as held:

        def log(count: int) -> None:
            for _, (text, fields) in zip(range(count), stream, strict=False):
                logger.info(text, extra=fields)

        log(size - 1)
        sealer = Sealer.open(held, HomeDir(home).subsystem_dir(name))
        keep(sealer, 5.0)
        assert sealer.sealed is None

        log(1)
        keep(sealer, 6.0)
        assert [size] == sizes(home, name)

        log(FLOOD_BATCHES * size)
        keep(sealer, 7.0)
        assert [size] * 11 == sizes(home, name)

        log(FLOOD_BATCHES * size + 1)
        keep(sealer, 8.0)
        assert [*[size] * 11, FLOOD_BATCHES * size + 1] == sizes(home, name)

        log(3)
        keep(sealer, 9.0)
        assert 12 == len(sizes(home, name))
        keep(sealer, 9.0 + 3601)
        assert 3 == sizes(home, name)[-1]
