"""One batch, opened for reading: its blocks are hashed as they are read, its records checked before they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car, directory, payload, unixfs
from ipfs_log_handlers.format.cid import DAG_PB, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.merkle import RecordTree
from ipfs_log_handlers.home import disk

__all__ = ["Blocks", "OpenBatch", "Section", "checked_lines", "open_batch"]

_SLICE: Final = 256


class Section(NamedTuple):
    """Where a block stands."""

    cid: Cid
    """Its name."""
    stream: BinaryIO
    """In which file."""
    offset: int
    """Where its bytes begin."""
    size: int
    """How many they are."""


class Blocks:
    """The blocks of some CARs. What is damaged in them shows when it is asked for.

    Args:
        streams: the files; they stay the same ones when others are put in their place.

    Raises:
        FormatError: one is not a CAR, or is cut.
    """

    def __init__(self, *streams: BinaryIO) -> None:
        self.sections = tuple(Section(cid, each, at, size) for each in streams for cid, at, size in car.scan(each))
        self._places = {section.cid: section for section in reversed(self.sections)}

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._places

    def at(self, section: Section) -> bytes:
        """The block in one section, hashed.

        Raises:
            VerificationError: it is not what its CID names.
        """
        section.stream.seek(section.offset)
        block = section.stream.read(section.size)
        section.cid.verify(block)
        return block

    def block(self, cid: Cid) -> bytes:
        """A block by its CID, hashed.

        Raises:
            VerificationError: it is not what its CID names, or not here.
        """
        try:
            return self.at(self._places[cid])
        except KeyError:
            raise VerificationError("a block is missing", expected=cid.text) from None


class OpenBatch(Blocks):
    """The files of a batch: its own, and that of its archive if it has one.

    Raises:
        FormatError: one is not a CAR, or is cut, or the first blocks are not the roots.
    """

    def __init__(self, *streams: BinaryIO) -> None:
        streams[0].seek(0)
        self.roots = car.Reader(streams[0]).roots
        super().__init__(*streams)
        first = tuple(section.cid for section in self.sections[:2])
        if len(first) != 2 or first != self.roots or self.sections[1].stream is not streams[0]:
            raise FormatError("not a batch", expected="manifest and head block as first blocks and as roots")
        self.cid, self.head_cid = first

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            FormatError: it is not one.
            VerificationError: its block is damaged.
        """
        return Manifest.decode(self.block(self.cid))

    def head(self) -> Head:
        """The head block that was signed with this batch; the signature is not checked here."""
        return Head.decode(self.block(self.head_cid))

    def payload(self, manifest: Manifest, elsewhere: Callable[[Cid], bytes] | None = None) -> Iterator[bytes]:
        """The bytes of the payload, in pieces, each block hashed.

        Args:
            manifest: the manifest.
            elsewhere: where blocks come from that are not in the file.
        """

        def get(cid: Cid) -> bytes:
            return self.block(cid) if elsewhere is None or cid in self else elsewhere(cid)

        return unixfs.read(manifest.payload, get, max_bytes=manifest.size)

    def below(self, root: Cid) -> set[Cid]:
        """The blocks of the file or directory whose root this is, itself included."""
        found, waiting = {root}, [root]
        while waiting:
            cid = waiting.pop()
            fresh = {each for each, _ in directory.links(cid, self.block(cid))} - found if cid.codec == DAG_PB else ()
            found.update(fresh)
            waiting.extend(fresh)
        return found


@contextmanager
def open_batch(files: Sequence[Path]) -> Iterator[OpenBatch]:
    """Open the files of a batch, as `Batches.files` names them.

    Raises:
        FormatError: as `OpenBatch`.
        OSError: one is not there or cannot be read.
    """
    with ExitStack() as stack:
        yield OpenBatch(*[stack.enter_context(disk.stream(path)) for path in files])


def checked_lines(manifest: Manifest, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a payload; at their end it is checked that they are those of the manifest.

    Raises:
        FormatError: the payload is not that of the batch, or damaged.
        VerificationError: count or record root is not what the manifest says.
    """
    pieces = iter(chunks)
    first = next(pieces, b"")
    tree = RecordTree(payload.open_prefix(first)[0].salt)
    held: list[bytes] = []
    for line in payload.lines(
        chain([first], pieces), log=manifest.log, index=manifest.index, raw=manifest.raw, size=manifest.size
    ):
        held.append(line)
        if len(held) == _SLICE:
            tree.add(held)
            yield from held
            held = []
    tree.add(held)
    yield from held
    where = f"{manifest.log} batch {manifest.index}"
    if tree.size != manifest.records:
        raise VerificationError(
            "not as many records as the manifest says", expected=manifest.records, found=tree.size, where=where
        )
    if tree.root() != manifest.root:
        raise VerificationError(
            "the records are not those of the manifest",
            expected=manifest.root.hex(),
            found=tree.root().hex(),
            where=where,
        )
