"""`ipfs-logs prove`: write the bundle that proves one record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, Reader, identity_options, verb
from ipfs_log_handlers.cli.output import complain, put_bytes, put_json, put_line, size
from ipfs_log_handlers.errors import RecordError

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Home

__all__ = ["command"]


@click.command("prove")
@click.argument("name", metavar="CID/N|SUBSYSTEM")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option(
    "--seq", type=click.IntRange(min=1), metavar="N", help="The record with this `seq`, which a process counts."
)
@click.option("--pid", type=click.IntRange(min=0), metavar="P", help="The process, if several have such a record.")
@click.option("--key", "keys", multiple=True, metavar="VKEY", help="One of these verifier keys must have signed.")
@click.option(
    "--head", metavar="CID", help="Prove from this head block, which a daemon or gateway has, not from a home."
)
@click.option("--kubo", metavar="URL", help="Ask this daemon for the blocks of --head.")
@click.option("--gateway", metavar="URL", help="Ask this gateway for the blocks of --head.")
@click.option("--token", metavar="TOKEN", help="Credential of the daemon: bearer:…, basic:…, env:NAME or file:PATH.")
@click.option("--fetch", is_flag=True, help="Also ask daemons whose address comes only from the home.")
@identity_options
@verb
def command(
    place: Place,
    reader: Reader,
    name: str,
    file: str | None,
    seq: int | None,
    pid: int | None,
    keys: tuple[str, ...],
    head: str | None,
    kubo: str | None,
    gateway: str | None,
    token: str | None,
    fetch: bool,  # noqa: FBT001
) -> int:
    """Write a bundle to FILE that proves one record, and reveals no other.

    Name the record by the CID of its batch and its number, as `ipfs-logs show` takes them, or by its subsystem and
    --seq. `ipfs-logs check FILE --key VKEY` checks the bundle on any machine, without a home and without a network.
    Without FILE the bundle goes to stdout, unless that is a terminal.

    FILE gets its name when it is complete. Exit code 1 if there is no such record, or if it is not sealed yet, 5 if its
    batch is encrypted and no identity opens it. The bundle shows its record in clear.
    """
    if file is None and sys.stdout.isatty():
        raise click.UsageError("a bundle is not text: name a FILE for it, or redirect stdout")
    try:
        if head is None:
            if kubo or gateway or token:
                raise click.UsageError("--kubo, --gateway and --token go with --head")
            bundle = _from_home(place.home, name, seq, pid, keys, reader, fetch=fetch)
        else:
            if seq is not None or pid is not None:
                raise click.UsageError("with --head, name the record as CID/N")
            from ipfs_log_handlers.api import keys_to_trust, prove_from_head

            batch, number = _place(name)
            trusted = keys_to_trust(keys)
            bundle = prove_from_head(
                head, batch, number, kubo=kubo, gateway=gateway, token=token, keys=trusted, **reader._asdict()
            )
    except RecordError as error:
        complain(str(error))
        return 2 if error.kind == "several" else 1
    if file is None or file == "-":
        put_bytes(bundle)
        return 0
    from ipfs_log_handlers.api import write_bundle

    write_bundle(Path(file), bundle)
    if place.json:
        put_json({"file": file, "size": len(bundle)})
    else:
        put_line(f"{file}: {size(len(bundle))}; `ipfs-logs check {file} --key VKEY` checks it")
    return 0


def _from_home(
    home: Home, name: str, seq: int | None, pid: int | None, keys: tuple[str, ...], reader: Reader, *, fetch: bool
) -> bytes:
    from ipfs_log_handlers.api import keys_to_trust

    trusted = keys_to_trust(keys)
    if seq is None:
        if pid is not None:
            raise click.UsageError("--pid goes with --seq")
        batch, number = _place(name)
        return home.prove(batch, number, keys=trusted, fetch=fetch, **reader._asdict())
    if "/" in name:
        raise click.UsageError("--seq chooses a record of a subsystem: give its name, or CID/N without --seq")
    with Bar("searching") as shown:
        return home.prove_seq(name, seq, pid=pid, progress=shown.update, keys=trusted, fetch=fetch, **reader._asdict())


def _place(name: str) -> tuple[str, int]:
    """Split the name of a record into the CID of its batch and its number."""
    batch, slash, number = name.removeprefix("/ipfs/").removeprefix("ipfs://").rpartition("/")
    if not slash:
        raise click.UsageError(f"which record of {name!r}? Give its CID/N, or the subsystem and --seq N")
    if not (number.isascii() and number.isdecimal() and len(number) < 12):
        raise click.UsageError(f"{number!r} is not the number of a record")
    return batch, int(number)
