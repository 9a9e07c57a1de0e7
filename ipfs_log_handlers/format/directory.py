"""Read and write UnixFS directories, with the CIDs that `ipfs add -r` gives.

A directory is one dag-pb block: its links, sorted by the bytes of their names, each with the size of all blocks below
it. A symbolic link is a block that contains its target path. Mode and time are not stored, as Kubo stores none by
default. Kubo splits a directory whose block would have more than 256 KiB (a HAMT); this module refuses such a directory
when it writes and when it reads.

Names in a block may be hostile: a name that is not one plain component of a path is refused, so that no name leads out
of the directory.
Specs: https://specs.ipfs.tech/unixfs/, https://ipld.io/specs/codecs/dag-pb/spec/, IPIP-499.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import unixfs, varint
from ipfs_log_handlers.format.cid import DAG_PB, RAW, Cid

__all__ = [
    "MAX_BLOCK",
    "MAX_DEPTH",
    "MAX_ENTRIES",
    "Directory",
    "Entry",
    "Link",
    "Symlink",
    "bytes_in",
    "decode",
    "links",
    "walk",
]

MAX_BLOCK: Final = 256 << 10
"""Bytes of a directory's block above which Kubo would split it."""

MAX_DEPTH: Final = 100
"""Levels of directories inside one another, at most."""

MAX_ENTRIES: Final = 1_000_000
"""Names in a whole tree, at most: a few blocks that link to each other can stand for a tree without end."""

_MAX_TARGET_BYTES: Final = 4096
"""Largest number of UTF-8 bytes of the path in a symbolic link, as on Linux."""


@dataclass(frozen=True, slots=True)
class Link:
    """One name in a directory."""

    name: str
    """One component of a path."""
    cid: Cid
    """CID of the file, directory or symbolic link that has this name."""
    tsize: int
    """Bytes of all blocks below it, its own included."""

    def __post_init__(self) -> None:
        if self.name in ("", ".", "..") or "/" in self.name or "\0" in self.name:
            raise FormatError("not a name in a directory", found=ascii(self.name), where=self.cid.text)
        if self.cid.codec not in (RAW, DAG_PB):
            raise FormatError("a name in a directory leads to no file", expected="raw or dag-pb", found=self.cid.text)

    def encode(self) -> bytes:
        """Write the link as it stands in the block."""
        name = _utf8(self.name)
        link = b"\x0a\x24" + self.cid + b"\x12" + varint.encode(len(name)) + name + b"\x18" + varint.encode(self.tsize)
        return b"\x12" + varint.encode(len(link)) + link


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory, its links in the order of their names."""

    links: tuple[Link, ...]
    """The names in the directory, sorted by their bytes; no name stands twice."""

    def __post_init__(self) -> None:
        names = [_utf8(link.name) for link in self.links]
        if any(one >= two for one, two in pairwise(names)):
            raise FormatError("names in a directory must be in the order of their bytes, each once")

    @classmethod
    def of(cls, links: Sequence[Link]) -> Directory:
        """Make a directory of links, given in any order."""
        return cls(tuple(sorted(links, key=lambda link: _utf8(link.name))))

    def encode(self) -> bytes:
        """Write the directory as a dag-pb block.

        Raises:
            FormatError: the directory has more names than one block takes.
        """
        block = b"".join([link.encode() for link in self.links]) + _DIRECTORY
        if len(block) > MAX_BLOCK:
            raise FormatError(
                "a directory with too many names",
                expected=f"a block of at most {MAX_BLOCK} bytes, some 4,000 names",
                found=f"{len(self.links)} names, {len(block)} bytes",
                hint="Archive its parts one by one, or pack it into one file (tar) first.",
            )
        return block

    @property
    def tsize(self) -> int:
        """Bytes of all blocks below it, its own included."""
        return len(self.encode()) + sum([link.tsize for link in self.links])


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link."""

    target: str
    """The path that it points to, as it was written; this package never follows it."""

    def encode(self) -> bytes:
        """Write it as a dag-pb block."""
        target = _utf8(self.target)
        data = b"\x08\x04\x12" + varint.encode(len(target)) + target
        return b"\x0a" + varint.encode(len(data)) + data


_DIRECTORY: Final = b"\x0a\x02\x08\x01"
"""PBNode.Data of a directory: UnixFS type 1 and nothing more. It stands after the links."""


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            "a name that is not UTF-8", found=ascii(text), hint="Rename it: IPFS has no other names."
        ) from error


def decode(block: bytes) -> Directory | Symlink | unixfs.Node:
    """Read a dag-pb block of a tree of files.

    Raises:
        FormatError: the block is something else, or is not in the one form that this module writes.
    """
    if block[:1] == b"\x0a" and block != _DIRECTORY:
        return _decode_symlink(block)
    return _decode_directory(block) if block.endswith(_DIRECTORY) else unixfs.decode_node(block)


def _decode_directory(block: bytes) -> Directory:
    if len(block) > MAX_BLOCK:
        raise FormatError("a directory is too big", expected=f"at most {MAX_BLOCK} bytes", found=len(block))
    at, links = 0, []
    while block[at : at + 1] == b"\x12":
        size, start = varint.decode(block, at + 1)
        links.append(_decode_link(block[start : start + size]))
        at = start + size
    directory = Directory(tuple(links))
    if directory.encode() != block:
        raise FormatError("a directory is not in its one canonical form", where=Cid.of(DAG_PB, block).text)
    return directory


def _decode_link(link: bytes) -> Link:
    if link[:2] != b"\x0a\x24" or link[38:39] != b"\x12":
        raise FormatError("not a link of a directory", expected="a CID, a name, a size", found=repr(link[:48]))
    size, at = varint.decode(link, 39)
    try:
        name = link[at : at + size].decode()
    except UnicodeDecodeError as error:
        raise FormatError("a name that is not UTF-8", found=repr(link[at : at + size])) from error
    if link[at + size : at + size + 1] != b"\x18":
        raise FormatError("not a link of a directory", expected="a size after the name", found=repr(link[at:]))
    return Link(name, Cid(link[2:38]), varint.decode(link, at + size + 1)[0])


def _decode_symlink(block: bytes) -> Symlink:
    _, at = varint.decode(block, 1)
    if block[at : at + 3] != b"\x08\x04\x12":
        raise FormatError("not a file, a directory or a symbolic link", found=repr(block[:16]))
    size, at = varint.decode(block, at + 3)
    try:
        symlink = Symlink(block[at : at + size].decode())
    except UnicodeDecodeError as error:
        raise FormatError("the target of a symbolic link is not UTF-8", found=repr(block[:80])) from error
    if symlink.encode() != block or not 0 < size <= _MAX_TARGET_BYTES:
        raise FormatError("a symbolic link is not in its one canonical form", where=Cid.of(DAG_PB, block).text)
    return symlink


def links(cid: Cid, block: bytes) -> tuple[tuple[Cid, int], ...]:
    """List CID and Tsize of each block that a block of a tree links to; one that is not dag-pb has no links."""
    if cid.codec != DAG_PB:
        return ()
    node = decode(block)
    if isinstance(node, Symlink):
        return ()
    if isinstance(node, Directory):
        return tuple([(link.cid, link.tsize) for link in node.links])
    return node.links


# -- a tree, walked


@dataclass(frozen=True, slots=True)
class Entry:
    """The file, directory or symbolic link at one path of a tree."""

    path: tuple[str, ...]
    """The names from the root to the entry; empty for the root."""
    kind: str
    """`file`, `directory` or `symlink`."""
    cid: Cid
    """CID of the block of the entry."""
    tsize: int | None
    """Bytes of all blocks of the entry, as its directory says; `None` for the root."""
    target: str = ""
    """The path that a symbolic link points to."""

    def read(self, get: Callable[[Cid], bytes], *, max_bytes: int) -> Iterator[bytes]:
        """Yield the bytes of a file; each block is hashed and measured. See `unixfs.read`."""
        return unixfs.read(self.cid, get, max_bytes=max_bytes, tsize=self.tsize)


def walk(root: Cid, get: Callable[[Cid], bytes]) -> Iterator[Entry]:
    """Yield the entries of a tree, a directory before the entries in it, in the order of names.

    Each block is hashed before it is used. Of a file only the first block is read, which shows that it is a file;
    `Entry.read` reads the others.

    Raises:
        FormatError: a block is not one of a tree of files.
        VerificationError: a block has another hash than its CID, or another size than its directory says, or the tree
            is deeper than `MAX_DEPTH` or has more than `MAX_ENTRIES` names.
    """
    for number, entry in enumerate(_walk(Entry((), "", root, None), get)):
        if number > MAX_ENTRIES:
            raise VerificationError("a tree has too many names", expected=f"at most {MAX_ENTRIES}", where=root.text)
        yield entry


def bytes_in(root: Cid, get: Callable[[Cid], bytes], *, max_bytes: int) -> int:
    """Count the bytes of all files of a tree; each block is hashed and measured.

    Raises:
        FormatError, VerificationError: as `walk` and `Entry.read`; there are more than `max_bytes`.
    """
    total = 0
    for entry in walk(root, get):
        if entry.kind == "file":
            total += sum(map(len, entry.read(get, max_bytes=max_bytes - total)))
    return total


def _walk(entry: Entry, get: Callable[[Cid], bytes]) -> Iterator[Entry]:
    path, cid = entry.path, entry.cid
    if len(path) > MAX_DEPTH:
        raise VerificationError("directories are too deep", expected=f"at most {MAX_DEPTH}", where="/".join(path))
    if cid.codec == RAW:
        yield Entry(path, "file", cid, entry.tsize)
        return
    if cid.codec != DAG_PB:
        raise FormatError("not a file or directory", expected="raw or dag-pb", found=f"codec {cid.codec:#x}")
    block = get(cid)
    cid.verify(block)
    node = decode(block)
    if isinstance(node, unixfs.Node):
        yield Entry(path, "file", cid, entry.tsize)
        return
    measured = node.tsize if isinstance(node, Directory) else len(block)
    if entry.tsize not in (None, measured):
        raise VerificationError(
            "a part of a directory has another size than the directory says",
            expected=entry.tsize,
            found=measured,
            where="/".join(path),
        )
    if isinstance(node, Symlink):
        yield Entry(path, "symlink", cid, entry.tsize, node.target)
        return
    yield Entry(path, "directory", cid, entry.tsize)
    for link in node.links:
        yield from _walk(Entry((*path, link.name), "", link.cid, link.tsize), get)
