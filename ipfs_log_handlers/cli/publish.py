"""`ipfs-logs publish`: let the name of the home lead to its newest shipped batches, or write them to a file."""

from __future__ import annotations

from pathlib import Path

import click

from ipfs_log_handlers.api import store_addresses
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import put_json, put_line, several

__all__ = ["command"]


@click.command("publish")
@click.option("--kubo", multiple=True, metavar="URL", help="Publish with this daemon instead of the configured ones.")
@click.option("--token", metavar="TOKEN", help="Credential: bearer:…, basic:…, env:NAME or file:PATH.")
@click.option("--to", "path", metavar="FILE", help="Write the home head to a file, and publish no name.")
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so many seconds; each daemon is tried at least once.",
)
@verb
def command(place: Place, kubo: tuple[str, ...], token: str | None, path: str | None, timeout: float) -> int:
    """Publish the home once: its IPNS name leads to one signed block with the newest head of each log.

    Only what is shipped is published; `ship --follow --publish`, or the setting publish of a handler, does it after
    each batch. A reader needs the name and the verifier key, which `keys show` prints.

    Exit code 0 if a daemon has given the block back for the name, 4 if none has: a daemon that takes the record and
    cannot resolve the name does not count.
    """
    if not timeout >= 0:
        raise click.UsageError("--timeout takes seconds, 0 or more")
    home, stores = place.home, store_addresses(kubo, "--kubo")
    if path is not None:
        written = home.write_home_head(path, stores, timeout=timeout)
        if place.json:
            put_json({**written.as_json(), "path": str(Path(path).absolute())})
        else:
            put_line(f"{path}: home head {written.cid} of {several(written.logs, 'log')}")
        return 0
    published = home.publish(stores, token=token, timeout=timeout)
    if place.json:
        put_json(published.as_json())
    else:
        put_line(f"/ipns/{published.name}")
        put_line(
            f"leads to home head {published.cid} of {several(published.logs, 'log')} until {published.until[:19]}Z"
        )
    return 0
