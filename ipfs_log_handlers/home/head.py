"""Read and write the `head` file: the newest head block of a log, and the consumed offset of each segment.

The file is replaced in one step, so sealing and consuming are one step too: after a crash at any moment readers see
each record exactly once. It is one line with checksum and JSON, like the lines of a segment.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.home import disk, file_identity

__all__ = [
    "ACT_UNKNOWN",
    "MAX_BYTES",
    "NO_ACT",
    "HeadState",
    "has_second_name",
    "is_original",
    "load",
    "stamp",
    "store",
]

_VERSION: Final = 1
"""Version of this file; no other version is read."""
_NO_FILE: Final = "none"
"""Identity that no file has."""
NO_ACT: Final = -1
"""In place of a number: no batch of the log has an act."""
ACT_UNKNOWN: Final = -2
"""In place of a number: the head was not made by a keeper that knew it. The manifests say it."""
MAX_BYTES: Final = 16 << 20
"""Largest number of bytes of a head file: one line, with some 40 bytes for each segment of the spool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadState:
    """The state of a log after its newest sealed batch."""

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
    """Number of damaged pieces that were quarantined, over the whole log."""
    machine: str = ""
    """Machine of the log."""
    inode: int = 0
    """Inode number of the subsystem's directory; a copied home has another one."""
    act: int = ACT_UNKNOWN
    """Number of the newest batch of this log with an act; `NO_ACT` or `ACT_UNKNOWN` in its place."""
    file: str = ""
    """Identities of this head file and of its directory (`file_identity`), joined by a slash.

    A copy has other identities. Empty: they are not known."""

    def __post_init__(self) -> None:
        counts = (self.index, self.records, self.quarantined, self.inode)
        maps = (self.consumed, self.dropped)
        if not all(isinstance(counts_by_name, Mapping) for counts_by_name in maps):
            raise FormatError("offsets and counts of a head file are maps", found=repr(maps)[:200])
        numbers = [*counts, *(number for counts_by_name in maps for number in counts_by_name.values())]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise FormatError("an offset or count in a head file is not a number from 0 on", found=repr(numbers)[:200])
        if type(self.act) is not int or not ACT_UNKNOWN <= self.act <= self.index:
            raise FormatError("the act of a head file is not the number of a batch", found=repr(self.act)[:80])
        names = (self.log, self.machine, self.file)
        if not all(isinstance(name, str) for name in names):
            raise FormatError("names in a head file are text", found=repr(names)[:200])

    @property
    def cid(self) -> Cid:
        """CID of the head block."""
        return Cid.of(DAG_CBOR, self.block)

    @property
    def head(self) -> Head:
        """The head block, decoded."""
        return Head.decode(self.block)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        members: dict[str, Any] = {"v": _VERSION, "cid": self.cid.text}
        members |= {name: getattr(self, name) for name in self.__slots__ if name != "block"}
        members["consumed"] = dict(self.consumed)
        members["dropped"] = dict(self.dropped)
        members["block"] = base64.b64encode(self.block).decode("ascii")
        return line.record(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, data: bytes) -> HeadState:
        """Parse the content of the file.

        Raises:
            FormatError: it is damaged, of another version, or its parts do not match.
        """
        try:
            if data[-1:] != b"\n":
                raise FormatError("a head file was cut")
            members = json.loads(line.decode(data[:-1]).json)
            version, cid = members.pop("v"), Cid.parse(members.pop("cid"))
            if version != _VERSION:
                raise FormatError("a head file of another version", expected=_VERSION, found=version)
            members["block"] = base64.b64decode(members["block"], validate=True)
            state = cls(**members)
            head = state.head
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("not a head file", found=repr(data[:80])) from error
        if state.cid != cid or head.log != state.log or head.index != state.index:
            raise FormatError("the parts of a head file do not match", expected=cid.text, found=state.cid.text)
        return state


def load(path: Path) -> HeadState | None:
    """Read a head file; `None` if there is none.

    Raises:
        FormatError: it is damaged.
    """
    try:
        data = disk.read(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except disk.WrongFileError as error:
        raise FormatError("the head cannot be read", where=path, found=error.strerror) from error
    try:
        return HeadState.decode(data)
    except FormatError as error:
        raise FormatError(f"the head cannot be read: {error}", where=path) from error


def store(path: Path, sealed: HeadState, *, original: bool = True) -> HeadState:
    """Replace the head file; on return the batch that it names is SEALED and survives a power cut.

    Args:
        path: the file.
        sealed: its content.
        original: whether a keeper may continue after this head; false for a head that is only for readers.

    Returns:
        The content with the identity of the file.
    """
    stored = sealed

    def content(descriptor: int) -> bytes:
        nonlocal stored
        stored = replace(sealed, file=_identity(path, descriptor) if original else _NO_FILE)
        return stored.encode()

    disk.replace(path, content)
    return stored


def is_original(path: Path, sealed: HeadState) -> bool:
    """Return whether a head file is the file that a keeper wrote, and not a copy of it.

    Args:
        path: the file.
        sealed: its content.

    Raises:
        OSError: the file cannot be opened.
    """
    if not sealed.file:
        return True  # written by a release without identities
    own, _, above = sealed.file.partition("/")
    descriptor, directory = disk.open_file(path), disk.open_directory(path.parent)
    try:
        return file_identity.is_same_file(descriptor, own) and file_identity.is_same_file(directory, above)
    finally:
        disk.close(descriptor)
        disk.close(directory)


def has_second_name(path: Path) -> bool:
    """Return whether a head file has a second name: a backup of hard links may have been made or restored.

    Raises:
        OSError: the file cannot be found.
    """
    return disk.status(path).st_nlink > 1


def _identity(path: Path, descriptor: int) -> str:
    """Return the identity of a head file and of its directory."""
    directory = disk.open_directory(path.parent)
    try:
        return f"{file_identity.identity_of(descriptor)}/{file_identity.identity_of(directory)}"
    finally:
        disk.close(directory)


def stamp(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes when the head file is replaced or written; `None` without a file."""
    try:
        status = disk.status(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
