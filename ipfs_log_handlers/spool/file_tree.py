"""Turn files and directories into blocks, as `ipfs add -r` does, while they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format import directory, unixfs
from ipfs_log_handlers.format.cid import DAG_PB, Cid
from ipfs_log_handlers.format.directory import Directory, Link, Symlink
from ipfs_log_handlers.home import disk

__all__ = ["Block", "Progress", "Tree", "bytes_at"]

_PIECE: Final = 1 << 20
"""Bytes of a file that are read at a time."""

Block = tuple[Cid, bytes]
"""A block with its CID."""
Progress = Callable[[int], None]
"""A function that is called with the number of bytes that were read since its last call."""


def bytes_at(path: Path) -> int:
    """Count the bytes of a file, or of all files below a directory, as far as that is possible beforehand."""
    if not path.is_dir():
        return path.stat().st_size
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # it was just removed; the content at the time of reading is archived
                total += os.stat(os.path.join(where, name), follow_symlinks=False).st_size
    return total


class Tree:
    """Turn files and directories into blocks, each block after all blocks that it links to; count bytes on the way."""

    def __init__(self, progress: Progress | None, *, kind: Literal["file", "directory"] = "file") -> None:
        self.kind = kind
        self.size = 0
        self.files = 0
        self._progress = progress
        self._entries = 0
        self._last = Cid.of(DAG_PB, b"")
        self._tsize = 0

    def of_bytes(self, data: bytes) -> Iterator[Block]:
        """Yield the blocks of a file with these bytes."""
        yield from self._file(data[at : at + _PIECE] for at in range(0, len(data), _PIECE))

    def of_path(self, path: str, depth: int) -> Iterator[Block]:
        """Yield the blocks of the file or directory at a path; its root block is the last."""
        self._entries += 1
        if depth > directory.MAX_DEPTH or self._entries > directory.MAX_ENTRIES:
            raise FormatError(
                "the directory is too large for one archive",
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

    def _directory(self, path: str, depth: int) -> Iterator[Block]:
        links = []
        for name in sorted(os.listdir(path)):
            yield from self.of_path(os.path.join(path, name), depth + 1)
            links.append(Link(name, self._last, self._tsize))
        yield from self._own(Directory.of(links).encode(), links)

    def _own(self, block: bytes, links: list[Link] | tuple[()]) -> Iterator[Block]:
        self._last = Cid.of(DAG_PB, block)
        self._tsize = len(block) + sum(link.tsize for link in links)
        yield self._last, block

    def _file(self, spans: Iterator[bytes]) -> Iterator[Block]:
        self.files += 1
        tsize = 0
        for cid, block in unixfs.build(self._counted(spans)):
            self._last = cid
            tsize += len(block)
            yield cid, block
        self._tsize = tsize

    def _counted(self, spans: Iterator[bytes]) -> Iterator[bytes]:
        for span in spans:
            self.size += len(span)
            if self._progress is not None:
                self._progress(len(span))
            yield span


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a regular file; refuse a pipe, on which a read would wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_a_file(path)
        yield descriptor
    finally:
        disk.close(descriptor)


def _pieces(descriptor: int) -> Iterator[bytes]:
    while span := os.read(descriptor, _PIECE):
        yield span


def _not_a_file(path: str) -> ConfigurationError:
    return ConfigurationError(
        "this is not a file, a directory or a symbolic link",
        where=path,
        hint="Pipes, sockets and devices cannot be archived; remove it, or archive the other files one by one.",
    )
