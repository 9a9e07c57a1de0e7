"""What all verbs share: `--home` and `-o` behind the verb too, and how a home and its subsystems are found."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ipfs_log_handlers.config import homes_directory
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import archives, lock, segments
from ipfs_log_handlers.home.batch_files import BatchFiles
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.home.lock import KeeperLock

__all__ = ["Place", "chosen_rooms", "subsystems_argument", "take_lock", "verb"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a verb works, and how it answers."""

    given: str | None
    """The home that was named, if one was."""
    output: str
    """How to print: `text`, `json`, or what the verb alone knows."""
    asked: bool = True
    """Whether `-o` said so, or it follows from where stdout goes."""

    @property
    def json(self) -> bool:
        """JSON Lines instead of text."""
        return self.output == "json"

    @property
    def home(self) -> Home:
        """The home.

        Raises:
            click.UsageError: there is none, or more than one and none was named, or it is no home.
        """
        found = self.home_to_make
        if not found.path.is_dir():
            raise click.UsageError(f"there is no home at {found.path}")
        if not (_is_home(found) or _is_empty(found.path)):
            raise click.UsageError(f"{found.path} is no home of ipfs-logs: no log lies in it")
        return found

    @property
    def home_to_make(self) -> Home:
        """The home, which need not be there yet where one was named.

        Raises:
            click.UsageError: none was named, and there is none, or more than one; or the name is empty.
        """
        if self.given == "":
            raise click.UsageError("--home is empty")
        named = self.given or os.environ.get("IPFS_LOGS_HOME")
        return Home(Path(named).expanduser().absolute() if named else _only_home())


def _is_home(home: Home) -> bool:
    """Whether a keeper has been here, or a log lies here.

    Where no keeper has been, names alone prove nothing: `/var` has a `spool`, and `/usr/bin` a `head`.
    """
    return home.key.exists() or home.lock.exists() or any(map(_holds_a_log, home.rooms()))


def _holds_a_log(room: Room) -> bool:
    with contextlib.suppress(OSError):
        return bool(
            segments.listing(room.spool)
            or archives.listing(room.archived)
            or BatchFiles(room.current.batches).indexes()
            or room.former_shelves()
        )
    return False


def _is_empty(path: Path) -> bool:
    """Whether a directory may become a home: hidden files, and what `mkfs` leaves, do not count."""
    return all(name.startswith(".") or name == "lost+found" for name in os.listdir(path))


def _only_home() -> Path:
    where = homes_directory()
    try:
        homes = sorted(each for each in where.iterdir() if each.is_dir())
    except OSError:
        homes = []
    if len(homes) == 1:
        return homes[0]
    if not homes:
        raise click.UsageError(f"there is no home under {where}; name one with --home or IPFS_LOGS_HOME")
    listed = ", ".join(map(str, homes))
    raise click.UsageError(f"there are {len(homes)} homes; name one with --home or IPFS_LOGS_HOME: {listed}")


def verb(function: Callable[..., Any], *, also: Sequence[str] = ()) -> Callable[..., Any]:
    """Give a command `--home` and `-o` of its own, and pass it its `Place` as the first argument.

    Args:
        function: the command.
        also: forms of output that this verb knows beside text and JSON Lines.
    """

    @click.option("--home", metavar="DIR", help="The home.")
    @click.option("-o", "--output", type=click.Choice(["text", "json", *also]), help="How to print.")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(ctx: click.Context, /, home: str | None, output: str | None, **rest: Any) -> Any:
        outer = ctx.find_root().obj or {}
        asked = output or outer.get("output")
        where = outer.get("home") if home is None else home
        place = Place(where, asked or ("text" if sys.stdout.isatty() else "json"), bool(asked))
        return function(place, **rest)

    return wrapped


subsystems_argument = click.argument("subsystems", nargs=-1, metavar="[SUBSYSTEM]...")


def chosen_rooms(home: Home, subsystems: Sequence[str]) -> list[Room]:
    """The rooms of the named subsystems, in that order; all of them when none is named.

    Raises:
        click.UsageError: the home has no such subsystem.
    """
    rooms = {room.name: room for room in home.rooms()}
    unknown = [name for name in subsystems if name not in rooms]
    if unknown:
        known = ", ".join(rooms) or "none"
        raise click.UsageError(f"no subsystem {', '.join(map(repr, unknown))} in {home.path}; there are: {known}")
    return [rooms[name] for name in dict.fromkeys(subsystems)] if subsystems else list(rooms.values())


def take_lock(home: Home, hint: str) -> KeeperLock:
    """The keeper's lock, for a verb that cannot work beside a keeper.

    Args:
        home: the home.
        hint: what to do where another process has it.

    Raises:
        HomeError: another process keeps the home.
    """
    held = lock.take(home)
    if held is None:
        who = lock.holder(home) or {"pid": "unknown", "host": "an unknown host"}
        raise HomeError(
            "another process keeps this home", where=home.path, found=f"pid {who['pid']} on {who['host']}", hint=hint
        )
    return held
