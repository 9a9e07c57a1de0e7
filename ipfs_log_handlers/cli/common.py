"""Share what all verbs need: `--home` and `-o` before and after the verb, and the home that they name."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ipfs_log_handlers.cli.output import complain, remark, several

if TYPE_CHECKING:  # a verb imports its modules when it runs, so that `--help` is quick
    from ipfs_log_handlers.api import Gap, GapKind, Home, Stop, Version

__all__ = [
    "GapList",
    "Place",
    "Reader",
    "explain_empty",
    "identity_options",
    "subsystems_argument",
    "tell_closed",
    "verb",
]


@dataclass(frozen=True, slots=True)
class Place:
    """The home that a verb works on, and the form of its output."""

    given: str | None
    """The directory given with `--home`; `None`: the option was not given."""
    output: str
    """`text`, `json`, or a form that only this verb has."""
    output_was_given: bool = True
    """Whether `-o` was given; otherwise stdout decides the form: text on a terminal, else JSON Lines."""

    @property
    def json(self) -> bool:
        """Whether to print JSON Lines."""
        return self.output == "json"

    @property
    def home(self) -> Home:
        """The home.

        Raises:
            HomeError: there is no home, or there are several and `--home` was not given, or the directory is not a
                home.
        """
        return self._open(must_exist=True)

    @property
    def home_to_make(self) -> Home:
        """The home; if `--home` was given, it may be missing.

        Raises:
            HomeError: `--home` was not given, and there is no home, or there are several; or the directory is not a
                home.
        """
        return self._open(must_exist=False)

    def home_to_follow(self, stop: Stop) -> Home | None:
        """Return the home, which may be missing; without `--home`, wait until this user has a home.

        Returns:
            The home; `None` if `stop` was requested first.

        Raises:
            HomeError: there are several homes and `--home` was not given, or the directory is not a home.
        """
        from ipfs_log_handlers.api import open_home, wait_for_home

        if self.given is None:
            path = wait_for_home(stop, lambda where: remark(f"waiting for a home under {where}: there is none yet"))
            return None if path is None else open_home(path, must_exist=False)
        home = self._open(must_exist=False)
        if not home.path.is_dir():
            remark(f"waiting for the home {home.path}: nothing was logged there yet")
        return home

    def _open(self, *, must_exist: bool) -> Home:
        from ipfs_log_handlers.api import find_home, open_home

        if self.given == "":
            raise click.UsageError("--home is empty: give it a directory")
        return open_home(self.given or find_home(), must_exist=must_exist)


class GapList:
    """The gaps that a verb has met: records that could not be shown.

    Batches that no identity opens, and pruned ones, are summed up: there may be thousands of these.
    """

    def __init__(self) -> None:
        self.damaged = self.absent = 0
        self._unopened: dict[GapKind, dict[tuple[str, int | None], int]] = {"encrypted": {}, "erased": {}}
        self._told: dict[str, dict[str, int]] = {}
        self._pruned: Counter[str] = Counter()
        self._told_pruned: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self.damaged or self.absent or self._pruned or self.counts())

    def note(self, gap: Gap) -> None:
        """Report a gap on stderr; one that no identity opens, or that is pruned, is only counted."""
        if gap.kind == "pruned":
            self._pruned[gap.subsystem] += 1
            return
        if gap.kind in self._unopened:
            self._unopened[gap.kind][gap.log, gap.index] = gap.records or 0
            return
        self.damaged += gap.kind == "damaged"
        self.absent += gap.kind == "absent"
        complain(str(gap))

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many batches and records are encrypted to others, and how many are erased; empty without any."""
        return {
            kind: {"batches": len(found), "records": sum(found.values())}
            for kind, found in self._unopened.items()
            if found
        }

    def tell(self) -> None:
        """Say on stderr what was not opened, and what is pruned, if that is more than was said before."""
        for subsystem, number in self._pruned.items():
            if self._told_pruned[subsystem] != number:
                remark(
                    f"{subsystem}: {several(number, 'batch')} pruned: the records were given up, and the log says so"
                )
        self._told_pruned = self._pruned.copy()
        for kind, counts in self.counts().items():
            if self._told.get(kind) == counts:
                continue
            self._told[kind] = counts
            of = f"{several(counts['batches'], 'batch')} with {several(counts['records'], 'record')}"
            if kind == "erased":
                complain(f"erased by policy, their keys were destroyed: {of}")
            else:
                complain(f"encrypted, open them with --identity FILE or IPFS_LOGS_IDENTITY: {of}")

    def code(self) -> int:
        """Say what was not opened, and return the exit code: 3 if any gap is damage, 0 if all are pruned, else 5."""
        self.tell()
        return 3 if self.damaged else 5 if self.absent or self.counts() else 0


def tell_closed(versions: Iterable[Version]) -> bool:
    """Say on stderr how many archives have no name because no identity opens them; return whether there are any."""
    counts = Counter(version.closed for version in versions)
    if counts["encrypted"]:
        number = several(counts["encrypted"], "archive")
        complain(f"encrypted, open them with --identity FILE or IPFS_LOGS_IDENTITY: {number}")
    if counts["erased"]:
        complain(f"erased by policy, their keys were destroyed: {several(counts['erased'], 'archive')}")
    return bool(counts["encrypted"] or counts["erased"])


class Reader(NamedTuple):
    """The identities that the command line gives."""

    identity: tuple[str, ...] | None
    """Files; `None`: that of `IPFS_LOGS_IDENTITY`."""
    key_directory: str | None
    """A key directory beside that of the home."""


def identity_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that open encrypted batches to a command, and pass it a `Reader` as `reader`."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, identity: tuple[str, ...], key_directory: str | None, **rest: Any) -> Any:
        return function(*arguments, reader=Reader(identity or None, key_directory), **rest)

    for option in (
        click.option("--key-dir", "key_directory", metavar="DIR", help="Also a key directory outside of the home."),
        click.option("--identity", multiple=True, metavar="FILE", help="Open encrypted batches with this identity."),
    ):
        wrapped = option(wrapped)
    return wrapped


def explain_empty(home: Home) -> None:
    """Print that nothing was logged in a home, and the usual reason."""
    from ipfs_log_handlers.api import LEVEL_HINT

    remark(f"nothing was logged here yet: {home.path}. {LEVEL_HINT}")


def verb(function: Callable[..., Any], *, also: Sequence[str] = (), home: bool = True) -> Callable[..., Any]:
    """Give a command its own `--home` and `-o`, and pass it its `Place` as the first argument.

    Args:
        function: the command.
        also: further forms of output of this verb, besides text and JSON Lines.
        home: whether the verb works on a home.
    """

    @click.option("-o", "--output", type=click.Choice(["text", "json", *also]), help="Form of the output.")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(ctx: click.Context, /, output: str | None, home: str | None = None, **rest: Any) -> Any:
        outer = ctx.find_root().obj or {}
        given = output or outer.get("output")
        where = outer.get("home") if home is None else home
        place = Place(where, given or ("text" if sys.stdout.isatty() else "json"), bool(given))
        return function(place, **rest)

    return click.option("--home", metavar="DIR", help="The home directory.")(wrapped) if home else wrapped


def _complete_subsystem(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """List the subsystems of the home that begin with the typed text, for shell completion."""
    try:
        home = Place(ctx.params.get("home") or (ctx.find_root().params.get("home")), "text").home
        return [name for name in home.subsystems if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - shell completion cannot show an error
        return []


subsystems_argument = click.argument(
    "subsystems", nargs=-1, metavar="[SUBSYSTEM]...", shell_complete=_complete_subsystem
)
