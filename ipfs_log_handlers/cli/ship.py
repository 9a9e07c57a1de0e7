"""`ipfs-logs ship`: seal what waits and ship it, once or for as long as it runs."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import click

from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import bar, complain, neutral, put_json, several
from ipfs_log_handlers.cli.work import Shipping, follow, retry_set_aside
from ipfs_log_handlers.keeper.ship import Delivered
from ipfs_log_handlers.stores.address import normalise

__all__ = ["command"]

_RECOUNT: Final = 0.5


@click.command("ship")
@click.option("--kubo", multiple=True, metavar="URL", help="Ship here instead of to the configured stores.")
@click.option("--token", metavar="TOKEN", help="bearer:…, basic:…, env:NAME or file:PATH.")
@click.option(
    "--follow", "following", is_flag=True, help="Go on until interrupted: the keeper beside programs without one."
)
@click.option(
    "--timeout", default=30.0, show_default=True, metavar="SECONDS", help="Give up after so long without success."
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
    """Seal what waits, then ship it to the stores given or configured.

    Exit code 0 when nothing is left, 4 when something is. Where another process keeps the home, it is asked to do it.
    """
    if not timeout >= 0:
        raise click.UsageError("--timeout takes seconds, 0 or more")
    home = place.home
    given = tuple(dict.fromkeys(map(normalise, kubo))) or None
    shown = _Shown(json=place.json)
    if again:
        retry_set_aside(home, given)
    if following:
        return follow(home, given, token, shown.delivered)
    shipping = Shipping(home, given, token, shown.delivered)
    shipping.need_stores()
    with shown.watching(shipping):
        code = shipping.run(timeout)
    shown.end(shipping)
    return code


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
