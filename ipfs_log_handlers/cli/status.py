"""`ipfs-logs status`: print counters and health, from the home alone."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click

from ipfs_log_handlers.api import ImportedLogStatus, PinServiceStatus, SubsystemStatus
from ipfs_log_handlers.cli.common import Place, explain_empty, subsystems_argument, verb
from ipfs_log_handlers.cli.output import (
    Column,
    age,
    count,
    put_bytes,
    put_json,
    put_line,
    several,
    size,
    table,
)

__all__ = ["command"]

_COLUMNS = (
    Column(title="SUBSYSTEM"),
    Column(title="DURABLE", right=True),
    Column(title="SEALED", right=True),
    Column(title="SHIPPED", right=True),
    Column(title="DROPPED", right=True, drop=4),
    Column(title="ASIDE", right=True, drop=3),
    Column(title="SPOOL", right=True, drop=2),
    Column(title="STORE", right=True, drop=1),
    Column(title="OLDEST", right=True),
)


@click.command("status")
@subsystems_argument
@functools.partial(verb, also=["openmetrics"])
def command(place: Place, subsystems: tuple[str, ...]) -> int:
    """Show counters and health of each subsystem, without a request to a store.

    durable: survives a kill of the program; sealed: in the signed chain; shipped: confirmed by as many stores and pin
    services as configured; head: CID of the newest signed block, which is all that a reader on another machine needs.
    Logs of other homes that were imported or mirrored have a line each, in JSON an object with their `origin`.
    -o openmetrics prints text for Prometheus, which ends with "# EOF".
    """
    home = place.home
    if place.output == "openmetrics":
        put_bytes(home.openmetrics(subsystems or None).encode())
    statuses = home.status(subsystems or None) if place.output != "openmetrics" else ()
    others = home.imported_logs(subsystems or None) if place.output != "openmetrics" else ()
    if place.json:
        for status in statuses:
            put_json(status.as_json())
        for other in others:
            put_json(other.as_json())
    else:
        if statuses:
            _print(statuses)
        for other in others:
            put_line(_of_another_home(other))
    if not home.subsystems and not others:
        explain_empty(home)
        return 1
    return 0


def _print(subsystems: Sequence[SubsystemStatus]) -> None:
    table(_COLUMNS, map(_row, subsystems))
    keeper = subsystems[0].keeper
    put_line(f"keeper: process {keeper['pid']} on {keeper['host']}" if keeper else "keeper: none is running")
    for subsystem in subsystems:
        if subsystem.head is not None:
            put_line(f"{subsystem.subsystem}: head {subsystem.head}")
    if subsystems[0].name is not None:
        _print_name(subsystems[0].name)
    for subsystem in subsystems:
        for reason, number in subsystem.dropped.items():
            put_line(f"{subsystem.subsystem}: {number} dropped: {reason}")
        if subsystem.set_aside:
            batches = several(subsystem.set_aside, "batch")
            put_line(f"{subsystem.subsystem}: {batches} set aside by a store: `ipfs-logs doctor` shows the reason")
        if subsystem.quarantined:
            pieces = several(subsystem.quarantined, "damaged piece")
            put_line(f"{subsystem.subsystem}: {pieces} in quarantine")
        for pin in subsystem.pins:
            put_line(f"{subsystem.subsystem}: {pin.pinned:,} pinned by {pin.service}{_waiting(pin, subsystem)}")
        for hold in subsystem.holds:
            put_line(f"{subsystem.subsystem}: {hold.words}")
        for warning in subsystem.warnings:
            put_line(f"{subsystem.subsystem}: warning: {warning}")
    for error, troubled in _by_error(subsystems).items():
        names = ", ".join(subsystem.subsystem for subsystem in troubled)
        put_line(f"{names}: {error}{_next_try(troubled)}")


def _of_another_home(log: ImportedLogStatus) -> str:
    """Say what is here of a log of another home."""
    if log.problem is not None:
        return f"{log.subsystem}: {log.origin} of another home: {log.problem}"
    notes = [
        f"{number:,} {what}"
        for number, what in (
            (log.behind, "not here yet"),
            (log.pruned, "pruned"),
            (log.absent, "without their payload"),
        )
        if number
    ]
    counts = ", ".join([several(log.batches, "batch"), *notes])
    return f"{log.subsystem}: {counts} of another home ({'mirrored' if log.mirrored else 'imported'}): {log.origin}"


def _waiting(pin: PinServiceStatus, subsystem: SubsystemStatus) -> str:
    """Say what waits for a pin service, and its error unless it is printed with those of all subsystems."""
    waiting = f", {several(pin.waiting, 'batch')} waiting" if pin.waiting else ""
    other_error = pin.last_error is not None and pin.last_error != subsystem.last_error
    return f"{waiting}: {pin.last_error}{_moment(pin.next_retry, subsystem)}" if other_error else waiting


def _print_name(name: Mapping[str, Any]) -> None:
    """Print the name of the home, and what it leads to."""
    where = f"/ipns/{name['name']}" if name["name"] else "the name"
    if name["cid"] is not None:
        put_line(f"{where} leads to {name['cid']}, resolved {age(name['age'])} ago")
    if name["last_error"] is not None:
        retry = f"; next try {name['next_retry'][:19]}Z" if name["next_retry"] else ""
        put_line(f"{where}: not published: {name['last_error']}{retry}")


def _row(subsystem: SubsystemStatus) -> tuple[str, ...]:
    return (
        subsystem.subsystem,
        count(subsystem.durable),
        count(subsystem.sealed),
        count(subsystem.shipped),
        count(sum(subsystem.dropped.values())),
        count(subsystem.set_aside),
        size(subsystem.spool_bytes),
        size(subsystem.store_bytes),
        age(subsystem.oldest_unshipped),
    )


def _by_error(subsystems: Sequence[SubsystemStatus]) -> dict[str, list[SubsystemStatus]]:
    """Group subsystems by their last error, so that each error is printed once."""
    errors: dict[str, list[SubsystemStatus]] = {}
    for subsystem in subsystems:
        if subsystem.last_error:
            errors.setdefault(subsystem.last_error, []).append(subsystem)
    return errors


def _next_try(subsystems: Sequence[SubsystemStatus]) -> str:
    """Say when a store is tried again; name a time only if it is in the future and a keeper is running."""
    moment = min((subsystem.next_retry for subsystem in subsystems if subsystem.next_retry), default=None)
    return _moment(moment, subsystems[0])


def _moment(moment: str | None, subsystem: SubsystemStatus) -> str:
    if moment is None:
        return ""
    if subsystem.keeper is None:
        return "; tried again by the next `ipfs-logs ship`, or when the program starts again"
    now = datetime.fromtimestamp(time.time(), timezone.utc)
    if datetime.fromisoformat(moment.replace("Z", "+00:00")) <= now:
        return "; tried again just now"
    return f"; next try {moment[:19]}Z"
