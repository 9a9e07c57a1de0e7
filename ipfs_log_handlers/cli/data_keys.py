"""`ipfs-logs keys issue`, `accept`, `periods`, `pseudonym` and `shred`: keys that encrypt, or make pseudonyms."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import click

from ipfs_log_handlers.cli.common import Place, subsystems_argument, verb
from ipfs_log_handlers.cli.output import complain, put_json, put_line, remark, several

__all__ = ["accept", "issue", "periods", "pseudonym", "shred"]


_verb_without_home = functools.partial(verb, home=False)


@click.command("issue")
@click.argument("subsystem")
@click.argument("period_range", metavar="PERIOD[..PERIOD]")
@click.option(
    "--key-dir",
    "directory",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The key directory of those who may read; made if it is missing.",
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="KEY",
    help="A public key, age1… or ssh-ed25519, that opens them; default: IPFS_LOGS_RECIPIENTS.",
)
@_verb_without_home
def issue(place: Place, subsystem: str, period_range: str, directory: Path, recipients: tuple[str, ...]) -> int:
    """Make the keys of periods ahead, so that the machine that logs never has a secret.

    Run this on the machine of those who may read. PERIOD is a year 2027, month 2027-01, week 2027-W01 or day
    2027-01-31. The secret keys stay in DIR, encrypted to the recipients: keep it, and a copy. The output is public:
    bring it to the machine that logs, and run `keys accept` there.
    """
    from ipfs_log_handlers.api import issue_keys

    first, dots, last = period_range.partition("..")
    issued = issue_keys(directory, subsystem, first, last if dots else first, recipients)
    for key in issued:
        if place.json:
            put_json({"kid": key.kid, "recipient": key.recipient})
        else:
            put_line(f"{key.kid} {key.recipient}")
    remark(f"{directory} has the secret of {several(len(issued), 'key')}: without it nobody can read")
    return 0


@click.command("accept")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@verb
def accept(place: Place, file: Path) -> int:
    """Encrypt to the keys in FILE, which `keys issue` printed.

    Programs that log to this home use them if their settings have encrypt={"recipients": "issued"}: records for whose
    period no key was issued wait until there is one.
    """
    from ipfs_log_handlers.api import issued_keys_in

    new = place.home_to_make.accept_keys(issued_keys_in(file))
    for key in new:
        if place.json:
            put_json({"kid": key.kid, "recipient": key.recipient})
        else:
            put_line(f"{key.kid} {key.recipient}")
    if not new:
        remark("all of these keys are here already")
    return 0


@click.command("periods")
@subsystems_argument
@click.option("--scope", metavar="VALUE", help="Only the keys of this value of the field that `scope` names.")
@verb
def periods(place: Place, subsystems: tuple[str, ...], scope: str | None) -> int:
    """List the keys to which batches are encrypted, one for each subsystem and period.

    With encrypt={"scope": FIELD} there is one for each value of that field, too: their names have a hash of the value
    after the period.

    A key is present (its secret is here, encrypted to those who may read), issued (its secret is elsewhere), shredding
    (its destruction has begun and must be ended) or shredded. Exit code 2 if a key is damaged or its destruction did
    not end, 1 if there is none.
    """
    keys = place.home.data_keys(subsystems or None, scope=scope)
    width = max([24, *(len(key.kid) for key in keys)])
    for key in keys:
        if place.json:
            put_json(key.as_json())
            continue
        put_line(f"{key.kid:<{width}} {key.state:<9} {key.recipient or ''}".rstrip())
        for recipient in key.wrapped_for:
            put_line(f"  can be opened by {recipient}")
        if key.damage is not None:
            complain(f"{key.kid} is not used: {key.damage}")
        elif key.state == "shredding":
            complain(f"the destruction of {key.kid} did not end: run `ipfs-logs keys shred` again")
    if not keys:
        remark(
            "no batch of this home is encrypted to a key of a period yet"
            if scope is None
            else "no batch of this home is encrypted to a key of this value"
        )
        return 1
    return 2 if any(key.damage is not None or key.state == "shredding" for key in keys) else 0


@click.command("pseudonym")
@click.argument("value")
@subsystems_argument
@click.option("--period", metavar="PERIOD", help="Only this month: 2026-03.")
@verb
def pseudonym(place: Place, value: str, subsystems: tuple[str, ...], period: str | None) -> int:
    """Print the pseudonyms of VALUE, to search the log for it: one for each subsystem and month.

    VALUE is the text that the program logged; `-` reads it from stdin, so that it is in no history of a shell. The keys
    of pseudonyms must be in the home: only who may read them can compute one. Exit code 1 if there is no such key.
    """
    if value == "-":
        value = sys.stdin.readline().rstrip("\r\n")
    found = place.home.pseudonyms(value, subsystems or None, period=period)
    for each in found:
        if place.json:
            put_json(each.as_json())
        else:
            put_line(f"{each.subsystem} {each.period} {each.pseudonym}")
    if not found:
        remark("this home has no key of pseudonyms" + ("" if period is None else f" of {period}"))
    return 0 if found else 1


@click.command("shred")
@click.option(
    "--period", metavar="PERIOD", help="The period: 2026-03, as `keys periods` prints it; default with --scope: all."
)
@click.option("--subsystem", metavar="NAME", help="Only the keys of this subsystem.")
@click.option(
    "--scope",
    metavar="VALUE",
    help="Only the records with this value of the field that encrypt={'scope': …} names; `-` reads it from stdin.",
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it becomes a part of the log.")
@click.option("--by", metavar="TEXT", help="Who asks for it; default: your user name and host.")
@click.option(
    "--key-dir",
    "directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Destroy the keys that were issued into DIR instead, without a home and an act.",
)
@verb
def shred(
    place: Place,
    period: str | None,
    subsystem: str | None,
    scope: str | None,
    reason: str,
    by: str | None,
    directory: Path | None,
) -> int:
    """Erase a period, or one value of the field `scope`: destroy keys for good.

    Nobody can read these batches then, and readers say that they were erased by policy; their CIDs and signatures still
    verify. It is a signed act in the log. A legal hold refuses it. A program may log to the home meanwhile. If the
    command is interrupted, run it again. Copies of the keys in backups must be destroyed there.
    """
    if scope == "-":
        scope = sys.stdin.readline().rstrip("\r\n")
    if scope is not None and directory is not None:
        raise click.UsageError("Keys of values are not issued: leave out --key-dir or --scope.")
    if period is None and scope is None:
        raise click.UsageError("Say what is erased: --period PERIOD, or --scope VALUE.")
    if directory is None or period is None:
        shredded = place.home.shred_keys(period, reason=reason, subsystem=subsystem, scope=scope, by=by)
    else:
        from ipfs_log_handlers.api import shred_issued_keys

        shredded = shred_issued_keys(directory, period, reason=reason, subsystem=subsystem)
    for each in shredded:
        if place.json:
            put_json(each.as_json())
        else:
            for kid in each.keys:
                put_line(f"{kid} is destroyed")
            if each.batches:
                put_line(f"{several(each.batches, 'batch')} of {each.subsystem} can be read by nobody any more")
            for month in each.pseudonyms:
                put_line(f"the key of pseudonyms of {each.subsystem} in {month} is erased")
            if each.index is not None:
                put_line(f"the act is in batch {each.index} of {each.log}")
        if not each.keys:
            remark(f"the keys of {each.subsystem} in {each.period} were destroyed before")
        for kid in each.elsewhere:
            remark(f"the secret of {kid} is where it was issued: run `keys shred --key-dir DIR` there, too")
        for kid in each.others:
            remark(f"{kid} is in use since then: run this again to destroy it, too")
    return 0
