"""`ipfs-logs archive`: files and directories become batches of their own."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.archiver import Archiver, Facts, bytes_at
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import byte_bar, neutral, put_json, size
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.archives import Archive
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper.loop import NoGuest
from ipfs_log_handlers.keeper.thread import keep_now
from ipfs_log_handlers.reading.archives import Version, versions

__all__ = ["command"]

_PATIENCE: Final = 30.0


@click.command("archive")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@click.option("--subsystem", default="logs", show_default=True, metavar="NAME", help="Into whose log it goes.")
@click.option("--name", metavar="NAME", help="What it is a version of; default: component, or last part of PATH.")
@click.option("--version", metavar="VERSION", help="Which version it is; default: the next number.")
@click.option("--component", metavar="NAME", help="Which part of a program it is of.")
@click.option("--meta", "pairs", multiple=True, metavar="KEY=VALUE", help="Anything else that its manifest shall say.")
@verb
def command(
    place: Place,
    paths: tuple[Path, ...],
    subsystem: str,
    name: str | None,
    version: str | None,
    component: str | None,
    pairs: tuple[str, ...],
) -> int:
    """Archive files and directories, each as a batch of its own under the CID that `ipfs add` would give.

    A directory is archived with everything in it, hidden files too; symbolic links in it are kept as links. A home
    that --home or IPFS_LOGS_HOME names is made if it is not there. The batch is sealed at once, unless another process
    keeps the home: then that one does.
    """
    if name is not None and len(paths) > 1:
        raise click.UsageError("--name is for one PATH; several have the names that they end in")
    metadata = dict(_pair(each) for each in pairs)
    home = place.home_to_make
    archiver = Archiver(home, subsystems.get(subsystem), Settings(home=home.path), lambda: None)
    made: list[tuple[Path, Archive]] = []
    for path in paths:
        called = name or (component if len(paths) == 1 else None) or path.resolve().name
        history = [each for each in versions(home, [subsystem]) if each.name == called] if home.path.is_dir() else []
        facts = _facts(history, called, version, component, metadata)
        with _progress(path) as progress:
            made.append((path, archiver.put(path, facts, progress, functools.partial(_check, facts, history))))
    keep_now(home, NoGuest(), timeout=_PATIENCE, stores=(), patient=False)
    _print(place, home, subsystem, made)
    return 0


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"--meta takes KEY=VALUE, not {text!r}")
    return key, value


def _facts(
    history: Sequence[Version], name: str, version: str | None, component: str | None, metadata: dict[str, str]
) -> Facts:
    """What is said of an archive; the newest one of that name is its parent, the next free number its version."""
    used = {each.version for each in history}
    numbers = map(str, itertools.count(len(history) + 1))
    return Facts(
        name=name,
        version=version or next(number for number in numbers if number not in used),
        parent=history[-1].root.text if history else None,
        component=component,
        metadata=metadata,
    )


def _check(facts: Facts, history: Sequence[Version], root: Cid) -> None:
    """Refuse a version that is there already with another content: `--as-of` could give one of them only."""
    for each in history:
        if each.version == facts.version and each.root != root:
            raise click.UsageError(
                f"{facts.name} has a version {facts.version} already ({each.root}); "
                "give another --version, or none to number it"
            )


@contextlib.contextmanager
def _progress(path: Path) -> Iterator[Any]:
    """What an archiver tells of its bytes; a bar where somebody watches."""
    bar = byte_bar(neutral(path.name))
    if bar is None:
        yield None
        return
    with bar:
        task = bar.add_task("bytes", total=bytes_at(path))
        yield lambda count: bar.advance(task, count)


def _print(place: Place, home: Home, subsystem: str, made: Sequence[tuple[Path, Archive]]) -> None:
    known = {each.archive: each for each in versions(home, [subsystem])}
    for path, archive in made:
        found = known[str(archive.name)]
        if place.json:
            put_json({"path": str(path), **found.as_json()})
        else:
            about = f"{found.kind}, {size(archive.size)}, {found.state}"
            click.echo(neutral(f"{found.name} {found.version}: {about}: {found.root}"))
