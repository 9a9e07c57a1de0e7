"""`ipfs-logs hold`: set, release and list legal holds."""

from __future__ import annotations

import click

from ipfs_log_handlers.api import Hold
from ipfs_log_handlers.cli.common import Place, subsystems_argument, verb
from ipfs_log_handlers.cli.output import put_json, put_line, remark

__all__ = ["command"]


@click.group("hold")
def command() -> None:
    """Forbid to give up records: set, release and list legal holds."""


_by_option = click.option("--by", metavar="TEXT", help="Who asks for it; default: your user name and host.")


@command.command("set")
@click.argument("subsystem")
@click.option("-S", "--since", metavar="TIME", help="Only records of TIME or later.")
@click.option("-U", "--until", metavar="TIME", help="Only records of TIME or earlier.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it becomes a part of the log.")
@_by_option
@verb
def _set(place: Place, subsystem: str, since: str | None, until: str | None, reason: str, by: str | None) -> int:
    """Hold the records of SUBSYSTEM, all of them or those of a time.

    While a hold stands, no payload with such a record leaves the home, whatever keep_days, max_store_bytes or a full
    disk say. The hold is a signed act in the log: it has a batch of its own, and verify checks it. A program may log to
    the home meanwhile.
    """
    _put(place, place.home.set_hold(subsystem, reason=reason, since=since, until=until, by=by))
    return 0


@command.command("release")
@click.argument("subsystem")
@click.argument("hold", required=False)
@click.option("-S", "--since", metavar="TIME", help="Only a hold that was set with this TIME.")
@click.option("-U", "--until", metavar="TIME", help="Only a hold that was set with this TIME.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it becomes a part of the log.")
@_by_option
@verb
def _release(
    place: Place, subsystem: str, hold: str | None, since: str | None, until: str | None, reason: str, by: str | None
) -> int:
    """End HOLD of SUBSYSTEM, as a signed act in the log.

    HOLD is the id that `hold list` prints, or its beginning; or the reason for which it was set, or a part of that.
    Leave it out if only one stands, or only one with this --since and --until. Prints the holds that still stand.
    """
    standing = place.home.release_hold(subsystem, hold, reason=reason, by=by, since=since, until=until)
    for each in standing:
        _put(place, each)
    if not standing:
        remark(f"no hold of {subsystem} stands any more")
    return 0


@command.command("list")
@subsystems_argument
@verb
def _list(place: Place, subsystems: tuple[str, ...]) -> int:
    """List the holds that stand. Exit code 1 if none does."""
    holds = place.home.holds(subsystems or None)
    for hold in holds:
        _put(place, hold)
    if not holds:
        remark("no hold stands")
    return 0 if holds else 1


def _put(place: Place, hold: Hold) -> None:
    if place.json:
        put_json(hold.as_json())
    else:
        put_line(f"{hold.subsystem}: {hold.words}")
        put_line(f"  set by {hold.by}{'' if hold.index is None else f' in batch {hold.index} of {hold.log}'}")
