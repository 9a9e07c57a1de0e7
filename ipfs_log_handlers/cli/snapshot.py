"""`ipfs-logs snapshot`: print one CID for each log, and let the stores pin it."""

from __future__ import annotations

import click

from ipfs_log_handlers.api import LogSnapshot, store_addresses
from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, explain_empty, subsystems_argument, verb
from ipfs_log_handlers.cli.output import complain, put_json, put_line, remark, several

__all__ = ["command"]


@click.command("snapshot")
@subsystems_argument
@click.option("--kubo", multiple=True, metavar="URL", help="Pin it at this store instead of the configured ones.")
@click.option("--token", metavar="TOKEN", help="Credential: bearer:…, basic:…, env:NAME or file:PATH.")
@verb
def command(place: Place, subsystems: tuple[str, ...], kubo: tuple[str, ...], token: str | None) -> int:
    """Print one CID for each log, which links all of its sealed batches: `ipfs pin add CID` copies the log to a node.

    Each store that has all batches pins the snapshot, too. Exit code 4 if a store did not, 1 if there is no batch.
    Without a store the CID is only computed.
    """
    home = place.home
    stores = store_addresses(kubo, "--kubo")
    count = 0
    refused = False
    with Bar("reading") as bar:
        for snapshot in home.snapshot(
            subsystems or None,
            stores=stores,
            token=token,
            progress=lambda subsystem, done, total: bar.update(done, total, subsystem),
        ):
            count += 1
            refused = refused or bool(snapshot.problems)
            with bar.paused():
                _put(place, snapshot)
    if not count:
        explain_empty(home)
        return 1
    return 4 if refused else 0


def _put(place: Place, snapshot: LogSnapshot) -> None:
    if place.json:
        put_json(snapshot.as_json())
    else:
        pinned = f", pinned at {' and '.join(snapshot.stores)}" if snapshot.stores else ""
        put_line(f"{snapshot.subsystem}: {snapshot.cid}")
        pruned = f", {several(snapshot.pruned, 'payload')} pruned" if snapshot.pruned else ""
        put_line(f"  {several(snapshot.batches, 'batch')}{pruned}{pinned}")
    for address, reason in snapshot.problems.items():
        complain(f"{snapshot.subsystem} is not pinned at {address}: {reason}")
    if not snapshot.stores and not snapshot.problems and not place.json:
        remark("pinned nowhere: no store is configured (--kubo or IPFS_LOGS_KUBO)")
