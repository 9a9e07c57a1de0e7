"""Where things lie in a home; paths and names, nothing else.

<home>/                      Home
  writer.key keeper.lock reserve requests/
  <subsystem>/               Room
    settings.json spool/ archived/ quarantine/
    batches/ head shipped/   Shelf: the current log
    former/<n>-<8 hex>/      Shelf: a log that ended when the home was copied or lost its head
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Home", "Room", "Shelf"]

_NAME: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_FORMER: Final = re.compile(r"([0-9]{3,6})-[0-9a-f]{8}", re.ASCII)
_OURS: Final = ("spool", "settings.json", "head", "batches", "shipped", "archived", "former", "quarantine")
"""What a subsystem's directory holds one of; that which nearly each has comes first."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The files of one log: its batches, its head, and what each store has confirmed of it."""

    path: Path
    """Directory of the subsystem, or of a former log below it."""

    @property
    def batches(self) -> Path:
        """Directory of the sealed batches."""
        return self.path / "batches"

    @property
    def head(self) -> Path:
        """File of the newest head block and the consumed offsets."""
        return self.path / "head"

    @property
    def shipped(self) -> Path:
        """Directory of marks, one for each store."""
        return self.path / "shipped"


@dataclass(frozen=True, slots=True)
class Room:
    """The directory of one subsystem."""

    path: Path
    """`<home>/<subsystem>`."""

    @property
    def name(self) -> str:
        """The subsystem."""
        return self.path.name

    @property
    def spool(self) -> Path:
        """Directory of segments."""
        return self.path / "spool"

    @property
    def archived(self) -> Path:
        """Directory of archives that wait for their batch."""
        return self.path / "archived"

    @property
    def quarantine(self) -> Path:
        """Directory of damaged bytes."""
        return self.path / "quarantine"

    @property
    def settings(self) -> Path:
        """File of batch policy and store addresses."""
        return self.path / "settings.json"

    @property
    def beginning(self) -> Path:
        """File that stands while the first batch of a log is sealed: until the head is there, a batch 0 is no loss."""
        return self.path / "beginning"

    @property
    def former(self) -> Path:
        """Directory of logs that have ended."""
        return self.path / "former"

    @property
    def current(self) -> Shelf:
        """The log that grows."""
        return Shelf(self.path)

    def former_shelves(self) -> list[Shelf]:
        """The logs that have ended, oldest first."""
        found = [(int(match[1]), name) for name in _listed(self.former) if (match := _FORMER.fullmatch(name))]
        return [Shelf(self.former / name) for _, name in sorted(found)]

    def next_former(self, draw: str) -> Shelf:
        """Where the current log goes when it ends; `draw` are the eight hex digits of its name."""
        found = [int(match[1]) for name in _listed(self.former) if (match := _FORMER.fullmatch(name))]
        return Shelf(self.former / f"{max(found, default=-1) + 1:03}-{draw}")

    def shelves(self) -> list[Shelf]:
        """All logs of the subsystem, oldest first, the current one last."""
        return [*self.former_shelves(), self.current]


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of it all."""

    path: Path
    """Absolute path."""

    @property
    def key(self) -> Path:
        """File of the signing key."""
        return self.path / "writer.key"

    @property
    def lock(self) -> Path:
        """File whose lock makes its holder the keeper."""
        return self.path / "keeper.lock"

    @property
    def reserve(self) -> Path:
        """File whose space sealing may use when the disk is full."""
        return self.path / "reserve"

    @property
    def requests(self) -> Path:
        """Directory in which other processes ask the keeper to seal and ship now."""
        return self.path / "requests"

    def room(self, subsystem: str) -> Room:
        """The directory of a subsystem, there or not. The name must be a registered one."""
        return Room(self.path / subsystem)

    def rooms(self) -> list[Room]:
        """The subsystems that have a directory here with something of ours in it, by name."""
        try:
            with os.scandir(self.path) as found:
                entries = list(found)  # the descriptor is held no longer than that: a program may close all that it has
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [Room(self.path / name) for name in sorted(entry.name for entry in entries if _is_room(entry))]


def _is_room(entry: os.DirEntry[str]) -> bool:
    if not _NAME.fullmatch(entry.name) or entry.name in {"requests", "reserve"}:
        return False
    return entry.is_dir(follow_symlinks=False) and any(os.path.lexists(f"{entry.path}/{name}") for name in _OURS)


def _listed(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
