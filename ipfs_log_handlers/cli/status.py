"""`ipfs-logs status`: counters and health, from the home alone."""

from __future__ import annotations

import functools
import time
from typing import Any

import click

from ipfs_log_handlers.cli.common import Place, chosen_rooms, subsystems_argument, verb
from ipfs_log_handlers.cli.output import age, count, neutral, put_bytes, put_json, remark, several, size, table
from ipfs_log_handlers.format.moment import rfc3339
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
    if not found:
        remark(f"nothing is logged in {home.path} yet")
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
    for error, those in _errors(found).items():
        click.echo(neutral(f"{', '.join(each['subsystem'] for each in those)}: {error}{_next_try(those)}"))


def _errors(found: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What went wrong last, each thing once, with the subsystems that say so."""
    errors: dict[str, list[dict[str, Any]]] = {}
    for each in found:
        if each["last_error"]:
            errors.setdefault(each["last_error"], []).append(each)
    return errors


def _next_try(those: list[dict[str, Any]]) -> str:
    """When a store is tried again; no time that has passed, or that nobody keeps."""
    moment = min((each["next_retry"] for each in those if each["next_retry"]), default=None)
    if moment is None:
        return ""
    if those[0]["keeper"] is None:
        return "; tried again at the next `ipfs-logs ship`, or start of the program"
    if moment <= rfc3339(time.time_ns() // 1000):
        return "; tried again just now"
    return f"; next try {moment[:19]}Z"
