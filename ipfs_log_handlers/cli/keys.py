"""`ipfs-logs keys`: the verifier key, and a new log after a rollback that leaves no trace."""

from __future__ import annotations

import click

from ipfs_log_handlers.cli.common import Place, chosen_rooms, take_lock, verb
from ipfs_log_handlers.cli.output import complain, neutral, put_json
from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.home import head, keys
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.keeper.succession import end_log
from ipfs_log_handlers.reading.logs import logs_of, signers

__all__ = ["command"]


@click.group("keys")
def command() -> None:
    """The signing key of a home."""


@command.command("show")
@verb
def _show(place: Place) -> int:
    """Print the verifier key, which may be given to everybody who shall check these logs."""
    home = place.home
    logs = [log for room in home.rooms() for log in logs_of(room)]  # before the key, which is there before any log
    key = keys.load(home)
    if key is None and logs:
        by = " and ".join(signers(logs)) or "a key whose name is lost too"
        raise HomeError(
            f"writer.key is missing; the logs here are signed with {by}", hint="`ipfs-logs doctor` says what to do."
        )
    if key is None:
        complain("no key yet: it is made when the first batch is sealed")
        return 1
    if place.json:
        put_json({"name": key.name, "key_id": key.verifier.key_id.hex(), "verifier": key.verifier.text})
    else:
        click.echo(key.verifier.text)
    return 0


@command.command("new-log")
@click.argument("subsystem")
@verb
def _new_log(place: Place, subsystem: str) -> int:
    """End the log of SUBSYSTEM; a new one begins with the next batch and carries the old checkpoint.

    For a home that was rolled back without a trace, as by the snapshot of a virtual machine: what was signed since
    must never be signed again under the same numbers.
    """
    home = place.home
    (room,) = chosen_rooms(home, [subsystem])
    held = take_lock(home, "Stop it first; it would go on with the log that it knows.")
    try:
        try:
            sealed = head.load(room.current.head)
        except FormatError:
            sealed = None
        if sealed is None and not Batches(room.current.batches).indexes():
            raise click.UsageError(f"{subsystem} has no log that could end")
        shelf = end_log(room, sealed)
    finally:
        held.release()
    ended = sealed.log if sealed is not None else ""
    if place.json:
        put_json({"subsystem": subsystem, "ended": ended, "moved_to": str(shelf.path)})
    else:
        click.echo(neutral(f"{ended or subsystem} has ended; its files are in {shelf.path}"))
    return 0
