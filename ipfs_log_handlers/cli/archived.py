"""Print the bytes of an archive for `ipfs-logs cat`; each block is verified before it is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from ipfs_log_handlers.api import Home, OpenArchive, Version
from ipfs_log_handlers.cli.common import Reader, tell_closed
from ipfs_log_handlers.cli.output import complain, neutral, put_bytes

__all__ = ["choose", "put"]

_MAX_NAMES: Final = 20
"""Number of files that an error names; further files are left out."""


def choose(home: Home, name: str, when: str | None, reader: Reader) -> Version | int:
    """Find the chosen version of NAME; if there is none, print the known versions and return the exit code."""
    version = home.archive_as_of(name, when, **reader._asdict())
    if version is None:
        every = home.archives(**reader._asdict())
        history = [version for version in every if version.name == name]
        if not history and tell_closed(every):
            return 5
        if not history:
            complain(f"{home.path} has no archive {name!r}; `ipfs-logs versions` lists all archives")
        else:
            known = ", ".join(dict.fromkeys(version.version or version.archived for version in history))
            complain(f"{name} has no version as of {when!r}; it has {known}")
        return 1
    return version


def put(home: Home, version: Version, path: str, target: Path | None, reader: Reader, *, fetch: bool) -> int:
    """Print a file, or write a file or directory to a path; return the exit code.

    Args:
        home: the home.
        version: the archive.
        path: the chosen file or directory in the archive; empty: the whole archive.
        target: where to write; `None`: to stdout.
        reader: the identities that open an encrypted archive.
        fetch: for blocks that have left the home, also ask stores whose address comes only from the home.
    """
    title = version.name or str(version.root)
    with home.open_archive(version, fetch=fetch, **reader._asdict()) as archive:
        entry = archive.entry(path)
        if entry is None and version.kind == "file":
            raise click.UsageError(f"{title} is a file, not a directory: leave out --path")
        if entry is None:
            complain(f"{title} has no file {path}; it contains {_names(archive)}")
            return 1
        if target is not None:
            archive.restore(target, entry)
        elif entry.kind == "file":
            _print(archive.read(entry))
        else:
            what = "a directory" if entry.kind == "directory" else f"a symbolic link to {entry.target}"
            raise click.UsageError(
                f"{path or title} is {what}: write it to a path with --to PATH, or name a file in it with --path; "
                f"it contains {_names(archive)}"
            )
    return 0


def _names(archive: OpenArchive) -> str:
    """Name some of the files in an archive."""
    names: list[str] = []
    for entry in archive.entries():
        if entry.kind == "file":
            names.append("/".join(entry.path))
        if len(names) > _MAX_NAMES:
            return ", ".join([*names[:_MAX_NAMES], "…"])
    return ", ".join(names) or "no file"


def _print(pieces: Iterable[bytes]) -> None:
    """Print bytes unchanged; on a terminal, print text with its control characters as escapes."""
    if not sys.stdout.isatty():
        for piece in pieces:
            put_bytes(piece)
        return
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            put_bytes(neutral(line.decode("utf-8", "backslashreplace")).encode() + b"\n")
    if rest:
        put_bytes(neutral(rest.decode("utf-8", "backslashreplace")).encode() + b"\n")
