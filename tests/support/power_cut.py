"""Build what a disk may hold after a power cut, from the trace that `syscall_faults` wrote.

The trace is replayed up to any point; what was not synced by then is lost.

The model is the strict one: a write survives when its file was synced after it, a name when its directory was. Of what
was not synced, some survives by chance: of each directory the first so many changes, of each file any of its writes,
whole or in part, and holes where others are missing.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.logging_home import as_original

__all__ = ["Disk", "Event", "events"]

_ENTRY = struct.Struct("<c7xqqqq")


@dataclass(frozen=True)
class Event:
    """One change of the disk, from the trace."""

    op: str
    path: str
    other: str
    data: bytes
    offset: int


def events(trace: Path) -> Iterator[Event]:
    """Yield the changes in their order."""
    data, at = trace.read_bytes(), 0
    while at < len(data):
        op, path, other, size, offset = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        parts = []
        for length in (path, other, size):
            parts.append(data[at : at + length])
            at += length
        yield Event(op.decode(), os.fsdecode(parts[0]), os.fsdecode(parts[1]), parts[2], offset)


@dataclass
class _File:
    live: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes since the last sync: offset and bytes, or a new size and `None`."""

    def change(self, offset: int, data: bytes | None) -> None:
        _apply(self.live, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        self.synced = bytes(self.live)
        self.pending.clear()

    def after_cut(self, chance: random.Random) -> bytes:
        found = bytearray(self.synced)
        fate = chance.choice(["none", "all", "some", "some"])
        for offset, data in self.pending:
            if fate == "all" or (fate == "some" and chance.random() < 0.7):
                whole = data is None or fate == "all" or chance.random() < 0.7
                _apply(found, offset, data if whole or data is None else data[: chance.randrange(len(data) + 1)])
        return bytes(found)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    content.extend(bytes(max(0, offset - len(content))))
    if data is not None:
        content[offset : offset + len(data)] = data


@dataclass
class _Directory:
    live: dict[str, _File | _Directory] = field(default_factory=dict)
    synced: dict[str, _File | _Directory] = field(default_factory=dict)
    pending: list[dict[str, _File | _Directory | None]] = field(default_factory=list)

    def change(self, names: dict[str, _File | _Directory | None]) -> None:
        _rename(self.live, names)
        self.pending.append(names)

    def sync(self) -> None:
        self.synced = dict(self.live)
        self.pending.clear()

    def after_cut(self, chance: random.Random) -> dict[str, _File | _Directory]:
        found = dict(self.synced)
        kept = chance.choice([0, len(self.pending), chance.randrange(len(self.pending) + 1)])
        for names in self.pending[:kept]:
            _rename(found, names)
        return found


def _rename(entries: dict[str, _File | _Directory], names: dict[str, _File | _Directory | None]) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Disk:
    """A directory, rebuilt from the trace.

    Args:
        root: the directory; it and those above it survive every cut.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._top = _Directory()

    def take(self, event: Event) -> None:
        """Apply the next change."""
        directory, name = self._split(event.path)
        if directory is None:
            return  # a file that has lost its name
        node = directory.live.get(name) if name else directory
        if event.op == "O" and node is None:
            directory.change({name: _File()})
        elif event.op == "O" and event.offset and isinstance(node, _File):
            node.change(0, None)
        elif event.op == "M":
            directory.change({name: _Directory()})
        elif event.op == "U":
            directory.change({name: None})
        elif event.op == "W" and isinstance(node, _File):
            node.change(event.offset, event.data)
        elif event.op == "T" and isinstance(node, _File):
            node.change(event.offset, None)
        elif event.op == "S" and node is not None:
            node.sync()
        elif event.op in "RL" and node is not None:
            self._move(directory, name, node, event)

    def _move(self, directory: _Directory, name: str, node: _File | _Directory, event: Event) -> None:
        to, new = self._split(event.other)
        assert to is directory, "a move between directories is not in the model"
        directory.change({name: None, new: node} if event.op == "R" else {new: node})

    def _split(self, path: str) -> tuple[_Directory | None, str]:
        *parents, name = os.path.relpath(path, self._root).split("/")
        at: _File | _Directory | None = self._top
        for each in parents:
            at = at.live.get(each) if isinstance(at, _Directory) else None
        return (at, "" if name == "." else name) if isinstance(at, _Directory) else (None, name)

    def synced(self, path: str) -> bytes | None:
        """Return what a file contains at least after a cut now; `None` if the file may be missing."""
        at: _File | _Directory | None = self._top
        for each in path.split("/"):
            at = at.synced.get(each) if isinstance(at, _Directory) else None
        return at.synced if isinstance(at, _File) else None

    def cut(self, to: Path, chance: random.Random) -> None:
        """Write a directory as it may be after a power cut now."""
        _write(self._top, to, chance)


def _write(directory: _Directory, to: Path, chance: random.Random) -> None:
    to.mkdir(mode=0o700)
    for name, node in directory.after_cut(chance).items():
        if isinstance(node, _Directory):
            _write(node, to / name, chance)
        else:
            path = to / name
            path.write_bytes(node.after_cut(chance))
            path.chmod(0o600)
    as_original(to)
