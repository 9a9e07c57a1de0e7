"""Keep archives that wait for their batch: files and directories in `<subsystem>/archived/<name>.{car,json}`.

The CAR contains all blocks under one root; the description beside it contains their metadata. Of an encrypted archive
the CAR has only encrypted bytes; the description is in clear, like the spool, until it is in a batch.

An archive exists as soon as its description exists: the CAR is synced and has its name before that, so a process that
sees the description finds the CAR. The CAR is locked while it is written. A CAR without lock and description was left
by a dead process. The keeper links the CAR beside the batch that it seals, so the blocks of a large file are written
once.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, dagcbor, line
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.layout import HomeDir

__all__ = [
    "Archive",
    "ArchiveName",
    "Ciphertext",
    "car_file",
    "listing",
    "load",
    "load_all",
    "oldest",
    "quarantine",
    "retire",
    "sweep",
    "write",
    "write_again",
]

_VERSION: Final = 1
"""Version of a description; only this one and the next are read."""
_ENCRYPTED_VERSION: Final = 2
"""Version of the description of an encrypted archive, so that an older release never seals it as one in clear."""
_NAME: Final = re.compile(r"([0-9]{17})-([0-9a-f]{16})", re.ASCII)
_PLACEHOLDER: Final = Cid.of(RAW, b"")
"""Root in the header of a CAR until the real root is known; all CIDs have the same length."""
_MAX_TRIES: Final = 100
"""Largest number of tries to lock a new file."""
_RETRY_INTERVAL_S: Final = 0.002
"""Seconds between two tries."""
_MAX_META_BYTES: Final = 8 << 10
"""Largest number of bytes of the metadata of an archive; it is in the manifest, which has at most 16 KiB."""
_MAX_DESCRIPTION_BYTES: Final = 1 << 20
"""Largest number of bytes of a description: the metadata, and the settings of the program that made the archive."""


@dataclass(frozen=True, slots=True, order=True)
class ArchiveName:
    """The name of an archive, `<µs since 1970>-<16 hex>`: names sort in the order in which archives were made."""

    moment: int
    """Time at which it was begun, µs since 1970."""
    draw: str
    """Sixteen random hex digits."""

    @classmethod
    def new(cls, after: ArchiveName | None = None) -> ArchiveName:
        """Make a new name that sorts after another one, even if the clock was set back."""
        now = time.time_ns() // 1000
        return cls(now if after is None else max(now, after.moment + 1), os.urandom(8).hex())

    @classmethod
    def parse(cls, text: str) -> ArchiveName | None:
        """Parse the text of a name; return `None` for any other text."""
        match = _NAME.fullmatch(text)
        return cls(int(match[1]), match[2]) if match else None

    def __str__(self) -> str:
        return f"{self.moment:017}-{self.draw}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ciphertext:
    """What the manifest of an encrypted archive says about its payload.

    Raises:
        FormatError: a value is not of its kind.
    """

    kid: str
    """The key that it is encrypted to."""
    recipient: str
    """The public key, `age1…`."""
    size: int
    """Bytes of the encrypted payload."""
    raw: int
    """Bytes before they were compressed and encrypted."""

    def __post_init__(self) -> None:
        Kid.parse(self.kid)
        numbers = (self.size, self.raw)
        if not all(type(number) is int and number >= 0 for number in numbers) or not isinstance(self.recipient, str):
            raise FormatError("not the description of an encrypted archive", found=repr((self.kid, *numbers))[:200])


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The description of an archive.

    Raises:
        FormatError: the metadata cannot be stored in a manifest, or is too long.
    """

    name: ArchiveName
    """The name of the archive."""
    subsystem: str
    """The subsystem of its log."""
    root: Cid
    """The CID of the file or directory; if it is encrypted, that of the encrypted bytes."""
    kind: str
    """`file` or `directory`."""
    size: int
    """Bytes of the file, or of all files in the directory."""
    car_bytes: int
    """Bytes of its CAR."""
    meta: Mapping[str, Any]
    """Its own metadata for the manifest, besides the metadata of every manifest."""
    settings: Mapping[str, Any]
    """Addresses of stores and pin services and replicas, if the program that made it has any."""
    ciphertext: Ciphertext | None = None
    """The encrypted payload; `None`: it is stored in clear."""

    def __post_init__(self) -> None:
        numbers = (self.size, self.car_bytes)
        if not all(type(number) is int and number >= 0 for number in numbers) or self.kind not in ("file", "directory"):
            raise FormatError("not the description of an archive", found=repr((self.kind, *numbers))[:200])
        if not isinstance(self.meta, Mapping) or not isinstance(self.settings, Mapping):
            raise FormatError("an archive without its metadata", found=repr(self.meta)[:200])
        size = len(dagcbor.encode([[[dict(self.meta)]]]))  # nested as deeply as in the manifest
        if size > _MAX_META_BYTES:
            raise FormatError(
                "the metadata of an archive is too long",
                expected=f"at most {_MAX_META_BYTES} bytes",
                found=size,
                hint="Write the metadata into a file, and archive this file, too.",
            )

    def encode(self) -> bytes:
        """Return the bytes of the description file: one line with checksum and JSON."""
        members = {"v": _VERSION, "name": str(self.name), "root": self.root.text}
        members |= {name: getattr(self, name) for name in self.__slots__ if name not in members}
        del members["ciphertext"]
        if self.ciphertext is not None:
            members |= {"v": _ENCRYPTED_VERSION, "ciphertext": asdict(self.ciphertext)}
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
            if members.pop("v") != (_ENCRYPTED_VERSION if "ciphertext" in members else _VERSION):
                raise FormatError("an archive of another version", hint="Upgrade this package.")
            if "ciphertext" in members:
                members["ciphertext"] = Ciphertext(**members["ciphertext"])
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
    """Return the path of the CAR file of a pending archive."""
    return directory / f"{name}.car"


def _description(directory: Path, name: ArchiveName) -> Path:
    return directory / f"{name}.json"


def write(
    directory: Path,
    name: ArchiveName,
    fill: Callable[[car.Put], None],
    describe: Callable[[Cid, int], Archive],
) -> Archive:
    """Make an archive. On return it survives a kill of this process, and a power cut.

    Args:
        directory: `<subsystem>/archived`; made with its parents if it is missing.
        name: a new name.
        fill: called with a function that writes a block; it calls this with all blocks, the root last. A repeated block
            is written once. Memory: one block, and 36 bytes for each.
        describe: called with the root and the bytes of the CAR when both are known.

    Raises:
        OSError: the disk refuses. After any exception, no file is left.
    """
    _make(directory)
    path = car_file(directory, name)
    fresh = path.with_suffix(".tmp")
    descriptor = _locked(fresh, os.O_RDWR | os.O_EXCL, create=True)
    try:
        root, size = _write_car(descriptor, fill)
        archive = describe(root, size)
        description = archive.encode()
        disk.sync_data(descriptor)
        disk.rename(fresh, path)
        disk.replace(_description(directory, name), description)
    except BaseException:
        for leftover in (_description(directory, name), path, fresh):
            with suppress(OSError):
                disk.remove(leftover)
        raise
    finally:
        disk.close_locked(descriptor)
    return archive


def write_again(directory: Path, blocks: Path, archive: Archive) -> None:
    """Make an archive of a CAR that is in the home already: the CAR gets a second name, and no byte is copied.

    Raises:
        OSError: as `write`; `FileNotFoundError` if the CAR has just been moved or deleted.
    """
    _make(directory)
    path = car_file(directory, archive.name)
    descriptor = _locked(blocks, os.O_RDONLY)
    try:
        disk.link(blocks, path)
        disk.replace(_description(directory, archive.name), archive.encode())
    except BaseException:
        with suppress(OSError):
            disk.remove(path)
        raise
    finally:
        disk.close_locked(descriptor)


def _locked(path: Path, flags: int, *, create: bool = False) -> int:
    """Open a file and lock it; try again while a keeper holds the lock to check whether the file is a leftover."""
    for _ in range(_MAX_TRIES):
        with suppress(FileExistsError):
            descriptor = disk.open_locked(path, flags, create=create)
            if descriptor is not None:
                return descriptor
        clock.pause(_RETRY_INTERVAL_S)
    raise OSError(errno.EAGAIN, "another process holds the lock of a new archive file", os.fspath(path))


def _make(directory: Path) -> None:
    HomeDir(directory.parent.parent).make(sync=True)
    for path in (directory.parent, directory):
        made = not disk.is_directory(path)
        disk.ensure_directory(path)
        if made:
            disk.sync_directory(path.parent)


def _write_car(descriptor: int, fill: Callable[[car.Put], None]) -> tuple[Cid, int]:
    """Write the blocks, then the header with the root, which is known only then; every header has the same length."""
    root, seen = _PLACEHOLDER, set[Cid]()
    size = disk.write_all(descriptor, car.header([root]))

    def put(cid: Cid, block: bytes) -> None:
        nonlocal root, size
        root = cid
        if cid not in seen:
            seen.add(cid)
            size += disk.write_all(descriptor, car.section_head(cid, len(block)))
            size += disk.write_all(descriptor, block)

    fill(put)
    header = car.header([root])
    if os.pwrite(descriptor, header, 0) != len(header):
        raise OSError(errno.ENOSPC, "no room for the header of an archive")
    return root, size


def listing(directory: Path) -> list[ArchiveName]:
    """List the pending archives, oldest first."""
    return sorted(
        name
        for file in disk.names(directory)
        if file.endswith(".json") and (name := ArchiveName.parse(file.removesuffix(".json"))) is not None
    )


def load(directory: Path, name: ArchiveName) -> Archive:
    """Read the description of a pending archive.

    Raises:
        FormatError: it is damaged, or its CAR has another length than it states.
        FileNotFoundError: the archive is not pending any more.
    """
    path = _description(directory, name)
    archive = Archive.decode(disk.read(path, _MAX_DESCRIPTION_BYTES))
    if archive.name != name:
        raise FormatError("an archive under a wrong name", where=path, expected=name, found=archive.name)
    try:
        size = disk.status(car_file(directory, name)).st_size
    except FileNotFoundError as error:
        if not disk.exists(path):
            raise
        raise FormatError("an archive without its blocks", where=path) from error
    if size != archive.car_bytes:
        raise FormatError("the blocks of an archive were cut", where=path, expected=archive.car_bytes, found=size)
    return archive


def load_all(directory: Path, consumed: Mapping[str, int]) -> list[Archive]:
    """Read the pending archives that are not in a batch, oldest first; damaged ones are left out."""
    archives = []
    for name in listing(directory):
        if str(name) not in consumed:
            with suppress(FormatError, OSError):
                archives.append(load(directory, name))
    return archives


def retire(directory: Path, consumed: Mapping[str, int]) -> bool:
    """Remove the archives that are in the chain, the description first; return whether any was removed. Synced."""
    gone = [name for name in listing(directory) if str(name) in consumed]
    for name in gone:
        disk.remove(_description(directory, name))
    if gone:
        disk.sync_directory(directory)
    for name in gone:
        disk.remove(car_file(directory, name))
    return bool(gone)


def oldest(directory: Path, consumed: Container[str], quarantine_dir: Path) -> Archive | None:
    """Return the oldest waiting archive that is not in a batch; damaged ones before it are moved to the quarantine.

    Args:
        directory: the directory of the archives of one subsystem that wait.
        consumed: names of archives that are in batches.
        quarantine_dir: directory for damaged archives.

    Raises:
        OSError: the directory or an archive cannot be read.
    """
    for name in listing(directory):
        if str(name) not in consumed:
            try:
                return load(directory, name)
            except FileNotFoundError:
                continue
            except FormatError:
                quarantine(directory, name, quarantine_dir)
    return None


def quarantine(directory: Path, name: ArchiveName, to: Path) -> None:
    """Move an archive that cannot be sealed to the quarantine. Evidence is never deleted."""
    disk.ensure_directory(to)
    for path in (_description(directory, name), car_file(directory, name)):
        with suppress(FileNotFoundError):
            disk.rename(path, to / path.name)
    disk.sync_directory(to)
    disk.sync_directory(directory)


def sweep(directory: Path) -> None:
    """Remove files that a process left when it died during an archive. They contain no archive that was promised."""
    files = disk.names(directory)
    known = {file.removesuffix(".json") for file in files if file.endswith(".json")}
    for file in files:
        name = ArchiveName.parse(file.partition(".")[0])
        if name is not None and str(name) not in known:
            _sweep_one(directory, name, file)


def _sweep_one(directory: Path, name: ArchiveName, file: str) -> None:
    blocks = [path for path in (car_file(directory, name), directory / f"{name}.tmp") if disk.exists(path)]
    descriptor = None
    try:
        if blocks:
            descriptor = disk.open_locked(blocks[0], os.O_RDONLY)
            if descriptor is None:
                return
        if not disk.exists(_description(directory, name)):
            disk.remove(directory / file)
    except OSError:
        return
    finally:
        if descriptor is not None:
            disk.close_locked(descriptor)
