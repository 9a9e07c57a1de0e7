"""Archiver: a file, a directory or bytes become an archive that waits for its batch; its CID is known on return.

One archiver per process, home and subsystem. What it promises when `put` returns: the bytes were read, they are in the
home, on the disk, and will be in the chain exactly once, whoever is killed. Memory: a few MiB, whatever the size.

A path that is a symbolic link is followed; links inside a directory are kept as links, as `ipfs add -r` does. Hidden
files are archived too; mode and times are not. Pipes, sockets and devices are refused: they have no bytes to keep.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format import directory, unixfs
from ipfs_log_handlers.format.cid import DAG_PB, Cid
from ipfs_log_handlers.format.directory import Directory, Link, Symlink
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import archives, disk
from ipfs_log_handlers.home.archives import Archive, ArchiveName
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.native import RLock
from ipfs_log_handlers.subsystems.registry import Subsystem

__all__ = ["Archiver", "Facts", "bytes_at", "plain_json"]

_PIECE: Final = 1 << 20
_LEFT_FREE: Final = 16 << 20
"""Bytes that an archive leaves free on the disk: records come first."""

Progress = Callable[[int], None]
"""Told of the bytes that were read since it was told last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is said of an archive, and will stand in its manifest."""

    name: str | None = None
    """What it is a version of."""
    version: str | None = None
    """Which version."""
    parent: str | None = None
    """CID of the version that this one was made from."""
    transformations: tuple[Any, ...] = ()
    """What was done to the parent, in words or as JSON."""
    component: str | None = None
    """Which part of a program it is of."""
    metadata: Mapping[str, Any] | None = None
    """Anything else, JSON; a `type` in it becomes that of the batch."""

    def as_meta(self) -> dict[str, Any]:
        """As it stands in the manifest's `meta`."""
        metadata = plain_json(self.metadata or {})
        kind, version = metadata.get("type"), self.version or metadata.get("version")
        said = {
            "type": kind if isinstance(kind, str) and kind else None,
            "version": plain_json(version) if isinstance(version, str) and version else None,
            "name": plain_json(self.name),
            "parent": self.parent,
            "component": plain_json(self.component),
            "transformations": plain_json(list(self.transformations)) or None,
        }
        return {name: value for name, value in said.items() if value is not None} | {"metadata": metadata}


def plain_json(value: Any) -> Any:
    """The value as JSON and DAG-CBOR both can hold it; what they cannot becomes its text."""
    return _in_range(json.loads(json.dumps(value, default=str, skipkeys=False)))


def _in_range(value: Any) -> Any:
    if isinstance(value, dict):
        return {_in_range(str(key)): _in_range(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_range(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    fits = not isinstance(value, (int, float)) or (value == value and -(2**63) <= value < 2**63)  # noqa: PLR0124 - NaN
    return value if fits else str(value)


class Archiver:
    """Makes archives for one process in one subsystem of one home.

    Args:
        home: the home.
        subsystem: whose log they go into.
        settings: where to ship to.
        made: called after each archive, outside all locks: the keeper's thread may be started.
    """

    def __init__(self, home: Home, subsystem: Subsystem, settings: Settings, made: Callable[[], None]) -> None:
        self.subsystem = subsystem
        self.settings = settings
        self.activity = 0
        """A number that grows with every archive of this process."""
        self._room = home.room(subsystem.name)
        self._made = made
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin as a process that has made no archive."""
        self._lock = RLock()
        self._newest: ArchiveName | None = None
        self._waiting: set[ArchiveName] = set()

    @property
    def room(self) -> Room:
        """The directory of its subsystem."""
        return self._room

    def waiting(self, consumed: Mapping[str, int]) -> bool:
        """Whether an archive of this process is in no batch yet; `consumed` is what the head says."""
        there = set(archives.listing(self._room.archived))
        self._waiting = {name for name in list(self._waiting) if name in there and str(name) not in consumed}
        return bool(self._waiting)

    def put_bytes(self, data: bytes, facts: Facts) -> Archive:
        """Archive some bytes as a file. Raises as `put`."""
        return self._put(_Tree(None), lambda tree: tree.of_bytes(data), len(data), facts)

    def put(
        self, path: Path, facts: Facts, progress: Progress | None = None, check: Callable[[Cid], object] | None = None
    ) -> Archive:
        """Archive a file, or a directory with all that is in it.

        Args:
            path: the file or directory.
            facts: what is said of it.
            progress: told of the bytes that were read.
            check: told of the CID before the archive counts; raises what shall be raised in its place.

        Raises:
            FileNotFoundError: it is not there.
            ConfigurationError: something in it is no file, directory or symbolic link; or the home lies in it.
            FormatError: a name is no UTF-8, a directory has too many names, the metadata is too long.
            OSError: it cannot be read, or the home cannot be written. Nothing is left behind, whatever is raised.
        """
        path = path.resolve(strict=True)
        if self._room.path.parent.resolve().is_relative_to(path):
            raise ConfigurationError(
                "the home lies in what is to be archived, and its key with it",
                where=path,
                found=self._room.path.parent,
                hint="Archive what lies beside it, part by part, or keep the home elsewhere.",
            )
        blocks = _Tree(progress)
        return self._put(blocks, lambda tree: tree.of_path(os.fspath(path), 0), bytes_at(path), facts, check)

    def put_again(self, car: Path, root: Cid, kind: str, size: int, facts: Facts) -> Archive:
        """Archive what is archived already once more, under other facts; its blocks are not read again.

        Args:
            car: the CAR in the home that holds the blocks.
            root: what they are.
            kind: `file` or `directory`.
            size: bytes of all files.
            facts: what is said of it now.

        Raises:
            FileNotFoundError: the CAR has another name by now.
        """
        name = self._draw()
        found = self._describe(name, facts, root, kind, size, None, car.stat().st_size)
        archives.write_again(self._room.archived, car, found)
        self._note(name)
        return found

    def _put(
        self,
        tree: _Tree,
        blocks: Callable[[_Tree], Iterator[_Block]],
        size: int,
        facts: Facts,
        check: Callable[[Cid], object] | None = None,
    ) -> Archive:
        name = self._draw()
        facts.as_meta()
        disk.ensure_directory(self._room.path.parent)
        if disk.free_bytes(self._room.path.parent) < size + _LEFT_FREE:
            raise OSError(errno.ENOSPC, f"an archive leaves {_LEFT_FREE} bytes free for records, and needs {size}")

        def describe(root: Cid, car_bytes: int) -> Archive:
            if check is not None:
                check(root)
            return self._describe(name, facts, root, tree.kind, tree.size, tree.files, car_bytes)

        found = archives.write(self._room.archived, name, blocks(tree), describe)
        self._note(name)
        return found

    def _draw(self) -> ArchiveName:
        with self._lock:
            self._newest = ArchiveName.new(self._newest)
            return self._newest

    def _describe(
        self, name: ArchiveName, facts: Facts, root: Cid, kind: str, size: int, files: int | None, car_bytes: int
    ) -> Archive:
        about = {"kind": kind, "archived": rfc3339(name.moment)} | ({} if files is None else {"files": files})
        stores = {"stores": list(self.settings.kubo), "replicas": self.settings.replicas} if self.settings.kubo else {}
        return Archive(
            name=name,
            subsystem=self.subsystem.name,
            root=root,
            kind=kind,
            size=size,
            car_bytes=car_bytes,
            meta={**facts.as_meta(), **about},
            settings=stores,
        )

    def _note(self, name: ArchiveName) -> None:
        with self._lock:
            self._waiting.add(name)
            self.activity += 1
        self._made()


def bytes_at(path: Path) -> int:
    """Bytes of a file, or of all files below a directory, as far as they can be counted beforehand."""
    if not path.is_dir():
        return path.stat().st_size
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # it went as we looked; what is there when it is read is archived
                total += os.stat(os.path.join(where, name), follow_symlinks=False).st_size
    return total


_Block = tuple[Cid, bytes]


class _Tree:
    """What is read becomes blocks, each after all that it links to; counts on the way."""

    def __init__(self, progress: Progress | None) -> None:
        self.kind = "file"
        self.size = 0
        self.files = 0
        self._progress = progress
        self._entries = 0
        self._last = Cid.of(DAG_PB, b"")
        self._tsize = 0

    def of_bytes(self, data: bytes) -> Iterator[_Block]:
        """The blocks of a file with these bytes."""
        yield from self._file(data[at : at + _PIECE] for at in range(0, len(data), _PIECE))

    def of_path(self, path: str, depth: int) -> Iterator[_Block]:
        """The blocks of whatever stands at a path; the last one is its own."""
        self._entries += 1
        if depth > directory.MAX_DEPTH or self._entries > directory.MAX_ENTRIES:
            raise FormatError(
                "too much for one archive",
                expected=f"at most {directory.MAX_DEPTH} directories inside one another, {directory.MAX_ENTRIES} names",
                where=path,
                hint="Archive its parts one by one.",
            )
        mode = os.stat(path, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from self._directory(path, depth)
        elif stat.S_ISLNK(mode):
            yield from self._own(Symlink(os.readlink(path)).encode(), ())
        elif stat.S_ISREG(mode):
            with _opened(path) as descriptor:
                yield from self._file(_pieces(descriptor))
        else:
            raise _not_a_file(path)

    def _directory(self, path: str, depth: int) -> Iterator[_Block]:
        links = []
        for name in sorted(os.listdir(path)):
            yield from self.of_path(os.path.join(path, name), depth + 1)
            links.append(Link(name, self._last, self._tsize))
        if not depth:
            self.kind = "directory"
        yield from self._own(Directory.of(links).encode(), links)

    def _own(self, block: bytes, links: list[Link] | tuple[()]) -> Iterator[_Block]:
        self._last = Cid.of(DAG_PB, block)
        self._tsize = len(block) + sum(link.tsize for link in links)
        yield self._last, block

    def _file(self, pieces: Iterator[bytes]) -> Iterator[_Block]:
        self.files += 1
        tsize = 0
        for cid, block in unixfs.build(self._counted(pieces)):
            self._last = cid
            tsize += len(block)
            yield cid, block
        self._tsize = tsize

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.size += len(piece)
            if self._progress is not None:
                self._progress(len(piece))
            yield piece


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A file, open; never a pipe that somebody put in its place, at which one would wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_a_file(path)
        yield descriptor
    finally:
        os.close(descriptor)


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, _PIECE):
        yield piece


def _not_a_file(path: str) -> ConfigurationError:
    return ConfigurationError(
        "neither a file nor a directory nor a symbolic link",
        where=path,
        hint="Pipes, sockets and devices cannot be archived; leave it out.",
    )
