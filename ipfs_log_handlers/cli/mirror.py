"""`ipfs-logs mirror`: copy the logs of other homes into this one, verified, and keep up with them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from ipfs_log_handlers.api import store_addresses
from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import put_json, put_line, remark, several
from ipfs_log_handlers.cli.stopping import stop_on_signals

if TYPE_CHECKING:
    from ipfs_log_handlers.api import MirroredLog, Stop

__all__ = ["command"]


@click.command("mirror")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--key", "keys", multiple=True, metavar="VKEY", help="Trust this verifier key, now and later.")
@click.option("--follow", "following", is_flag=True, help="Keep running, and copy each new batch.")
@click.option("--pin", "pinning", is_flag=True, help="Also pin the copies at the daemon of --kubo or IPFS_LOGS_KUBO.")
@click.option("--kubo", metavar="URL", help="The daemon to ask for names and blocks; it gives what it has itself.")
@click.option("--gateway", metavar="URL", help="The HTTP gateway to ask for names and blocks.")
@click.option("--token", metavar="TOKEN", help="Credential: bearer:…, basic:…, env:NAME or file:PATH.")
@click.option("--fetch", is_flag=True, help="Of another home, also ask daemons that only its files name.")
@verb
def command(
    place: Place,
    sources: tuple[str, ...],
    keys: tuple[str, ...],
    following: bool,  # noqa: FBT001
    pinning: bool,  # noqa: FBT001
    kubo: str | None,
    gateway: str | None,
    token: str | None,
    fetch: bool,  # noqa: FBT001
) -> int:
    """Copy the logs of other homes into this home, where they never change, and keep up with them.

    SOURCE is a name /ipns/…, the file of a home head, a CID, a CAR file or a directory of them, or another home. A
    trusted key must have signed the newest head of each log, and it must continue the head that was accepted before.
    Each block and record is verified before it counts. After a break, the next run goes on where this one has ended. If
    the home of --home or IPFS_LOGS_HOME is missing, it is made. The verbs that read the home show the copies; `origin`
    is the name of the log.

    With --follow, names and homes are looked at every second, until Ctrl-C; a problem is printed, and the others go on.

    Exit code 0 if all copies are whole, 1 if a source has no log, 3 if a log is not as it was signed, or not what was
    accepted before, 4 if a source is out of reach, 5 if a block could not be got. The batches around a payload that no
    source has are copied, and the next run asks for it again; a payload that was given up by a signed act is no error.
    """
    pins = _pins(kubo) if pinning else ()
    home = place.home_to_make
    results: dict[tuple[str, str], str] = {}
    with _stopping(following=following) as stop, Bar("mirror") as bar:
        found = home.mirror(
            sources,
            keys=keys,
            kubo=kubo,
            gateway=gateway,
            token=token,
            fetch=fetch,
            pin=pins,
            stop=stop,
            progress=lambda subsystem, done, total: bar.update(done, total, subsystem),
        )
        for each in found:
            results[each.source, each.log] = each.result
            with bar.paused():
                _put(place, each)
        if stop is not None and stop.requested:
            return 0
    if not results:
        remark("no log at this source")
    return _code(results.values())


def _pins(kubo: str | None) -> tuple[str, ...]:
    """Return the daemons that pin: that of --kubo, else those of IPFS_LOGS_KUBO."""
    named = [kubo] if kubo is not None else os.environ.get("IPFS_LOGS_KUBO", "").replace(",", " ").split()
    if not named:
        raise click.UsageError("--pin needs a daemon: name it with --kubo or IPFS_LOGS_KUBO")
    return tuple(store_addresses(named, "--kubo"))


@contextlib.contextmanager
def _stopping(*, following: bool) -> Iterator[Stop | None]:
    if not following:
        yield None
        return
    with stop_on_signals() as stop:
        yield stop


def _put(place: Place, found: MirroredLog) -> None:
    if place.json:
        put_json(found.as_json())
        sys.stdout.flush()
        return
    name = found.subsystem or found.source
    if found.result == "ok":
        copied = f"{several(found.new_batches, 'batch')} copied, " if found.new_batches else ""
        pruned = f", {several(found.pruned, 'payload')} pruned" if found.pruned else ""
        put_line(f"{name}: ok: {copied}{found.batches} here{pruned}: {found.log}")
    else:
        here = f"; {several(found.batches, 'batch')} here" if found.log else ""
        put_line(f"{name}: NOT OK ({found.result}){here}: {found.log}".rstrip(": "))
        put_line(f"  {found.problem}")
    if found.evidence is not None:
        put_line(f"  both heads: {found.evidence}")
    sys.stdout.flush()


def _code(results: Iterable[str]) -> int:
    kinds = set(results)
    if kinds - {"ok", "unreachable", "incomplete"}:
        return 3
    if "unreachable" in kinds:
        return 4
    return 5 if "incomplete" in kinds else 0 if kinds else 1
