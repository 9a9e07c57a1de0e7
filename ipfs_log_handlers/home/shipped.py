"""Marks: what each store has confirmed of a log, what is set aside, and what went wrong last.

A mark is written after the store's answer and without a sync: losing one costs a second upload of the same bytes,
which is harmless. It can never be ahead of the `head`, because a batch is shipped only when the head names it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk

__all__ = ["Aside", "Mark", "Trouble", "load", "load_all", "store"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Aside:
    """A batch that the store named as bad, twice."""

    index: int
    """Its number."""
    reason: str
    """The store's words."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The last thing that went wrong with a store."""

    kind: Literal["refused", "silent", "unavailable", "denied", "rejected"]
    """`refused`: nobody listens there; `silent`: no answer in time; `denied`: token, origin or address is wrong."""
    message: str
    """In words."""
    at: float
    """When, seconds since 1970."""
    next_retry: float
    """When the next try is due, seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one store has confirmed of one log."""

    log: str
    """The log."""
    address: str
    """The store's address, without credentials."""
    upto: int = -1
    """All batches up to this one are confirmed or set aside."""
    beyond: tuple[int, ...] = ()
    """Confirmed batches above `upto`, in order."""
    aside: tuple[Aside, ...] = ()
    """Batches set aside."""
    head: str | None = None
    """CID of the head block that is pinned there."""
    trouble: Trouble | None = None
    """What went wrong last; `None` after a success."""

    def __post_init__(self) -> None:
        indexes = (self.upto, *self.beyond, *(each.index for each in self.aside))
        if not all(type(each) is int and each >= -1 for each in indexes):
            raise FormatError("a batch number in a mark is none", found=repr(indexes)[:200])
        texts = (self.log, self.address, self.head or "", *(each.reason for each in self.aside))
        if not all(isinstance(each, str) for each in texts):
            raise FormatError("names and reasons in a mark are text", found=repr(texts)[:200])
        if self.trouble is not None and not isinstance(self.trouble.at + self.trouble.next_retry, (int, float)):
            raise FormatError("the times of a trouble are numbers", found=repr(self.trouble)[:200])

    def has(self, index: int) -> bool:
        """Whether the store has confirmed a batch."""
        if index > self.upto:
            return index in self.beyond
        return all(aside.index != index for aside in self.aside)

    def settled(self, index: int) -> bool:
        """Whether there is nothing left to do for a batch: confirmed or set aside."""
        return index <= self.upto or index in self.beyond or any(aside.index == index for aside in self.aside)

    def missing(self, newest: int) -> list[int]:
        """The batches up to `newest` that are still to be shipped."""
        return [index for index in range(self.upto + 1, newest + 1) if not self.settled(index)]

    def confirm(self, indexes: Iterable[int]) -> Mark:
        """The mark after these were confirmed."""
        return self._moved(set(self.beyond) | set(indexes), self.aside)

    def set_aside(self, index: int, reason: str) -> Mark:
        """The mark after a batch was found to be poison."""
        return self._moved(set(self.beyond), (*self.aside, Aside(index, reason)))

    def retried(self) -> Mark:
        """The mark with nothing set aside: those batches are to be shipped once more."""
        again = {each.index for each in self.aside}
        upto = min([self.upto, *(index - 1 for index in again)])
        confirmed = set(self.beyond) | (set(range(upto + 1, self.upto + 1)) - again)
        return replace(self, upto=upto, beyond=(), aside=()).confirm(confirmed)

    def _moved(self, beyond: set[int], aside: tuple[Aside, ...]) -> Mark:
        upto = self.upto
        settled = beyond | {each.index for each in aside}
        while upto + 1 in settled:
            upto += 1
        return replace(self, upto=upto, beyond=tuple(sorted(i for i in beyond if i > upto)), aside=aside)

    def encode(self) -> bytes:
        """The content of the file."""
        members: dict[str, Any] = {"v": _VERSION, "log": self.log, "address": self.address, "upto": self.upto}
        members["beyond"] = list(self.beyond)
        members["aside"] = [[each.index, each.reason] for each in self.aside]
        members["head"] = self.head
        trouble = self.trouble
        members["trouble"] = trouble and [trouble.kind, trouble.message, trouble.at, trouble.next_retry]
        return line.record(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, data: bytes) -> Mark:
        """Parse the content of the file.

        Raises:
            FormatError: it is damaged or of another version.
        """
        try:
            members = json.loads(line.decode(data.removesuffix(b"\n")).json)
            if members.pop("v") != _VERSION:
                raise FormatError("a mark of another version")
            members["beyond"] = tuple(members["beyond"])
            members["aside"] = tuple(Aside(*each) for each in members["aside"])
            members["trouble"] = members["trouble"] and Trouble(*members["trouble"])
            return cls(**members)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("not the mark of a store", found=repr(data[:80])) from error


def load(directory: Path, store_name: str, log: str, address: str) -> Mark:
    """The mark of a store; a fresh one when there is none, when it is damaged or a link, or speaks of another log.

    Raises:
        OSError: it cannot be read.
    """
    try:
        found = Mark.decode(disk.read(directory / store_name))
    except FormatError:
        found = None
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP}:
            raise
        found = None
    return found if found is not None and found.log == log else Mark(log=log, address=address)


def load_all(directory: Path) -> dict[str, Mark]:
    """Every readable mark, by store name."""
    found: dict[str, Mark] = {}
    try:
        entries = [each for each in directory.iterdir() if not each.name.endswith(".tmp")]
    except FileNotFoundError:
        return found
    for entry in entries:
        try:
            found[entry.name] = Mark.decode(disk.read(entry))
        except (FormatError, OSError):
            continue
    return found


def store(directory: Path, store_name: str, mark: Mark) -> None:
    """Replace the mark of a store."""
    disk.ensure_directory(directory)
    disk.replace(directory / store_name, mark.encode(), sync=False)
