"""`ipfs-logs ls`: the batches of each log, oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from ipfs_log_handlers.cli.common import Place, chosen_rooms, subsystems_argument, verb
from ipfs_log_handlers.cli.output import complain, count, moment, put_json, remark, size, table
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.manifest import UNIXFS
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.reading.logs import confirmed, logs_of, policy_of

__all__ = ["command"]

_COLUMNS: Final = ("BATCH", "SEALED", "RECORDS", "SIZE", "RAW", "STATE", "MANIFEST")
_FLUSH_RIGHT: Final = ("BATCH", "RECORDS", "SIZE", "RAW")


@click.command("ls")
@subsystems_argument
@verb
def command(place: Place, subsystems: tuple[str, ...]) -> int:
    """Batches, oldest first: their CIDs, what is in them, and whether they are shipped.

    As JSON each has its metadata too, under `meta`: what its subsystem promises of every batch.
    """
    home = place.home
    damaged: list[str] = []
    rooms = chosen_rooms(home, subsystems)
    found = (each for room in rooms for each in _batches(home, room, damaged))
    shown = 0
    if place.json:
        for each in found:
            put_json(each)
            shown += 1
    else:
        batches = list(found)
        shown = len(batches)
        if batches:
            _print(batches)
    for trouble in damaged:
        complain(trouble)
    if not shown and not damaged:
        names = ", ".join(room.name for room in rooms)
        waiting = f"no batch of {names} in {home.path} yet: `ipfs-logs cat` shows the records that wait"
        remark(waiting if rooms else f"nothing is logged in {home.path} yet")
    return 5 if damaged else 0 if shown else 1


def _batches(home: Home, room: Room, damaged: list[str]) -> Iterator[dict[str, Any]]:
    policy = policy_of(home, room)
    for log in logs_of(room):
        stores = confirmed(log, policy.replicas, policy.stores or None)
        if log.trouble is not None and log.shelf.path == room.path:
            damaged.append(log.trouble)
        for index in range(log.newest + 1):
            try:
                facts = log.batches.facts(index)
            except (FormatError, FileNotFoundError) as error:
                damaged.append(str(error))
                continue
            manifest = facts.manifest
            yield {
                "subsystem": room.name,
                "log": manifest.log,
                "index": index,
                "cid": facts.cid.text,
                "payload": manifest.payload.text,
                "records": manifest.records,
                "first": rfc3339(manifest.first),
                "last": rfc3339(manifest.last),
                "raw": manifest.raw,
                "size": manifest.size,
                "encoding": manifest.encoding,
                "sealed": rfc3339(manifest.sealed),
                "state": "shipped" if stores.has(index) else "sealed",
                "meta": dict(manifest.meta),
            }


def _print(batches: list[dict[str, Any]]) -> None:
    """Print a table; it tells logs apart, by the end of their names, where a subsystem has more than one."""
    logs = {(each["subsystem"], each["log"]) for each in batches}
    several = len(logs) > len({subsystem for subsystem, _ in logs})
    head = ("SUBSYSTEM", *(["LOG"] if several else []), *_COLUMNS)
    rows = [(each["subsystem"], *([each["log"][-8:]] if several else []), *_cells(each)) for each in batches]
    table(head, rows, right=map(head.index, _FLUSH_RIGHT))


def _cells(each: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(each["index"]),
        moment(each["sealed"]),
        "archive" if each["encoding"] == UNIXFS else count(each["records"]),
        size(each["size"]),
        size(each["raw"]),
        each["state"],
        each["cid"],
    )
