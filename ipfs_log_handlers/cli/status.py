"""`ipfs-logs status`: counters and health, from the home alone."""

from __future__ import annotations

import functools
from typing import Any

import click

from ipfs_log_handlers.cli.common import Place, chosen_rooms, subsystems_argument, verb
from ipfs_log_handlers.cli.output import age, count, neutral, put_bytes, put_json, several, size, table
from ipfs_log_handlers.openmetrics import render
from ipfs_log_handlers.status import status

__all__ = ["command"]


@click.command("status")
@subsystems_argument
@functools.partial(verb, also=["openmetrics"])
def command(place: Place, subsystems: tuple[str, ...]) -> int:
    """Counters and health of each subsystem, without asking a daemon.

    durable: survives a kill of the program; sealed: in the chain; shipped: confirmed by the stores. With -o openmetrics
    it is text for Prometheus, ended by "# EOF".
    """
    home = place.home
    wanted = {room.name for room in chosen_rooms(home, subsystems)}
    found = [each for each in status(home.path) if each["subsystem"] in wanted]
    if place.output == "openmetrics":
        put_bytes(render([_neutral(each) for each in found]).encode())
    elif place.json:
        for each in found:
            put_json(each)
    elif found:
        _print(found)
    return 0 if found else 1


def _neutral(value: Any) -> Any:
    """The same with every text in it neutral: errors and reasons come from other processes and from stores."""
    if isinstance(value, dict):
        return {neutral(key): _neutral(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_neutral(each) for each in value]
    return neutral(value) if isinstance(value, str) else value


def _print(found: list[dict[str, Any]]) -> None:
    head = ("SUBSYSTEM", "DURABLE", "SEALED", "SHIPPED", "DROPPED", "ASIDE", "SPOOL", "STORE", "OLDEST")
    rows = [
        (
            each["subsystem"],
            *(count(each[name]) for name in ("durable", "sealed", "shipped")),
            count(sum(each["dropped"].values())),
            count(each["set_aside"]),
            size(each["spool_bytes"]),
            size(each["store_bytes"]),
            age(each["oldest_unshipped"]),
        )
        for each in found
    ]
    table(head, rows, right=range(1, len(head)))
    keeper = found[0]["keeper"]
    click.echo(neutral(f"keeper: pid {keeper['pid']} on {keeper['host']}" if keeper else "keeper: none is running"))
    for each in found:
        for reason, number in each["dropped"].items():
            click.echo(neutral(f"{each['subsystem']}: {number} dropped: {reason}"))
        if each["quarantined"]:
            click.echo(neutral(f"{each['subsystem']}: {several(each['quarantined'], 'damaged piece')} in quarantine"))
        for warning in each["warnings"]:
            click.echo(neutral(f"{each['subsystem']}: warning: {warning}"))
        if each["last_error"]:
            retry = f" (next try {each['next_retry']})" if each["next_retry"] else ""
            click.echo(neutral(f"{each['subsystem']}: {each['last_error']}{retry}"))
