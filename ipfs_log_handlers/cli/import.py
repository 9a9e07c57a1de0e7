"""`ipfs-logs import`: verify CAR files with logs of other homes, and keep them in this home."""

# ruff: noqa: N999 - a verb stands in the module of its name

from __future__ import annotations

import functools
from pathlib import Path

import click

from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import put_json, put_line, several

__all__ = ["command"]


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--key", "keys", multiple=True, metavar="VKEY", help="Trust this verifier key, now and later.")
@verb
def command(place: Place, files: tuple[Path, ...], keys: tuple[str, ...]) -> int:
    """Verify CAR files with logs of other homes, and copy them into this home, where they never change.

    A file comes from `ipfs-logs export FILE.car`, or from `ipfs dag export` of a snapshot. Each block, the chain, the
    signature and all records are checked before the file is kept. Without the key of a log the file is refused. If the
    home of --home or IPFS_LOGS_HOME is missing, it is made. The verbs that read the home show these logs, too; `origin`
    is the name of the log.
    """
    home = place.home_to_make
    for file in files:
        total = file.stat().st_size
        with Bar(file.name, bytes_unit=True) as bar:
            logs = home.import_car(file, keys=keys, progress=functools.partial(_advance, bar, total))
        for log in logs:
            if place.json:
                put_json(log.as_json())
                continue
            begin = "" if log.first == 0 else f" from batch {log.first} on"
            put_line(
                f"{log.subsystem}: {several(log.batches, 'batch')}{begin}, {several(log.records, 'record')}: {log.log}"
            )
            put_line(f"  {log.file}")
    return 0


def _advance(bar: Bar, total: int, size: int) -> None:
    bar.advance(size, total)
