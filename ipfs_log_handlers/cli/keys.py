"""`ipfs-logs keys`: show the verifier key, change, export or import the key, and say how logs go on.

`data_keys.py` has the commands for the keys to which batches are encrypted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ipfs_log_handlers.cli import data_keys
from ipfs_log_handlers.cli.common import Place, subsystems_argument, verb
from ipfs_log_handlers.cli.output import complain, moment, put_json, put_line, remark, several

__all__ = ["command"]

_MAX_PASSPHRASE_BYTES: Final = 1024
"""Largest number of bytes of a passphrase; OpenSSL accepts no longer one."""


@click.group("keys")
def command() -> None:
    """Show, change or move the signing key, begin a new log; issue, accept, list and destroy keys that encrypt."""


for _data_keys_command in (data_keys.issue, data_keys.accept, data_keys.periods, data_keys.pseudonym, data_keys.shred):
    command.add_command(_data_keys_command)


@command.command("show")
@click.option("--name", "only_name", is_flag=True, help="Print the IPNS name of the home instead.")
@verb
def _show(place: Place, only_name: bool) -> int:  # noqa: FBT001
    """Print the verifier key. Give it to every person who should check these logs.

    The name of a published home, earlier keys, and the batches up to which they signed, are on stderr, or in `ipns` and
    `earlier` of the JSON.
    """
    home = place.home
    key = home.public_key()
    if key is None:
        complain("this home has no key yet: the key is made when the first batch is sealed")
        return 1
    if only_name and key.ipns is None:
        complain("this home has no name yet: `ipfs-logs publish` makes one")
        return 1
    earlier = home.earlier_keys()
    if place.json:
        put_json({**key.as_json(), "earlier": [each.as_json() for each in earlier]})
        return 0
    if only_name:
        click.echo(f"/ipns/{key.ipns}")
        return 0
    click.echo(key.verifier)
    if key.ipns is not None:
        remark(f"published under /ipns/{key.ipns}")
    for each in earlier:
        changed = each.as_json()["changed"]
        remark(f"until {moment(changed)} UTC the key was {each.key.verifier}")
        for log, batches in each.ends:
            remark(f"  {log} ended with it, after {several(batches, 'batch')}")
    return 0


@command.command("rotate")
@verb
def _rotate(place: Place) -> int:
    """Replace the signing key by a new one.

    Both keys sign the end of each log, and the next batches begin new logs. Give the new verifier key to every person
    who checks these logs. The programs that log to this home must not run.
    """
    changed = place.home.rotate_key()
    if place.json:
        put_json(changed.as_json())
        return 0
    for log, _ in changed.ends:
        put_line(f"{log} has ended; both keys have signed its end")
    put_line(f"the old key was {changed.old.verifier}")
    put_line(f"the key is now  {changed.new.verifier}")
    return 0


_passphrase_option = click.option(
    "--passphrase-file",
    metavar="PATH",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file whose first line is the passphrase of FILE.",
)


@command.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_passphrase_option
@verb
def _export(place: Place, file: Path, passphrase_file: Path | None) -> int:
    """Write the SECRET signing key to a new FILE.

    FILE has mode 0600, and the form PKCS #8 in PEM, which openssl reads. Anyone who has it (and its passphrase) can
    sign logs in the name of this home: keep it off line, and give it to nobody.
    """
    key = place.home.export_key(file, passphrase=_passphrase(passphrase_file))
    if place.json:
        put_json({**key.as_json(), "file": str(file), "encrypted": passphrase_file is not None})
    else:
        put_line(f"{file} holds the secret key of {key.name}")
    how = "Anyone who has it and its passphrase" if passphrase_file else "It is not encrypted. Anyone who has it"
    remark(f"{file} is a secret. {how} can sign logs in the name of this home")
    return 0


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_passphrase_option
@verb
def _import(place: Place, file: Path, passphrase_file: Path | None) -> int:
    """Give a home the signing key in FILE, which `keys export` wrote.

    The home has no key yet, or has lost it. A home that goes on with another key is refused: two keys would fork its
    logs. A copy of writer.key is accepted, too.
    """
    key = place.home_to_make.import_key(file, passphrase=_passphrase(passphrase_file))
    if place.json:
        put_json(key.as_json())
    else:
        put_line(f"the key of the home is {key.verifier}")
    return 0


def _passphrase(path: Path | None) -> str | None:
    """Read the first line of a file."""
    if path is None:
        return None
    with path.open("rb") as file:
        line = file.readline(_MAX_PASSPHRASE_BYTES + 1).rstrip(b"\r\n")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(line) > _MAX_PASSPHRASE_BYTES:
        raise click.UsageError(
            f"the first line of {path} is not a passphrase: UTF-8, 1 to {_MAX_PASSPHRASE_BYTES} bytes"
        )
    return text


@command.command("same-log")
@subsystems_argument
@verb
def _same_log(place: Place, subsystems: tuple[str, ...]) -> int:
    """Let the logs of a home that was moved go on.

    A copy of a home begins new logs, because the original may go on. If the original is gone, run this once at the new
    place, before a program logs there. Never run it while the original may log again: two homes would sign one log.
    """
    logs = place.home.same_logs(subsystems or None)
    for log in logs:
        if place.json:
            put_json(log.as_json())
        elif log.reason is None:
            put_line(f"{log.log} goes on after {several(log.batches, 'batch')}")
        else:
            put_line(f"{log.log or log.subsystem} ends, and a new log follows it: {log.reason}")
    if not logs:
        remark("no log has a batch yet")
    return 0 if all(log.reason is None for log in logs) else 2


@command.command("new-log")
@click.argument("subsystem")
@verb
def _new_log(place: Place, subsystem: str) -> int:
    """End the log of SUBSYSTEM. The next batch begins a new one.

    Use this after restoring a VM snapshot, so that no batch number is signed twice. The new log contains the last
    checkpoint of the old one.
    """
    ended = place.home.new_log(subsystem)
    if place.json:
        put_json(ended.as_json())
    else:
        put_line(f"{ended.log or subsystem} has ended; its files are in {ended.path}")
    return 0
