"""The `head` file: the newest head block of a log, and how far each segment is consumed.

It is replaced in one step, so sealing and consuming are one step too: a crash anywhere yields each record exactly
once. One line, checksum and JSON, as the lines of a segment.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.home import disk

__all__ = ["Sealed", "load", "store"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """How far a log is sealed."""

    log: str
    """The log's name, the checkpoint's origin."""
    index: int
    """Number of the newest batch."""
    block: bytes
    """The newest head block."""
    consumed: Mapping[str, int] = field(default_factory=dict)
    """Offset in each segment, `<writer>-<n>`, up to which its lines are in batches."""
    records: int = 0
    """Records sealed, over the whole log."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Records that writers had to drop, by reason, over the whole log."""
    quarantined: int = 0
    """Damaged pieces set aside, over the whole log."""
    machine: str = ""
    """Machine that the log lives on."""
    inode: int = 0
    """Inode of the subsystem's directory: a copied home has another one."""

    def __post_init__(self) -> None:
        counts = (self.index, self.records, self.quarantined, self.inode)
        maps = (self.consumed, self.dropped)
        if not all(isinstance(each, Mapping) for each in maps):
            raise FormatError("offsets and counts of a head file are maps", found=repr(maps)[:200])
        numbers = [*counts, *(number for each in maps for number in each.values())]
        if not all(type(each) is int and each >= 0 for each in numbers):
            raise FormatError("a number of a head file is none", found=repr(numbers)[:200])
        if not isinstance(self.log, str) or not isinstance(self.machine, str):
            raise FormatError("names in a head file are text", found=repr((self.log, self.machine))[:200])

    @property
    def cid(self) -> Cid:
        """CID of the head block."""
        return Cid.of(DAG_CBOR, self.block)

    @property
    def head(self) -> Head:
        """The head block, decoded."""
        return Head.decode(self.block)

    def encode(self) -> bytes:
        """The content of the file."""
        members: dict[str, Any] = {"v": _VERSION, "cid": self.cid.text}
        members |= {name: getattr(self, name) for name in self.__slots__ if name != "block"}
        members["consumed"] = dict(self.consumed)
        members["dropped"] = dict(self.dropped)
        members["block"] = base64.b64encode(self.block).decode("ascii")
        return line.record(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, data: bytes) -> Sealed:
        """Parse the content of the file.

        Raises:
            FormatError: it is damaged, of another version, or its parts disagree.
        """
        try:
            if data[-1:] != b"\n":
                raise FormatError("a head file that was cut")
            members = json.loads(line.decode(data[:-1]).json)
            version, cid = members.pop("v"), Cid.parse(members.pop("cid"))
            if version != _VERSION:
                raise FormatError("a head file of another version", expected=_VERSION, found=version)
            members["block"] = base64.b64decode(members["block"], validate=True)
            found = cls(**members)
            head = found.head
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("not a head file", found=repr(data[:80])) from error
        if found.cid != cid or head.log != found.log or head.index != found.index:
            raise FormatError("the parts of a head file disagree", expected=cid.text, found=found.cid.text)
        return found


def load(path: Path) -> Sealed | None:
    """Read a head file; `None` when there is none.

    Raises:
        FormatError: it is damaged.
    """
    try:
        data = disk.read(path)
    except FileNotFoundError:
        return None
    try:
        return Sealed.decode(data)
    except FormatError as error:
        raise FormatError(f"the head cannot be read: {error}", where=path) from error


def store(path: Path, sealed: Sealed) -> None:
    """Replace the head file; on return the batch that it names is SEALED and survives a power cut."""
    disk.replace(path, sealed.encode())
