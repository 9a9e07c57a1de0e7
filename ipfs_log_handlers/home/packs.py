"""Keep many small batches in one file: a pack, `batches/000/pack-0.car` (docs/home.md 36).

A pack is a CARv1 whose blocks are those of its batches, one batch after the other: manifest, head block, evidence,
payload. Its root is the manifest of its first batch. So `ipfs dag import` accepts an unchanged pack, and the blocks
alone show which batches are in it: each batch begins with a manifest.

Reading never fails because of the content: the undamaged batches are found whatever bytes a pack has, also after
damage. Only the keeper writes packs. `Batches` decides which batches go into which pack.
"""

from __future__ import annotations

import errno
import os
import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, varint
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.manifest import MAX_BLOCK, Manifest
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.index import short_digest

__all__ = [
    "MAX_PACK_BYTES",
    "PackContent",
    "PackedBatch",
    "append",
    "as_car",
    "first_cid",
    "is_batch",
    "log_of",
    "logs_in",
    "read",
    "rewrite",
    "sections_of",
    "sync",
]

MAX_PACK_BYTES: Final = 4 << 20
"""Bytes up to which batches are added to a pack: the size of the reserve, so that a pack can be written anew on a full
disk."""
_MAX_READ_BYTES: Final = MAX_PACK_BYTES + (1 << 20)
"""Bytes of a pack that a reader accepts."""
_MAX_FALSE_STARTS: Final = 4096
"""Number of false beginnings of a manifest after which a reader ends the search in a damaged pack."""
_MANIFEST_CID: Final = re.compile(rb"\x01\x71\x12\x20")
"""The first bytes of the CID of a manifest."""
_CID_BYTES: Final = 36
"""Bytes of a binary CID."""
_NO_BATCH: Final = Cid.of(RAW, b"")
"""Root of a CAR whose first sections are damaged."""
_MAX_CACHED: Final = 8
"""Number of packs whose content a process remembers."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Place of one batch in a pack."""

    index: int
    """Number of the batch."""
    offset: int
    """Offset of its first section."""
    length: int
    """Bytes of its sections."""


@dataclass(frozen=True, slots=True)
class PackContent:
    """The batches in a pack."""

    batches: Mapping[int, PackedBatch]
    """By number, the batches with an undamaged manifest. Other blocks of a batch may be damaged."""
    whole: bool
    """Whether the file contains only these batches, each block undamaged; only then are more batches added."""


class _Section(NamedTuple):
    cid: Cid
    start: int
    """Offset of the section."""
    block: int
    """Offset of the block in it."""
    end: int


# -- read

_cached: OrderedDict[tuple[str, int, int, int], PackContent] = OrderedDict()
"""By path, inode, size and time of change: the content of a pack. A pack that changes gets another key."""


def read(path: Path) -> PackContent:
    """Find the batches in a pack. The result for an unchanged file is remembered.

    Raises:
        OSError: the file cannot be read, or is too large; `FileNotFoundError` if it does not exist.
    """
    descriptor = disk.open_file(path, max_bytes=_MAX_READ_BYTES)
    try:
        key = _key(path, os.fstat(descriptor))
        content = _cached.get(key)
        if content is None:
            data = os.pread(descriptor, _MAX_READ_BYTES, 0)
            content = _parse(data) if data else PackContent({}, whole=True)
            _remember(key, content)
        return content
    finally:
        disk.close(descriptor)


def _key(path: Path, status: os.stat_result) -> tuple[str, int, int, int]:
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns


def _remember(key: tuple[str, int, int, int], content: PackContent) -> None:
    _cached[key] = content
    while len(_cached) > _MAX_CACHED:
        _cached.popitem(last=False)


def _parse(data: bytes) -> PackContent:
    """Find the batches in the bytes of a pack."""
    scan = _Scan(data)
    while scan.at < len(data):
        section = _section(data, scan.at)
        manifest = None if section is None else _manifest(data, section)
        is_whole = section is not None and section.cid.matches(data[section.block : section.end])
        if section is None or not is_whole or (scan.manifest is None and manifest is None):
            section, manifest = scan.after_damage(section)
            if section is None:
                break
        scan.take(section, manifest)
    scan.close(len(data))
    return PackContent(scan.batches, scan.whole)


class _Scan:
    """The state of reading a pack."""

    def __init__(self, data: bytes) -> None:
        self.batches: dict[int, PackedBatch] = {}
        self.whole = True
        self.manifest: Manifest | None = None
        """The manifest of the batch that is read now; `None` outside of a batch."""
        self._start = 0
        self._seen: list[Cid] = []
        self._data = data
        self._false_starts = 0
        try:
            self.at = _after_header(data)
        except FormatError:
            self.at, self.whole = 0, False

    def take(self, section: _Section, manifest: Manifest | None) -> None:
        """Accept a section: the first section of a batch, or the next section of the current batch."""
        if manifest is not None:
            self.close(section.start)
            self.manifest, self._start, self._seen = manifest, section.start, []
        self._seen.append(section.cid)
        self.at = section.end

    def after_damage(self, damaged: _Section | None) -> tuple[_Section | None, Manifest | None]:
        """Search for the next manifest. The length of a damaged section is not used.

        Damaged bytes belong to the current batch, unless it has all its blocks, or the bytes are at the place of the
        next manifest.
        """
        self.whole = False
        if self.manifest is not None:
            has_head = sum(cid.codec == DAG_CBOR for cid in self._seen) >= 2
            is_manifest = has_head and damaged is not None and damaged.cid.codec == DAG_CBOR
            if is_manifest or self.manifest.payload in self._seen:
                self.close(self.at)
        for match in _MANIFEST_CID.finditer(self._data, self.at):
            for width in (1, 2, 3):
                section = _section(self._data, match.start() - width)
                if section is not None and section.block == match.start() + _CID_BYTES and section.start > self.at:
                    manifest = _manifest(self._data, section)
                    if manifest is not None:
                        return section, manifest
            self._false_starts += 1
            if self._false_starts > _MAX_FALSE_STARTS:
                break
        return None, None

    def close(self, end: int) -> None:
        """End the current batch, if there is one."""
        if self.manifest is not None:
            index = self.manifest.index
            self.batches[index] = PackedBatch(index, self._start, end - self._start)
        self.manifest = None


def _after_header(data: bytes) -> int:
    """Return the offset after the header of a CAR."""
    size, at = varint.decode(data, 0)
    if at + size > len(data):
        raise FormatError("a pack ends in its header")
    return at + size


def _section(data: bytes, at: int) -> _Section | None:
    """Read the head of a section; `None` if there is none at this offset, or if it goes past the end."""
    if at < 0:
        return None
    try:
        size, start = varint.decode(data, at)
        cid = Cid(data[start : start + _CID_BYTES])
    except FormatError:
        return None
    if not _CID_BYTES <= size <= _CID_BYTES + car.MAX_BLOCK or start + size > len(data):
        return None
    return _Section(cid, at, start + _CID_BYTES, start + size)


def _manifest(data: bytes, section: _Section) -> Manifest | None:
    """Decode the block of a section, if it is the manifest that its CID names."""
    block = data[section.block : section.end]
    if section.cid.codec != DAG_CBOR or len(block) > MAX_BLOCK or not section.cid.matches(block):
        return None
    try:
        return Manifest.decode(block)
    except FormatError:
        return None


def logs_in(path: Path) -> set[str]:
    """Name the logs of the batches in a pack: one, unless the files of several logs were mixed.

    Raises:
        OSError: the file cannot be read.
    """
    data = disk.read(path, _MAX_READ_BYTES)
    places = read(path).batches.values()
    logs = (log_of(data[place.offset : place.offset + place.length]) for place in places)
    return {log for log in logs if log is not None}


def log_of(sections: bytes) -> str | None:
    """Name the log of the batch whose sections these are; `None` when its manifest is damaged."""
    first = _section(sections, 0)
    manifest = None if first is None else _manifest(sections, first)
    return None if manifest is None else manifest.log


def first_cid(sections: bytes) -> Cid:
    """Return the CID of the manifest of a batch that is whole."""
    return Cid(sections[varint.decode(sections, 0)[1] :][:_CID_BYTES])


def is_batch(sections: bytes, manifest: bytes) -> bool:
    """Return whether sections are exactly one batch, whose manifest has a digest with these first 8 bytes.

    Only the manifest is hashed, and it is not decoded: the reader of the batch does it, and finds other damage. After
    the head block come only blocks whose CIDs are in the manifest, so the beginning of the next batch is not treated as
    a part of this one.
    """
    first = _section(sections, 0)
    if first is None or short_digest(first.cid) != manifest:
        return False
    block = sections[first.block : first.end]
    head = _section(sections, first.end)
    if head is None or not first.cid.matches(block):
        return False
    at = head.end
    while at < len(sections):
        section = _section(sections, at)
        if section is None or bytes(section.cid) not in block:
            return False
        at = section.end
    return True


def as_car(sections: bytes) -> bytes:
    """Return the sections of one batch as a CAR of its own, equal to its own file.

    The roots are the CIDs of the first two sections, as in a batch file. If these are damaged, the CAR has a root that
    no batch has, so that a reader finds the damage.
    """
    roots = []
    at = 0
    for _ in range(2):
        section = _section(sections, at)
        if section is None:
            return car.header([_NO_BATCH]) + sections
        roots.append(section.cid)
        at = section.end
    return car.header(roots) + sections


def sections_of(data: bytes) -> bytes:
    """Return the sections of a batch's own file, all after the header.

    Raises:
        FormatError: the file does not begin with a header.
    """
    return data[_after_header(data) :]


# -- write; only for the keeper


def append(path: Path, root: Cid, batches: Sequence[tuple[int, bytes]]) -> list[PackedBatch]:
    """Add the sections of batches to an undamaged pack, or begin a pack. Synced on return, the directory too.

    After a crash in between, bytes follow the last complete batch, and no batch is added to this pack any more.

    Args:
        path: the pack.
        root: CID of the first manifest, the root of a new pack.
        batches: number and sections of each batch.

    Raises:
        OSError: the disk refuses; the written bytes are cut off again, if the disk allows it.
    """
    with _locked(path) as descriptor:
        content = read(path)
        if not content.whole:
            raise BlockingIOError(errno.EAGAIN, "this pack contains bytes that are not a batch", str(path))
        before = os.fstat(descriptor).st_size
        pieces = [] if before else [car.header([root])]
        end = before + sum(map(len, pieces))
        added = []
        for index, sections in batches:
            added.append(PackedBatch(index, end, len(sections)))
            pieces.append(sections)
            end += len(sections)
        try:
            os.lseek(descriptor, before, os.SEEK_SET)
            disk.write_all(descriptor, b"".join(pieces))
            disk.sync_data(descriptor)
        except BaseException:
            disk.truncate(descriptor, before)
            raise
        if not before:
            disk.sync_directory(path.parent)
        content = PackContent({**content.batches, **{batch.index: batch for batch in added}}, whole=True)
        _remember(_key(path, os.fstat(descriptor)), content)
        return added


def sync(path: Path) -> None:
    """Sync a pack and its name: a keeper may have been killed after it wrote them and before it synced.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = disk.open_file(path)
    try:
        disk.sync_data(descriptor)
    finally:
        disk.close(descriptor)
    disk.sync_directory(path.parent)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a pack, made if it is missing, and lock it, so that two keepers by mistake never write it at the same time.

    Raises:
        BlockingIOError: another process writes it now.
        OSError: the disk refuses.
    """
    descriptor = disk.take_lock(path)
    if descriptor is None:
        raise BlockingIOError(errno.EAGAIN, "another process writes this pack", str(path))
    try:
        yield descriptor
    finally:
        disk.close_locked(descriptor)


def rewrite(path: Path, temporary: Path, *, drop: Collection[int] = (), strip: Mapping[int, Collection[Cid]]) -> None:
    """Write a pack anew without some batches, or without some blocks of batches, in one step; synced.

    Bytes that belong to no batch stay: damage is kept as it is.

    Args:
        path: the pack.
        temporary: name of a file on the same disk, without its suffix, that is written and then renamed.
        drop: numbers of the batches that are left out.
        strip: by number of the batch, the CIDs of the blocks that stay.

    Raises:
        OSError: the disk refuses; the pack is as before.
    """
    with _locked(path):
        content = read(path)
        data = disk.read(path, _MAX_READ_BYTES)
        pieces, at = [], 0
        for batch in sorted(content.batches.values(), key=lambda batch: batch.offset):
            sections = data[batch.offset : batch.offset + batch.length]
            pieces.append(data[at : batch.offset])
            if batch.index in strip:
                pieces += _kept(sections, strip[batch.index])
            elif batch.index not in drop:
                pieces.append(sections)
            at = batch.offset + batch.length
        pieces.append(data[at:])
        disk.replace(path, iter(pieces), beside=temporary)


def _kept(sections: bytes, cids: Collection[Cid]) -> Iterable[bytes]:
    """Yield the sections with these CIDs, and all sections from a damaged one on."""
    at = 0
    while at < len(sections):
        section = _section(sections, at)
        if section is None:
            yield sections[at:]
            return
        if section.cid in cids:
            yield sections[section.start : section.end]
        at = section.end
