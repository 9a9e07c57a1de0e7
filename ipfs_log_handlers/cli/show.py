"""`ipfs-logs show`: print one batch with its place in the chain, or one of its records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ipfs_log_handlers.cli.common import GapList, Place, Reader, identity_options, verb
from ipfs_log_handlers.cli.output import complain, put_bytes, put_json, put_line, safe_json

if TYPE_CHECKING:
    from ipfs_log_handlers.api import BatchDetail, Gap, Home

__all__ = ["command"]


@click.command("show")
@click.argument("name", metavar="CID[/N]|SUBSYSTEM")
@click.argument("index", required=False, metavar="[INDEX[/N]]")
@identity_options
@verb
def command(place: Place, reader: Reader, name: str, index: str | None) -> int:
    """Print the manifest of a batch and its place in the chain; with /N, print record number N of the batch.

    Name the batch by the CID of its manifest or payload, or by its subsystem and number; `ipfs-logs ls` lists these.
    Records are counted from 0. The batch is verified before a record is printed.
    """
    home = place.home
    text, slash, number = (
        (name if index is None else index).removeprefix("/ipfs/").removeprefix("ipfs://").partition("/")
    )
    if slash and not (number.isascii() and number.isdecimal() and len(number) < 12):
        raise click.UsageError(f"{number!r} is not the number of a record")
    detail = _detail(home, text if index is None else name, None if index is None else text)
    if detail is None:
        complain(f"{home.path} has no such batch; `ipfs-logs ls` lists all batches")
        return 1
    if slash:
        return _put_record(place, home, detail, int(number), reader)
    if place.json:
        put_json(detail.as_json())
        return 0
    for key, value in detail.as_json().items():
        put_line(f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    return 0


def _detail(home: Home, name: str, index: str | None) -> BatchDetail | None:
    if index is None:
        return home.batch_with_cid(name)
    if not (index.isascii() and index.isdecimal() and len(index) < 12):
        raise click.UsageError(f"{index!r} is not the number of a batch")
    return home.batch_at(name, int(index))


def _put_record(place: Place, home: Home, detail: BatchDetail, number: int, reader: Reader) -> int:
    from ipfs_log_handlers.api import with_subsystem

    gaps = GapList()
    pruned: list[Gap] = []

    def note(gap: Gap) -> None:
        (pruned.append if gap.kind == "pruned" else gaps.note)(gap)

    found = home.record_at(detail.cid, number, on_gap=note, **reader._asdict())
    for gap in pruned:
        complain(str(gap))
    if gaps or pruned:
        return gaps.code() or 1
    if found is None:
        complain(f"the batch has {detail.records} records, from 0")
        return 1
    subsystem, line = found
    if place.json:
        put_bytes(safe_json(with_subsystem(line, subsystem)) + b"\n")
        return 0
    put_line(f"record {number} of {detail.records} in batch {detail.index} of {detail.log}")
    put_line(f"manifest {detail.cid}")
    put_line(safe_json(line).decode())
    return 0
