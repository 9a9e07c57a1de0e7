"""Share the options that choose where records are read, and how much of them is verified."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from ipfs_log_handlers.cli.common import Place, Reader, identity_options

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Gap

__all__ = ["SOURCE_OPTIONS", "SourceChoice", "source_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChoice:
    """The sources that the command line gives; none: the home."""

    sources: tuple[str, ...]
    kubo: str | None
    gateway: str | None
    keys: tuple[str, ...]
    verify: Literal["off", "batch", "chain"]
    fetch: bool
    reader: Reader
    """The identities that open encrypted batches."""

    def open(self, place: Place, on_gap: Callable[[Gap], None]) -> Dataset:
        """Open the records.

        Args:
            place: the home, if no source is given.
            on_gap: called with each gap; reading continues after it.

        Raises:
            ConfigurationError, HomeError: a source cannot be opened.
        """
        how: dict[str, Any] = {"verify": self.verify, "keys": self.keys, "fetch": self.fetch, **self.reader._asdict()}
        if not self.sources:
            return place.home.dataset(on_gap=on_gap, **how)
        from ipfs_log_handlers.api import open_dataset

        return open_dataset(self.sources, on_gap=on_gap, kubo=self.kubo, gateway=self.gateway, **how)


SOURCE_OPTIONS = (
    click.option(
        "--source", "sources", multiple=True, metavar="SOURCE", help="Read this home, CAR or CID; repeatable."
    ),
    click.option("--kubo", metavar="URL", help="The daemon to ask for the blocks of a CID."),
    click.option("--gateway", metavar="URL", help="The HTTP gateway to ask for these blocks."),
    click.option("--key", "keys", multiple=True, metavar="VKEY", help="Trust only this verifier key."),
    click.option(
        "--verify",
        type=click.Choice(["off", "batch", "chain"]),
        default="batch",
        help="How much to verify; default: batch.",
    ),
    click.option("--fetch", is_flag=True, help="Also ask daemons whose address comes only from the home."),
)
"""In the order of `--help`."""
_NAMES = ("sources", "kubo", "gateway", "keys", "verify", "fetch")


def source_options(
    function: Callable[..., Any], options: tuple[Callable[..., Any], ...] = SOURCE_OPTIONS
) -> Callable[..., Any]:
    """Add the options that choose sources to a command, and pass it a `SourceChoice` as `chosen`.

    Args:
        function: the command, whose first argument is its `Place`.
        options: these options, with others of the command between which they stand in `--help`.
    """

    @functools.wraps(function)
    def wrapped(place: Place, *, reader: Reader, **given: Any) -> Any:
        chosen = SourceChoice(**{name: given.pop(name) for name in _NAMES}, reader=reader)
        if chosen.sources and place.given is not None:
            raise click.UsageError("--source and --home both choose the records: leave one of them out")
        return function(place, chosen=chosen, **given)

    made = identity_options(wrapped)
    for option in reversed(options):
        made = option(made)
    return made
