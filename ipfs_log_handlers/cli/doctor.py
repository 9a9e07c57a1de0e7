"""`ipfs-logs doctor`: find out why records are not stored or not shipped, and print the next step."""

from __future__ import annotations

from itertools import chain
from typing import Final

import click

from ipfs_log_handlers.api import HealthCheck, pin_addresses, store_addresses
from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import put_json, put_line, styled

__all__ = ["command"]

_LABELS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
"""The first four characters of a line, by state of the check."""
_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
"""Colour of these characters on a terminal."""


@click.command("doctor")
@click.option("--kubo", multiple=True, metavar="URL", help="Check this daemon instead of the configured ones.")
@click.option("--token", metavar="TOKEN", help="Credential: bearer:…, basic:…, env:NAME or file:PATH.")
@click.option(
    "--pin", "pins", multiple=True, metavar="ADDRESS", help="Check this pin service instead of the configured ones."
)
@click.option("--pins-token", metavar="TOKEN", help="Credential of these pin services.")
@click.option("--fetch", is_flag=True, help="Also ask daemons whose address comes only from the home.")
@click.option("--repair", is_flag=True, help="Rebuild damaged files; the damaged files are kept in quarantine/.")
@click.option("--all", "every", is_flag=True, help="Read every batch, and ask each daemon for every confirmed one.")
@verb
def command(
    place: Place,
    kubo: tuple[str, ...],
    token: str | None,
    pins: tuple[str, ...],
    pins_token: str | None,
    fetch: bool,  # noqa: FBT001
    repair: bool,  # noqa: FBT001
    every: bool,  # noqa: FBT001
) -> int:
    """Find out why records are not stored or not shipped, and look for damaged files.

    The newest 400 batches of each log are read, and 100 random ones of the others. Each daemon is asked for 8 batches
    that it has confirmed. --all checks every batch.

    Exit code 4 if the check of a store or pin service fails, 2 if another check fails; a warning does not change it.

    A home may come from another person, so only daemons of --kubo or IPFS_LOGS_KUBO are asked, or
    all with --fetch.

    --repair rebuilds damaged files from the rest of the home, from the stores and from the key, then checks again. Each
    damaged file is kept in quarantine/. No other process may be the keeper: stop the programs that log there.
    """
    home = place.home
    stores = store_addresses(kubo, "--kubo")
    services = pin_addresses(pins, "--pin")
    repairs = home.repair(stores, token=token) if repair else None
    code = 0
    with Bar("checking") as shown:

        def progress(where: str, checked: int, total: int) -> None:
            shown.update(checked, total, label=where)

        checks = home.health(
            stores,
            token=token,
            pins=services,
            pins_token=pins_token,
            fetch=fetch,
            repairs=repairs,
            every_batch=every,
            progress=progress,
        )
        for check in chain(map(HealthCheck.of_repair, repairs or ()), checks):
            if check.state == "fail" and code != 4:
                code = 4 if check.check in ("store", "pin service") else 2
            with shown.paused():
                _print(place, check)
    return code


def _print(place: Place, check: HealthCheck) -> None:
    if place.json:
        put_json(check.as_json())
        return
    put_line(f"{check.check}: {check.found}", label=styled(_LABELS[check.state], fg=_COLOURS[check.state]))
    if check.hint:
        put_line(check.hint, label="    ")
