"""`ipfs-logs log`: archives and their versions, as a history."""

from __future__ import annotations

import click

from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import complain, moment, put_json, remark, size, table
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.reading.archives import Version, versions

__all__ = ["command"]


@click.command("log")
@click.argument("name", required=False)
@verb
def command(place: Place, name: str | None) -> int:
    """The history of NAME, newest version first; without NAME that of everything that was archived.

    NAME is what it was archived as, or the CID of one of its versions. `ipfs-logs cat --archive NAME --as-of VERSION`
    reads any of them.
    """
    home = place.home
    found = versions(home)
    if name is None and not found:
        remark(f"nothing was archived in {home.path}")
    elif name is not None:
        found = _history(found, name)
        if not found:
            complain(f"nothing was archived as {name!r} in {home.path}; `ipfs-logs log` lists what was")
    for each in reversed(found) if place.json else ():
        put_json(each.as_json())
    if found and not place.json:
        head = ("NAME", "VERSION", "ARCHIVED", "SIZE", "SUBSYSTEM", "STATE", "PARENT", "CID")
        rows = [_row(each, found[:place]) for place, each in enumerate(found)]
        table(head, rows[::-1], right=(3,))
    return 0 if found else 1


def _history(every: list[Version], name: str) -> list[Version]:
    """The versions of a name; that of a CID, and those that have its name."""
    named = [each for each in every if each.name == name]
    if named:
        return named
    try:
        wanted = Cid.from_user(name)
    except FormatError:
        return []
    meant = [each for each in every if wanted in (each.root, each.manifest)]
    names = {each.name for each in meant} - {None}
    return [each for each in every if each in meant or each.name in names]


def _parent(each: Version, older: list[Version]) -> str:
    """The version that one was made from: equal contents have equal CIDs, so among older ones the newest that fits."""
    parent = each.meta.get("parent")
    if not isinstance(parent, str):
        return "-"
    fits = [
        other.version
        for other in older
        if (other.root.text, other.name, other.subsystem) == (parent, each.name, each.subsystem) and other.version
    ]
    said = each.metadata.get("parent_version")
    return said if said in fits else fits[-1] if fits else f"{parent[:12]}…"


def _row(each: Version, older: list[Version]) -> tuple[str, ...]:
    return (
        each.name or "-",
        each.version or "-",
        moment(each.archived),
        size(each.size or 0),
        each.subsystem,
        each.state,
        _parent(each, older),
        each.root.text,
    )
