"""`ipfs-logs ship`: seal what waits and ship it, once or for as long as it runs."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import click

from ipfs_log_handlers.cli.addresses import NONE, addresses_of, given_addresses
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import bar, complain, neutral, put_json, several
from ipfs_log_handlers.cli.work import Shipping, follow, retry_set_aside
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper.ship import Delivered
from ipfs_log_handlers.status import status

__all__ = ["command"]

_RECOUNT: Final = 0.5


@click.command("ship")
@click.option("--kubo", multiple=True, metavar="URL", help="Ship here instead of to the configured stores.")
@click.option("--token", metavar="TOKEN", help="bearer:…, basic:…, env:NAME or file:PATH.")
@click.option(
    "--follow", "following", is_flag=True, help="Go on until interrupted: the keeper beside programs without one."
)
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long without success; each run tries once.",
)
@click.option("--retry-set-aside", "again", is_flag=True, help="Send the batches once more that stores set aside.")
@verb
def command(
    place: Place,
    kubo: tuple[str, ...],
    token: str | None,
    following: bool,  # noqa: FBT001
    timeout: float,
    again: bool,  # noqa: FBT001
) -> int:
    """Seal what waits, then ship it to the stores of --kubo, else the configured ones, else IPFS_LOGS_KUBO.

    Exit code 0 when nothing is left, 4 when something is, 2 when there is no store: what waits is sealed all the same.
    Where another process keeps the home, it is asked to do it.
    """
    if not timeout >= 0:
        raise click.UsageError("--timeout takes seconds, 0 or more")
    home = place.home
    shown = _Shown(json=place.json)
    if again:
        retry_set_aside(home, given_addresses(kubo))
    if following:
        return follow(home, kubo, token, shown.delivered)
    stores = addresses_of(home, kubo)
    shipping = Shipping(home, stores.instead, token, shown.delivered)
    if not stores.all:
        return _seal(place, home, shipping, timeout)
    with shown.watching(shipping):
        code = shipping.run(timeout)
    shown.end(shipping)
    return code


def _seal(place: Place, home: Home, shipping: Shipping, timeout: float) -> int:
    """Seal what waits where nothing can be shipped; the exit code says that this was not what was asked for."""
    before = status(home.path)
    code = shipping.run(timeout)
    after = status(home.path)
    records = _sum(after, "sealed") - _sum(before, "sealed")
    archives = max(0, _sum(before, "archives_waiting") - _sum(after, "archives_waiting"))
    if place.json:
        put_json({"sealed": records, "archives": archives, "shipped": 0})
    done = several(records, "record") + (f" and {several(archives, 'archive')}" if archives else "")
    complain(f"{done} sealed; nothing shipped: {NONE}")
    if code == 0:
        return 2
    complain(shipping.why())
    return code


def _sum(found: list[dict[str, Any]], name: str) -> int:
    return sum(each[name] for each in found)


class _Shown:
    """What was delivered, as it is told: lines, or a bar where somebody watches."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._bar: Any = None
        self._task: Any = None
        self._shipping: Shipping | None = None
        self._batches = self._total = 0
        self._recount = 0.0
        self._begun = time.monotonic()

    def watching(self, shipping: Shipping) -> _Shown:
        self._shipping = shipping
        if not self._json:
            self._bar = bar("shipping")
        return self

    def __enter__(self) -> _Shown:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("batches", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def delivered(self, each: Delivered) -> None:
        self._batches += 1
        if self._json:
            members = {name: getattr(each, name) for name in ("subsystem", "index", "cid", "store", "seconds")}
            put_json(members | {"seconds": round(each.seconds, 6)})
            sys.stdout.buffer.flush()
        elif self._bar is None:
            click.echo(neutral(f"{each.subsystem} batch {each.index} {each.cid} to {each.store}"))
        elif self._shipping is not None:
            now = time.monotonic()
            if now >= self._recount:
                self._recount = now + _RECOUNT
                self._total = self._batches + self._shipping.left()
            self._bar.update(self._task, completed=self._batches, total=max(self._total, self._batches))

    def end(self, shipping: Shipping) -> None:
        left = shipping.left()
        if left:
            complain(shipping.why())
        if not self._json:
            took = time.monotonic() - self._begun
            rest = f", {left} left" if left else ""
            click.echo(f"{several(self._batches, 'batch')} shipped in {took:.1f} s{rest}")
