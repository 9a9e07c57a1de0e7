"""`ipfs-logs versions` (or `log`): list archived files and directories with their versions."""

from __future__ import annotations

import click

from ipfs_log_handlers.api import Version, parent_of
from ipfs_log_handlers.cli.common import Place, Reader, identity_options, tell_closed, verb
from ipfs_log_handlers.cli.output import Column, complain, moment, put_json, remark, size, table

__all__ = ["command"]

_COLUMNS = (
    Column(title="NAME", min_width=16),
    Column(title="VERSION", min_width=12),
    Column(title="ARCHIVED"),
    Column(title="SIZE", right=True, drop=2),
    Column(title="SUBSYSTEM", drop=1),
    Column(title="STATE"),
    Column(title="PARENT", min_width=12, drop=3),
    Column(title="CID", min_width=15),
)


@click.command("versions")
@click.argument("name", required=False)
@identity_options
@verb
def command(place: Place, reader: Reader, name: str | None) -> int:
    """List the versions of NAME, newest first; without NAME, list the versions of all archives.

    NAME is the name of an archive, or the CID of one of its versions. `ipfs-logs cat --archive NAME --as-of VERSION`
    prints a version. Encrypted archives have a name only with an identity that opens them; without one, exit code 5.
    """
    home = place.home
    versions = home.archives(name, **reader._asdict())
    if name is not None and not versions:
        if tell_closed(home.archives(**reader._asdict())):
            return 5
        complain(f"{home.path} has no archive {name!r}; `ipfs-logs versions` lists all archives")
    elif not versions:
        remark(f"nothing was archived in {home.path}")
    elif place.json:
        for version in reversed(versions):
            put_json(version.as_json())
    else:
        rows = [_row(version, versions[:position]) for position, version in enumerate(versions)]
        table(_COLUMNS, rows[::-1])
    return 5 if tell_closed(versions) else 0 if versions else 1


def _row(version: Version, older: tuple[Version, ...]) -> tuple[str, ...]:
    return (
        version.name or "-",
        version.version or "-",
        moment(version.archived),
        "-" if version.size is None else size(version.size),
        version.subsystem,
        version.state,
        parent_of(version, older) or "-",
        version.root.text,
    )
