"""Archives come back: which there are, in which versions, and their bytes, each block verified before it is seen.

A version is one archive that was made under a name. It is found from the moment it is durable: in the spool, then in
the chain, and when its blocks have left the home, at the stores that confirmed it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import directory
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.directory import Entry
from ipfs_log_handlers.format.manifest import UNIXFS
from ipfs_log_handlers.format.moment import micros
from ipfs_log_handlers.home import archives, disk
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.reading.batch import Blocks
from ipfs_log_handlers.reading.fetch import Fetcher
from ipfs_log_handlers.reading.logs import Log, confirmed, logs_of, policy_of

__all__ = ["Get", "Version", "as_of", "entry_at", "find", "opened", "restore", "versions"]

_MOST_UNKNOWN: Final = 1 << 40
"""Bytes of an archive whose size nobody in the home knows."""

Get = Callable[[Cid], bytes]
"""Gives a block by its CID, hashed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One archive."""

    subsystem: str
    """Whose log it is in."""
    archive: str
    """What it was called while it waited: no two have the same."""
    root: Cid
    """CID of the file or directory."""
    meta: dict[str, Any]
    """What its manifest says of it, or will."""
    size: int | None
    """Bytes of all its files; `None` when only its stores know."""
    log: str | None = None
    """The log that it is in; `None` while it waits."""
    index: int | None = None
    """Number of its batch."""
    manifest: Cid | None = None
    """CID of its manifest."""
    state: str = "durable"
    """`durable` while it waits, `sealed` in the chain, `shipped` at as many stores as it should be."""
    files: tuple[Path, ...] = ()
    """The CARs in which its blocks are, as far as they are in the home."""
    stores: tuple[str, ...] = ()
    """Addresses of the stores that may have its blocks."""

    @property
    def name(self) -> str | None:
        """What it is a version of."""
        return _text(self.meta.get("name"))

    @property
    def version(self) -> str | None:
        """Which version."""
        return _text(self.meta.get("version"))

    @property
    def kind(self) -> str:
        """`file` or `directory`."""
        return str(self.meta.get("kind", "file"))

    @property
    def archived(self) -> str:
        """When it was made, RFC 3339."""
        return str(self.meta.get("archived", ""))

    @property
    def metadata(self) -> dict[str, Any]:
        """What the program said of it."""
        found = self.meta.get("metadata")
        return found if isinstance(found, dict) else {}

    def as_json(self) -> dict[str, Any]:
        """With the keys of `ipfs-logs log`."""
        return {
            "name": self.name,
            "version": self.version,
            "cid": self.root.text,
            "parent": self.meta.get("parent"),
            "transformations": self.meta.get("transformations", []),
            "archived": self.archived,
            "kind": self.kind,
            "size": self.size,
            "files": self.meta.get("files"),
            "component": self.meta.get("component"),
            "subsystem": self.subsystem,
            "type": self.meta.get("type"),
            "log": self.log,
            "index": self.index,
            "manifest": self.manifest and self.manifest.text,
            "state": self.state,
            "metadata": self.metadata,
        }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def versions(home: Home, subsystems: Sequence[str] | None = None) -> list[Version]:
    """Every archive of a home, oldest first; a batch that cannot be read is left to `verify`.

    Raises:
        OSError: the home cannot be read.
    """
    found: dict[str, Version] = {}
    for room in home.rooms():
        if subsystems is None or room.name in subsystems:
            for each in (*_waiting(home, room), *_sealed(home, room)):  # in this order, so that none slips through
                found[each.archive] = each
    return sorted(found.values(), key=lambda each: (each.archived, each.archive))


def _waiting(home: Home, room: Room) -> Iterator[Version]:
    policy = policy_of(home, room)
    for archive in archives.load_all(room.archived, {}):
        yield Version(
            subsystem=room.name,
            archive=str(archive.name),
            root=archive.root,
            meta={"type": policy.type, **archive.meta},
            size=archive.size,
            files=(archives.car_file(room.archived, archive.name),),
        )


def _sealed(home: Home, room: Room) -> Iterator[Version]:
    policy = policy_of(home, room)
    for log in logs_of(room):
        shipped = confirmed(log, policy.replicas, policy.stores or None)
        for index in range(log.newest + 1):
            with suppress(FormatError, OSError):
                facts = log.batches.facts(index)
                if facts.manifest.encoding != UNIXFS:
                    continue
                beside = log.batches.payload_file(index)
                yield Version(
                    subsystem=room.name,
                    archive=str(facts.manifest.meta.get("archive", facts.cid.text)),
                    root=facts.manifest.payload,
                    meta=dict(facts.manifest.meta),
                    size=facts.manifest.size,
                    log=log.name,
                    index=index,
                    manifest=facts.cid,
                    state="shipped" if shipped.has(index) else "sealed",
                    files=(beside,) if beside.exists() else (),
                    stores=_holders(log, index, policy.stores),
                )


def _holders(log: Log, index: int, configured: Sequence[str]) -> tuple[str, ...]:
    held = [mark.address for mark in confirmed(log, 1).marks if mark.has(index)]
    return tuple(dict.fromkeys((*held, *configured)))


def find(home: Home, wanted: Cid) -> Version | None:
    """The newest archive whose root, or manifest, has this CID; one whose blocks are in the home before others."""
    found = [each for each in versions(home) if wanted in (each.root, each.manifest)]
    return max(found, key=lambda each: (bool(each.files), each.archived), default=None)


def as_of(history: Sequence[Version], when: str | None) -> Version | None:
    """The version of a history, oldest first, that somebody means.

    Args:
        history: versions under one name.
        when: a version as it was given, else a CID, else a time (RFC 3339, or the beginning of one): the newest
            version made at or before it. `None`: the newest.
    """
    if when is None:
        return history[-1] if history else None
    named = [each for each in history if when == each.version]
    if named:
        return named[-1]
    with suppress(FormatError):
        wanted = Cid.parse(when)
        return next((each for each in reversed(history) if wanted in (each.root, each.manifest)), None)
    moment = _moment(when)
    if moment is None:
        return None
    before = [each for each in history if (made := micros(each.archived)) is not None and made <= moment]
    return before[-1] if before else None


_LATEST = "9999-12-31T23:59:59.999999"


def _moment(text: str) -> int | None:
    """The last µs that a time, or the beginning of one, can mean; UTC."""
    bare = text.strip().removesuffix("Z").replace(" ", "T")
    if len(bare) < 4 or len(bare) > len(_LATEST):
        return None
    for last in ("31", "30", "29", "28"):
        whole = bare + _LATEST[len(bare) :]
        if len(bare) < 10:
            whole = f"{whole[:8]}{last}{whole[10:]}"
        moment = micros(whole)
        if moment is not None:
            return moment
    return None


# -- bytes


@contextmanager
def opened(version: Version, token: str | None = None) -> Iterator[Get]:
    """Give the blocks of an archive, from the home or else from its stores, each hashed.

    Raises:
        FileNotFoundError: it was taken into the chain meanwhile; look for it again.
        StoreError: no store has a block that is not in the home.
    """
    with ExitStack() as stack:
        blocks = Blocks(*[stack.enter_context(disk.stream(path)) for path in version.files])
        fetcher = Fetcher(token)
        stack.callback(fetcher.close)

        def get(cid: Cid) -> bytes:
            return blocks.block(cid) if cid in blocks else fetcher.get(cid, version.stores)

        yield get


def entry_at(version: Version, get: Get, path: str) -> Entry | None:
    """What stands at a path, `a/b`, in an archive; the empty path is its root."""
    wanted = tuple(part for part in path.split("/") if part)
    return next((entry for entry in directory.walk(version.root, get) if entry.path == wanted), None)


def restore(version: Version, get: Get, target: Path) -> None:
    """Write an archive to a path at which nothing is; it stands there whole or not at all.

    Raises:
        FileExistsError: something is there.
        FileNotFoundError: the directory that it should be in is not there.
        LogStoreError: a block is damaged or missing.
        OSError: it cannot be written.
    """
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no directory {target.parent}")
    fresh = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        left = _MOST_UNKNOWN if version.size is None else version.size
        for entry in directory.walk(version.root, get):
            left -= _write(fresh.joinpath(*entry.path), entry, get, left)
        if left and version.size is not None:
            raise VerificationError(
                "an archive has not the size that its manifest says", expected=version.size, found=version.size - left
            )
        if target.is_symlink() or target.exists():
            raise FileExistsError(f"{target} is there already")
        os.rename(fresh, target)
    except BaseException:
        if fresh.is_dir() and not fresh.is_symlink():
            shutil.rmtree(fresh, ignore_errors=True)
        else:
            with suppress(OSError):
                fresh.unlink()
        raise


def _write(path: Path, entry: Entry, get: Get, left: int) -> int:
    """Write one entry; the bytes that it took of what an archive may have."""
    if entry.kind == "directory":
        path.mkdir()
        return 0
    if entry.kind == "symlink":
        path.symlink_to(entry.target)
        return 0
    size = 0
    with path.open("xb") as stream:
        for piece in entry.read(get, max_bytes=left):
            size += stream.write(piece)
    return size
