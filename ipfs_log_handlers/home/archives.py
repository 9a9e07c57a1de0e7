"""Archives that wait: files and directories on their way into the chain, `<subsystem>/archived/<name>.{car,json}`.

The CAR holds all blocks under one root; the description beside it says what they are. An archive exists as soon as its
description does: the CAR is synced and has its name by then, so whoever sees the one finds the other. While it is
written the CAR is locked; what nobody holds and no description tells of is a leftover of a process that died.
The keeper links the CAR beside the batch that it seals, so the blocks of a large file are written once.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, dagcbor, line
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.home import disk

__all__ = [
    "Archive",
    "ArchiveName",
    "car_file",
    "listing",
    "load",
    "load_all",
    "quarantine",
    "retire",
    "sweep",
    "write",
    "write_again",
]

_VERSION: Final = 1
_NAME: Final = re.compile(r"([0-9]{17})-([0-9a-f]{16})", re.ASCII)
_PLACEHOLDER: Final = Cid.of(RAW, b"")
_TRIES: Final = 100
_BETWEEN_TRIES: Final = 0.002
_MOST_META: Final = 8 << 10


@dataclass(frozen=True, slots=True, order=True)
class ArchiveName:
    """Which archive: `<µs since 1970>-<16 hex>`, so that names sort as archives were made."""

    moment: int
    """When it was begun, µs since 1970."""
    draw: str
    """Sixteen hex digits, drawn for it."""

    @classmethod
    def new(cls, after: ArchiveName | None = None) -> ArchiveName:
        """A fresh name, behind another one whatever the clock says."""
        now = time.time_ns() // 1000
        return cls(now if after is None else max(now, after.moment + 1), os.urandom(8).hex())

    @classmethod
    def parse(cls, text: str) -> ArchiveName | None:
        """The name in its text; `None` for any other text."""
        match = _NAME.fullmatch(text)
        return cls(int(match[1]), match[2]) if match else None

    def __str__(self) -> str:
        return f"{self.moment:017}-{self.draw}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The description of an archive.

    Raises:
        FormatError: the metadata is not what a manifest can hold, or more than it takes.
    """

    name: ArchiveName
    """Which."""
    subsystem: str
    """Whose log it goes into."""
    root: Cid
    """The CID of the file or directory."""
    kind: str
    """`file` or `directory`."""
    size: int
    """Bytes of the file, or of all files in the directory."""
    car_bytes: int
    """Bytes of its CAR."""
    meta: Mapping[str, Any]
    """What its manifest says of it, beside what every manifest says."""
    settings: Mapping[str, Any]
    """Store addresses and replicas, where the program that made it has any."""

    def __post_init__(self) -> None:
        numbers = (self.size, self.car_bytes)
        if not all(type(each) is int and each >= 0 for each in numbers) or self.kind not in ("file", "directory"):
            raise FormatError("not the description of an archive", found=repr((self.kind, *numbers))[:200])
        if not isinstance(self.meta, Mapping) or not isinstance(self.settings, Mapping):
            raise FormatError("an archive without its metadata", found=repr(self.meta)[:200])
        size = len(dagcbor.encode([[[dict(self.meta)]]]))  # as deep as it will be in the manifest
        if size > _MOST_META:
            raise FormatError(
                "the metadata of an archive is too long",
                expected=f"at most {_MOST_META} bytes",
                found=size,
                hint="Put it into a file, and archive that too.",
            )

    def encode(self) -> bytes:
        """The content of its file: one line, checksum and JSON."""
        members = {"v": _VERSION, "name": str(self.name), "root": self.root.text}
        members |= {name: getattr(self, name) for name in self.__slots__ if name not in members}
        return line.record(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, data: bytes) -> Archive:
        """Parse the content of its file.

        Raises:
            FormatError: it is damaged or of another version.
        """
        try:
            if data[-1:] != b"\n":
                raise FormatError("the description of an archive was cut")
            members = json.loads(line.decode(data[:-1]).json)
            if members.pop("v") != _VERSION:
                raise FormatError("an archive of another version", hint="Upgrade this package.")
            members["root"] = Cid.parse(members["root"])
            name = ArchiveName.parse(members["name"])
            if name is None:
                raise FormatError("not the name of an archive", found=repr(members["name"])[:80])
            members["name"] = name
            return cls(**members)
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("not the description of an archive", found=repr(data[:80])) from error


def car_file(directory: Path, name: ArchiveName) -> Path:
    """The CAR of an archive that waits."""
    return directory / f"{name}.car"


def _description(directory: Path, name: ArchiveName) -> Path:
    return directory / f"{name}.json"


def write(
    directory: Path,
    name: ArchiveName,
    blocks: Iterable[tuple[Cid, bytes]],
    describe: Callable[[Cid, int], Archive],
) -> Archive:
    """Make an archive. On return it survives the death of this process, and a power cut.

    Args:
        directory: `<subsystem>/archived`; made with its parents if it is not there.
        name: a fresh one.
        blocks: all blocks, the root last; a repeated one is written once. Memory: one block, 36 bytes for each.
        describe: called with the root and the bytes of the CAR when both are known.

    Raises:
        OSError: the disk refuses. Nothing is left behind, whatever is raised.
    """
    _make(directory)
    path = car_file(directory, name)
    fresh = path.with_suffix(".tmp")
    descriptor = _locked(fresh, os.O_RDWR | os.O_EXCL, create=True)
    try:
        root, size = _write_car(descriptor, blocks)
        found = describe(root, size)
        description = found.encode()
        disk.sync_data(descriptor)
        os.rename(fresh, path)
        disk.replace(_description(directory, name), description)
    except BaseException:
        for leftover in (_description(directory, name), path, fresh):
            with suppress(OSError):
                disk.remove(leftover)
        raise
    finally:
        disk.close_locked(descriptor)
    return found


def write_again(directory: Path, blocks: Path, archive: Archive) -> None:
    """Make an archive of a CAR that is in the home already: it gets another name, and nothing is copied.

    Raises:
        OSError: as `write`; `FileNotFoundError` when the CAR has left meanwhile.
    """
    _make(directory)
    path = car_file(directory, archive.name)
    descriptor = _locked(blocks, os.O_RDONLY)
    try:
        os.link(blocks, path, follow_symlinks=False)
        disk.replace(_description(directory, archive.name), archive.encode())
    except BaseException:
        with suppress(OSError):
            disk.remove(path)
        raise
    finally:
        disk.close_locked(descriptor)


def _locked(path: Path, flags: int, *, create: bool = False) -> int:
    """A file, locked; a keeper may look for a moment whether it is a leftover, and take a new one for that."""
    for _ in range(_TRIES):
        with suppress(FileExistsError):
            descriptor = disk.open_locked(path, flags, create=create)
            if descriptor is not None:
                return descriptor
        time.sleep(_BETWEEN_TRIES)
    raise OSError(errno.EAGAIN, "somebody locked an archive as it was made", os.fspath(path))


def _make(directory: Path) -> None:
    for each in (directory.parent.parent, directory.parent, directory):
        made = not each.is_dir()
        disk.ensure_directory(each)
        if made:
            disk.sync_directory(each.parent)


def _write_car(descriptor: int, blocks: Iterable[tuple[Cid, bytes]]) -> tuple[Cid, int]:
    """Write the blocks, then the header with the root that is known only now: it is as long with any root."""
    root, seen = _PLACEHOLDER, set[Cid]()
    size = disk.write_all(descriptor, car.header([root]))
    for cid, block in blocks:
        root = cid
        if cid not in seen:
            seen.add(cid)
            size += disk.write_all(descriptor, car.section_head(cid, len(block)))
            size += disk.write_all(descriptor, block)
    header = car.header([root])
    if os.pwrite(descriptor, header, 0) != len(header):
        raise OSError(errno.ENOSPC, "no room for the header of an archive")
    return root, size


def listing(directory: Path) -> list[ArchiveName]:
    """The archives that wait, oldest first."""
    return sorted(
        name
        for file in _listed(directory)
        if file.endswith(".json") and (name := ArchiveName.parse(file.removesuffix(".json"))) is not None
    )


def load(directory: Path, name: ArchiveName) -> Archive:
    """The description of an archive that waits.

    Raises:
        FormatError: it is damaged, or its CAR is not as long as it says.
        FileNotFoundError: it waits no longer.
    """
    path = _description(directory, name)
    found = Archive.decode(disk.read(path))
    if found.name != name:
        raise FormatError("an archive under a wrong name", where=path, expected=name, found=found.name)
    try:
        size = os.stat(car_file(directory, name), follow_symlinks=False).st_size
    except FileNotFoundError as error:
        if not path.exists():
            raise
        raise FormatError("an archive without its blocks", where=path) from error
    if size != found.car_bytes:
        raise FormatError("the blocks of an archive were cut", where=path, expected=found.car_bytes, found=size)
    return found


def load_all(directory: Path, consumed: Mapping[str, int]) -> list[Archive]:
    """The archives that wait and are in no batch, oldest first; those that can be read."""
    found = []
    for name in listing(directory):
        if str(name) not in consumed:
            with suppress(FormatError, OSError):
                found.append(load(directory, name))
    return found


def retire(directory: Path, consumed: Mapping[str, int]) -> bool:
    """Remove the archives that are in the chain, the description first; whether any went. Survives a power cut."""
    gone = [name for name in listing(directory) if str(name) in consumed]
    for name in gone:
        disk.remove(_description(directory, name))
    if gone:
        disk.sync_directory(directory)
    for name in gone:
        disk.remove(car_file(directory, name))
    return bool(gone)


def quarantine(directory: Path, name: ArchiveName, to: Path) -> None:
    """Move an archive that cannot be sealed aside. Evidence is never deleted."""
    disk.ensure_directory(to)
    for path in (_description(directory, name), car_file(directory, name)):
        with suppress(FileNotFoundError):
            os.rename(path, to / path.name)
    disk.sync_directory(to)
    disk.sync_directory(directory)


def sweep(directory: Path) -> None:
    """Remove what a process left when it died over an archive. Nothing was ever promised about that."""
    files = _listed(directory)
    known = {file.removesuffix(".json") for file in files if file.endswith(".json")}
    for file in files:
        name = ArchiveName.parse(file.partition(".")[0])
        if name is not None and str(name) not in known:
            _sweep_one(directory, name, file)


def _sweep_one(directory: Path, name: ArchiveName, file: str) -> None:
    blocks = [path for path in (car_file(directory, name), directory / f"{name}.tmp") if path.exists()]
    descriptor = None
    try:
        if blocks:
            descriptor = disk.open_locked(blocks[0], os.O_RDONLY)
            if descriptor is None:
                return
        if not _description(directory, name).exists():
            disk.remove(directory / file)
    except OSError:
        return
    finally:
        if descriptor is not None:
            disk.close_locked(descriptor)


def _listed(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
