"""`ipfs-logs retention`: say which payloads may be given up, and give them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ipfs_log_handlers.api import PlannedBatches, PruneResult, store_addresses
from ipfs_log_handlers.cli.common import Place, subsystems_argument, verb
from ipfs_log_handlers.cli.output import (
    Column,
    complain,
    count,
    moment,
    put_json,
    put_line,
    remark,
    several,
    size,
    table,
)

__all__ = ["command"]

_COLUMNS = (
    Column(title="SUBSYSTEM"),
    Column(title="LOG", drop=1),
    Column(title="BATCHES", right=True),
    Column(title="RECORDS", right=True, drop=3),
    Column(title="SIZE", right=True, drop=2),
    Column(title="FROM", drop=4),
    Column(title="TO"),
    Column(title="DECISION"),
    Column(title="WHY", min_width=12),
)

_keep_option = click.option("--keep", metavar="AGE", help="Keep records so long (400d, 52w) in place of the setting.")
_kubo_option = click.option("--kubo", multiple=True, metavar="URL", help="Use this store, not the configured ones.")
_token_option = click.option("--token", metavar="TOKEN", help="Credential: bearer:…, basic:…, env:NAME or file:PATH.")


@click.group("retention", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> Any:
    """Give up old payloads everywhere, as the setting retention says.

    Without a command this is `retention plan`, which changes nothing.
    """
    return ctx.invoke(_plan) if ctx.invoked_subcommand is None else None


@command.command("plan")
@subsystems_argument
@_keep_option
@_kubo_option
@_token_option
@verb
def _plan(
    place: Place,
    subsystems: tuple[str, ...] = (),
    keep: str | None = None,
    kubo: tuple[str, ...] = (),
    token: str | None = None,
) -> int:
    """List which payloads would be given up now, which stay, and why. Nothing is changed.

    A payload goes if its records are older than the setting `retention` of its subsystem says, and nothing needs it: no
    legal hold, no snapshot that a store has pinned, no configured store or pin service that has not confirmed it. The
    newest batch of each log stays. Exit code 1 if no subsystem has the setting.
    """
    planned = place.home.plan_retention(
        subsystems or None, keep=keep, stores=store_addresses(kubo, "--kubo"), token=token
    )
    if place.json:
        for batches in planned:
            put_json(batches.as_json())
    elif planned:
        _print(planned)
    if not planned:
        remark("no subsystem has batches and a retention rule: set retention on its handler, or give --keep")
    return 0 if planned else 1


def _print(planned: Sequence[PlannedBatches]) -> None:
    table(_COLUMNS, [_row(batches) for batches in planned])
    going = [batches for batches in planned if batches.decision == "prune"]
    batches = several(sum(each.batches for each in going), "batch")
    records = several(sum(each.records for each in going), "record")
    put_line(f"to give up: {batches} with {records}, {size(sum(each.size for each in going))}")


def _row(batches: PlannedBatches) -> tuple[str, ...]:
    members = batches.as_json()
    return (
        batches.subsystem,
        batches.log[-8:],
        str(batches.first) if batches.first == batches.last else f"{batches.first}-{batches.last}",
        count(batches.records),
        size(batches.size),
        moment(members["since"]),
        moment(members["until"]),
        batches.decision,
        batches.why,
    )


@command.command("apply")
@subsystems_argument
@_keep_option
@click.option("--reason", metavar="TEXT", help="The reason in the act; default: the age.")
@click.option("--by", metavar="TEXT", help="Who asks for it; default: your user name and host.")
@_kubo_option
@_token_option
@click.option("--pins", multiple=True, metavar="ADDRESS", help="Use this pin service, not the configured ones.")
@click.option("--pins-token", metavar="TOKEN", help="Credential of the clusters in --pins.")
@verb
def _apply(
    place: Place,
    subsystems: tuple[str, ...],
    keep: str | None,
    reason: str | None,
    by: str | None,
    kubo: tuple[str, ...],
    token: str | None,
    pins: tuple[str, ...],
    pins_token: str | None,
) -> int:
    """Give up the payloads that `retention plan` lists: for ever, at every store and in the home.

    A signed act in the log names them first. Then they are unpinned at each store, which keeps the manifests, and
    deleted in the home. The log still verifies, and readers say that these batches are pruned. A store frees the space
    when it collects garbage: `ipfs repo gc`, which this command does not run.

    Exit code 4 if a store did not answer: run this again. It also goes on after a crash.
    """
    results = place.home.apply_retention(
        subsystems or None,
        keep=keep,
        reason=reason,
        by=by,
        stores=store_addresses(kubo, "--kubo"),
        token=token,
        pins=pins,
        pins_token=pins_token,
    )
    for result in results:
        _put(place, result)
    if not results:
        remark("no subsystem has a retention rule: set retention on its handler, or give --keep")
        return 1
    return 0 if all(result.complete for result in results) else 4


def _put(place: Place, result: PruneResult) -> None:
    if place.json:
        put_json(result.as_json())
    else:
        given_up = f"{several(result.batches, 'batch')} with {several(result.records, 'record')}, {size(result.size)}"
        put_line(f"{result.subsystem}: given up: {given_up}")
    for what, why in result.left.items():
        complain(f"{result.subsystem}: not done yet: {what}: {why}")
