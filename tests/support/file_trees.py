"""Make trees of files: on a disk, and as blocks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipfs_log_handlers.format import unixfs
from ipfs_log_handlers.format.cid import DAG_PB, Cid
from ipfs_log_handlers.format.directory import Directory, Link, Symlink

__all__ = ["NESTED", "blocks", "on_disk", "read"]

Tree = Mapping[str, Any]
"""Names to bytes (a file), text (where a symbolic link points) or another tree."""

NESTED: Tree = {
    "empty": b"",
    "empty-directory": {},
    ".hidden": b"hidden",
    "a": {"b": {"c": {"deep.log": b"deep\n" * 100}}},
    "a.b": b"sorts between",
    "B": b"capital",
    "grüße-日本-😀.log": b"unicode",
    "with space and\nline": b"odd",
    "same": b"hidden",
    "large.log": b"0123456789abcde\n" * (70 << 10),
    "latest": "a.b",
    "dangling": "../nowhere/at/all",
}
"""Every kind of entry that a directory can have."""


def on_disk(path: Path, tree: Tree) -> Path:
    """Make a directory and write a tree into it; return its path."""
    path.mkdir()
    for name, what in tree.items():
        if isinstance(what, bytes):
            (path / name).write_bytes(what)
        elif isinstance(what, str):
            (path / name).symlink_to(what)
        else:
            on_disk(path / name, what)
    return path


def read(path: Path) -> dict[str, Any]:
    """Return the tree on the disk below a directory."""
    found: dict[str, Any] = {}
    for name in os.listdir(path):
        each = path / name
        found[name] = os.readlink(each) if each.is_symlink() else read(each) if each.is_dir() else each.read_bytes()
    return found


def blocks(tree: Tree) -> tuple[Cid, dict[Cid, bytes]]:
    """Return the root and the blocks of a tree."""
    found: dict[Cid, bytes] = {}
    return _add(tree, found)[0], found


def _add(what: Any, found: dict[Cid, bytes]) -> tuple[Cid, int]:
    """Add the blocks of one entry; return its CID and the number of bytes in all its blocks."""
    below = 0
    if isinstance(what, bytes):
        made = list(unixfs.build([what]))
    else:
        links = () if isinstance(what, str) else [Link(name, *_add(each, found)) for name, each in what.items()]
        below = sum(link.tsize for link in links)
        block = Symlink(what).encode() if isinstance(what, str) else Directory.of(links).encode()
        made = [(Cid.of(DAG_PB, block), block)]
    found.update(made)
    return made[-1][0], below + sum(len(block) for _, block in made)
