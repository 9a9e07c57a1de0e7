"""`ipfs-logs ship`: seal waiting records and ship all batches, once, or with --follow until it is stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import click

from ipfs_log_handlers.api import Home, ShippedBatch, ShipResult, pin_addresses, store_addresses
from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import complain, put_json, put_line, remark_interrupt, several
from ipfs_log_handlers.cli.stopping import stop_on_signals

__all__ = ["command"]


@click.command("ship")
@click.option("--kubo", multiple=True, metavar="URL", help="Ship to this store instead of the configured ones.")
@click.option("--token", metavar="TOKEN", help="Credential: bearer:…, basic:…, env:NAME or file:PATH.")
@click.option(
    "--pin",
    "pins",
    multiple=True,
    metavar="ADDRESS",
    help="Use this pin service instead of the configured ones: cluster+http://HOST:9094 or remote:SERVICE.",
)
@click.option("--pins-token", metavar="TOKEN", help="Credential of these pin services, in the forms of --token.")
@click.option(
    "--follow",
    "following",
    is_flag=True,
    help="Keep running, and upload for programs that use keeper=none. Waits for a missing home.",
)
@click.option("--publish", is_flag=True, help="With --follow: publish the home after each batch, too.")
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so many seconds without success; each store is tried at least once.",
)
@click.option("--retry-set-aside", is_flag=True, help="Send batches again that stores have set aside.")
@click.option(
    "--again",
    is_flag=False,
    flag_value="",
    metavar="[STORE]",
    help="Check every confirmed batch at this store or pin service, or at all, and send lost batches again.",
)
@verb
def command(
    place: Place,
    kubo: tuple[str, ...],
    token: str | None,
    pins: tuple[str, ...],
    pins_token: str | None,
    following: bool,  # noqa: FBT001
    publish: bool,  # noqa: FBT001
    timeout: float,
    retry_set_aside: bool,  # noqa: FBT001
    again: str | None,
) -> int:
    """Seal all waiting records, then ship to the stores of --kubo, else of the programs, else of IPFS_LOGS_KUBO.

    Pin services, which keep further copies, are those of --pin, else of the programs, else of IPFS_LOGS_PINS. They are
    asked for each batch that a store has. The command waits until they have pinned it only if they are named with
    --pin, or if `replicas` of a program asks for so many copies; else for three seconds.

    Exit code 0 if everything is shipped, 4 if a batch is left, 2 if there is no store; then the records are only
    sealed. If another process is the keeper of the home, that process is asked to seal and ship.
    """
    if not timeout >= 0:
        raise click.UsageError("--timeout takes seconds, 0 or more")
    if publish and not following:
        raise click.UsageError("--publish belongs to --follow; `ipfs-logs publish` publishes once")
    stores = store_addresses(kubo, "--kubo")
    services = pin_addresses(pins, "--pin")
    shown = _Shown(json=place.json, following=following)
    with stop_on_signals() as stop:
        home = place.home_to_follow(stop) if following else place.home
        if home is None:
            return 0
        if retry_set_aside:
            home.retry_set_aside(stores)
        gone = 0
        if again is not None:
            gone = _send_again(home, again, stores, services, token, pins_token)
        if following:
            home.follow(
                stores,
                token=token,
                pins=services,
                pins_token=pins_token,
                publish=publish,
                on_shipped=shown.shipped,
                stop=stop,
            )
            return 0
        with shown:
            result = home.ship(
                stores,
                token=token,
                pins=services,
                pins_token=pins_token,
                timeout=timeout,
                on_shipped=shown.shipped,
                on_progress=shown.progress if shown.has_bar else None,
                on_keeper=shown.keeper if shown.has_bar else None,
                stop=stop,
            )
    if not result.stores:
        return _print_sealed(place, result)
    return shown.end(result) or (4 if gone else 0)


def _send_again(
    home: Home,
    again: str,
    stores: Sequence[str],
    pins: Sequence[str],
    token: str | None,
    pins_token: str | None,
) -> int:
    """Ship batches again that stores have lost; return the number of batches that cannot be sent again.

    Args:
        home: the home.
        again: the only store or pin service to ask; empty: those that ship uses.
        stores: the stores of --kubo.
        pins: the pin services of --pin.
        token: the credential of these stores.
        pins_token: the credential of these pin services.
    """
    if again.startswith(("cluster+", "remote:")):
        stores, pins = (), pin_addresses([again], "--again")
    elif again:
        stores, pins = store_addresses([again], "--again"), ()
    with Bar("checking") as bar:
        lost = home.send_again(
            stores,
            token=token,
            pins=pins,
            pins_token=pins_token,
            on_checked=lambda where, count, total: bar.update(count, total, where),
        )
    for address, batches in groupby(lost, lambda batch: batch.store):
        count = len(list(batches))
        complain(f"{address} has lost {several(count, 'batch')} that it had confirmed")
    for batch in lost:
        if not batch.can_be_sent:
            others = " and ".join(batch.elsewhere)
            where = f"only {others} has it" if others else "and no store has it any more"
            complain(f"{batch.title} cannot be sent to {batch.store}: its payload has left this home, {where}")
    return sum(batch.gone for batch in lost)


def _print_sealed(place: Place, result: ShipResult) -> int:
    """Print the number of sealed records when there is no store; return the exit code."""
    if place.json:
        put_json(result.as_json())
    archives = f" and {several(result.sealed_archives, 'archive')}" if result.sealed_archives else ""
    done = f"{several(result.sealed_records, 'record')}{archives} sealed"
    complain(f"{done}; nothing shipped: no store is configured (--kubo or IPFS_LOGS_KUBO)")
    if result.complete:
        return 2
    if result.interrupted:
        remark_interrupt(f"interrupted: {_left(result)}")
        return 130
    complain(_explain(result))
    return 4


def _left(result: ShipResult) -> str:
    """Describe the subsystems and batches that are left."""
    left = []
    if result.unsealed:
        left.append(f"{several(len(result.unsealed), 'subsystem')} not sealed")
    if result.unshipped:
        left.append(f"{several(result.unshipped, 'batch')} not shipped")
    return f"{' and '.join(left)}, {result.first_left} first"


def _explain(result: ShipResult) -> str:
    """Describe in one sentence what is left and the reason."""
    reason = result.reason
    if reason is None and result.keeper is not None:
        reason = (
            f"process {result.keeper['pid']} on {result.keeper['host']} is the keeper of this home, and did not do it "
            "in this time. Wait longer with --timeout, or stop that process and run this again."
        )
    return f"{_left(result)}: {reason or 'the timeout is over'}"


class _Shown:
    """Show each shipped batch: as JSON Lines, lines of text, or a bar on a terminal."""

    def __init__(self, *, json: bool, following: bool) -> None:
        self._json = json
        self._bar = Bar("shipping", at_once=True)
        self.has_bar = self._bar.usable and not json and not following
        """Whether a bar shows the progress; the bar needs the number of batches that are left."""
        self._shipped = 0
        self._total: int | None = None
        self._begun = time.monotonic()

    def __enter__(self) -> _Shown:
        if self.has_bar:
            self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def shipped(self, batch: ShippedBatch) -> None:
        self._shipped += 1
        if self._json:
            put_json(batch.as_json())
        elif self.has_bar:
            self._bar.update(self._shipped, self._total and max(self._total, self._shipped))
        else:
            put_line(f"{batch.subsystem} batch {batch.index} {batch.cid} to {batch.store}")
        sys.stdout.flush()

    def progress(self, shipped: int, left: int) -> None:
        self._total = shipped + left
        self._bar.update(shipped, self._total)

    def keeper(self, keeper: Mapping[str, Any]) -> None:
        self._bar.update(self._shipped, self._total, label=f"(process {keeper['pid']} on {keeper['host']} ships them)")

    def end(self, result: ShipResult) -> int:
        """Print the number of shipped batches; return the exit code."""
        if result.interrupted and not result.complete:
            remark_interrupt(f"interrupted: {_left(result)}")
            return 130
        if not result.complete:
            complain(_explain(result))
        if not self._json:
            left = len(result.unsealed) + result.unshipped
            rest = f", {left} left" if left else ""
            seconds = time.monotonic() - self._begun
            put_line(f"{several(result.shipped, 'batch')} shipped in {seconds:.1f} s{rest}")
        return 0 if result.complete else 4
