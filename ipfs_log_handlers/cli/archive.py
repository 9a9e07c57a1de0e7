"""`ipfs-logs archive`: archive files and directories as batches of their own."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from ipfs_log_handlers.api import Version, bytes_at
from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import put_json, put_line, size

__all__ = ["command"]


@click.command("archive")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@click.option("--subsystem", default="logs", show_default=True, metavar="NAME", help="Subsystem to store it in.")
@click.option(
    "--name", metavar="NAME", help="Name shared by all versions; default: the component, else the last part of PATH."
)
@click.option("--version", metavar="VERSION", help="Version; default: the next number.")
@click.option("--component", metavar="NAME", help="Component label.")
@click.option("--meta", "pairs", multiple=True, metavar="KEY=VALUE", help="Extra metadata.")
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
    """Archive files and directories, each as a batch of its own with the CID that `ipfs add` would give.

    A directory is archived with all its files, hidden files too; symbolic links in it are stored as links. If the home
    of --home or IPFS_LOGS_HOME is missing, it is made. The batch is sealed at once; if another process is the keeper of
    the home, that process seals it.
    """
    if name is not None and len(paths) > 1:
        raise click.UsageError(
            "--name needs a single PATH; archives of several paths are named by the last part of each path"
        )
    metadata = dict(_pair(text) for text in pairs)
    home = place.home_to_make
    for path in paths:
        total = bytes_at(path)
        with Bar(path.name, bytes_unit=True) as shown:
            made = home.archive(
                path,
                subsystem=subsystem,
                name=name or (component if len(paths) == 1 else None),
                version=version,
                component=component,
                metadata=metadata,
                progress=functools.partial(_advance, shown, total),
            )
        _print(place, path, made)
    return 0


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"--meta takes KEY=VALUE, not {text!r}")
    return key, value


def _advance(shown: Bar, total: int, step: int) -> None:
    shown.advance(step, total)


def _print(place: Place, path: Path, version: Version) -> None:
    if place.json:
        put_json({"path": str(path), **version.as_json()})
    else:
        about = f"{version.kind}, {size(version.size or 0)}, {version.state}"
        put_line(f"{version.name} {version.version}: {about}: {version.root}")
