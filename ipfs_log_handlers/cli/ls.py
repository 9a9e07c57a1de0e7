"""`ipfs-logs ls`: list the batches of each log, oldest first."""

from __future__ import annotations

import click

from ipfs_log_handlers.api import BatchInfo
from ipfs_log_handlers.cli.common import Place, explain_empty, subsystems_argument, verb
from ipfs_log_handlers.cli.output import Column, complain, count, moment, put_bytes, remark, size, table

__all__ = ["command"]

_SUBSYSTEM = Column(title="SUBSYSTEM")
_LOG = Column(title="LOG")
_ORIGIN = Column(title="ORIGIN", min_width=15)
_COLUMNS = (
    Column(title="BATCH", right=True),
    Column(title="SEALED"),
    Column(title="RECORDS", right=True),
    Column(title="SIZE", right=True, drop=2),
    Column(title="RAW", right=True, drop=1),
    Column(title="STATE"),
    Column(title="MANIFEST", min_width=15),
)


@click.command("ls")
@subsystems_argument
@verb
def command(place: Place, subsystems: tuple[str, ...]) -> int:
    """List batches, oldest first: their CIDs, their content, and whether they are shipped.

    Batches of other homes, which were imported or mirrored, come last; `origin` is the name of their log.

    With -o json each batch also has its metadata, under `meta`. A terminal that is too narrow for whole CIDs shows
    their beginning and end; `-o json` always shows whole CIDs.
    """
    home = place.home
    damaged: list[Exception] = []
    shown = 0
    if place.json:
        for lines in home.batch_lines(subsystems or None, on_damage=damaged.append):
            shown += lines.count(b"\n")
            put_bytes(lines)
    else:
        batches = list(home.batches(subsystems or None, on_damage=damaged.append))
        shown = len(batches)
        if batches:
            _print(batches)
    for error in damaged:
        complain(str(error))
    if not shown and not damaged:
        names = ", ".join(dict.fromkeys(subsystems or home.subsystems))
        if names:
            remark(f"no batch of {names} in {home.path} yet: `ipfs-logs cat` shows the records that wait")
        else:
            explain_empty(home)
    return 5 if damaged else 0 if shown else 1


def _print(batches: list[BatchInfo]) -> None:
    """Print a table; if a subsystem has several logs, a column shows the end of each log's name, or all of it."""
    logs = {(batch.subsystem, batch.log) for batch in batches}
    several = len(logs) > len({subsystem for subsystem, _ in logs})
    foreign = any(batch.origin is not None for batch in batches)
    shown = [[batch.log] if foreign else [batch.log[-8:]] if several else [] for batch in batches]
    rows = [(batch.subsystem, *log, *_cells(batch)) for batch, log in zip(batches, shown, strict=True)]
    table((_SUBSYSTEM, *([_ORIGIN] if foreign else [_LOG] if several else []), *_COLUMNS), rows)


def _cells(batch: BatchInfo) -> tuple[str, ...]:
    return (
        str(batch.index),
        moment(batch.sealed),
        count(batch.records) if batch.contents == "records" else batch.contents,
        size(batch.size),
        size(batch.raw),
        batch.state,
        batch.cid,
    )
