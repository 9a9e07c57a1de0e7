"""What `ipfs-logs cat` does with an archive: its bytes, each block verified before it is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from ipfs_log_handlers.cli.output import complain, neutral, put_bytes
from ipfs_log_handlers.format import directory
from ipfs_log_handlers.format.directory import Entry
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.reading.archives import Get, Version, as_of, entry_at, opened, restore, versions

__all__ = ["chosen", "put"]

_SHOWN = 20


def chosen(home: Home, name: str, when: str | None) -> Version | None:
    """The version of NAME that is meant; what is wrong with the question is told."""
    history = [each for each in versions(home) if each.name == name]
    if not history:
        complain(f"nothing was archived as {name!r} in {home.path}; `ipfs-logs log` lists what was")
        return None
    found = as_of(history, when)
    if found is None:
        known = ", ".join(dict.fromkeys(each.version or each.archived for each in history))
        complain(f"{name} has no version as of {when!r}; it has {known}")
    return found


def put(version: Version, path: str, target: Path | None) -> int:
    """Print a file, or write a file or directory to a path; the exit code.

    Args:
        version: the archive.
        path: what of it, when it is a directory; empty: all of it.
        target: where to write; `None`: to stdout.
    """
    with opened(version) as get:
        entry = entry_at(version, get, path)
        if entry is None and version.kind == "file":
            raise click.UsageError(f"{version.name or version.root} is a file, not a directory: leave out --path")
        if entry is None:
            complain(f"there is no {path} in {version.name or version.root}; there is {_names(version, get)}")
            return 1
        if target is not None:
            part = version if not entry.path else replace(version, root=entry.cid, size=None)
            restore(part, get, target)
        elif entry.kind == "file":
            _print(entry.read(get, max_bytes=version.size if version.size is not None else 1 << 40))
        else:
            what = "a directory" if entry.kind == "directory" else f"a symbolic link to {entry.target}"
            raise click.UsageError(
                f"{path or version.name or version.root} is {what}: write it somewhere with --to PATH, or name a file "
                f"in it with --path; there is {_names(version, get)}"
            )
    return 0


def _names(version: Version, get: Get) -> str:
    """Some of the files in it."""
    found: list[str] = []
    for entry in directory.walk(version.root, get):
        if entry.kind == "file":
            found.append(_joined(entry))
        if len(found) > _SHOWN:
            return ", ".join([*found[:_SHOWN], "…"])
    return ", ".join(found) or "no file"


def _joined(entry: Entry) -> str:
    return "/".join(entry.path)


def _print(pieces: Iterable[bytes]) -> None:
    """The bytes as they are; to a terminal as text that it does not obey."""
    if not sys.stdout.isatty():
        for piece in pieces:
            put_bytes(piece)
        return
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            put_bytes(neutral(line.decode("utf-8", "backslashreplace")).encode() + b"\n")
    if held:
        put_bytes(neutral(held.decode("utf-8", "backslashreplace")).encode() + b"\n")
