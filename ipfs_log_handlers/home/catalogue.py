"""Keep `batches/catalogue`: the lines of `ls` for all batches, in groups of 250. It is a cache of the manifests.

To list a hundred thousand batches from their manifests takes as many files, hashes and decodings. So when all batches
of a group are sealed, the keeper writes a frame with one JSON line for each batch, in the order of their numbers:

    zstd skippable frame    51 2A 4D 18, u32 24, then u64 group, u32 bytes of the zstd frame, u32 bytes of its lines,
                            u32 crc32 of the zstd frame, u32 crc32 of the 20 bytes before; little endian
    zstd frame              250 lines, each ended by LF; an empty line where the batch could not be read

`zstd -d < batches/catalogue` prints the lines. A reader uses the frames before the first one that is damaged or has a
wrong number, and reads the manifests of all batches after them. The state of a batch is always `sealed` in a line; only
the delivery states say which stores have confirmed the batch.
Spec: RFC 8878.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.format.payload import compress, inflate
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.batch_reader import BatchHeader

__all__ = ["GROUP", "Catalogue", "all_shipped", "as_shipped", "describe", "described", "line_of"]

GROUP: Final = 250
"""Batches in a group."""
_MAGIC: Final = (0x184D2A51).to_bytes(4, "little")
_HEAD: Final = struct.Struct("<4sIQIIII")
_HEAD_BODY_BYTES: Final = _HEAD.size - 8
"""Bytes of a head after its magic number and its length."""
_CHECKED: Final = slice(8, _HEAD.size - 4)
"""The part of a head that its own checksum covers."""
_MAX_FRAME_BYTES: Final = 8 << 20
"""Bytes of a compressed frame that a reader accepts: a manifest has at most 16 KiB."""
_MAX_TEXT_BYTES: Final = 32 << 20
"""Bytes of the lines of one group that a reader accepts."""
_TEXT: Final = b"\n" + bytes(range(0x20, 0x7F))
"""The bytes of which lines consist."""
_SEALED: Final = b'"state":"sealed","meta":'
_SHIPPED: Final = b'"state":"shipped","meta":'


def describe(subsystem: str, header: BatchHeader) -> dict[str, Any]:
    """Return the keys and values of `ls` for a batch; the state is `sealed`."""
    return described(subsystem, header.cid, header.manifest)


def described(subsystem: str, cid: Cid, manifest: Manifest) -> dict[str, Any]:
    """Return the same for the batch with a manifest."""
    return {
        "subsystem": subsystem,
        "log": manifest.log,
        "index": manifest.index,
        "cid": cid.text,
        "payload": manifest.payload.text,
        "records": manifest.records,
        "first": rfc3339(manifest.first),
        "last": rfc3339(manifest.last),
        "raw": manifest.raw,
        "size": manifest.size,
        "encoding": manifest.encoding,
        "sealed": rfc3339(manifest.sealed),
        "state": "sealed",
        "meta": dict(manifest.meta),
    }


def line_of(description: dict[str, Any]) -> bytes:
    """Return the JSON line of a batch, without LF."""
    return json.dumps(description, separators=(",", ":")).encode().replace(b"\x7f", b"\\u007f")


def as_shipped(line: bytes) -> bytes:
    """Return the line of a batch with the state `shipped`."""
    return line.replace(_SEALED, _SHIPPED, 1)


def all_shipped(text: bytes) -> bytes:
    """Return the lines of a group, none of them empty, with the state `shipped`."""
    if text.count(_SEALED) == GROUP:  # no metadata contains the same text
        return text.replace(_SEALED, _SHIPPED)
    return b"".join(as_shipped(line) + b"\n" for line in text.splitlines())


class Catalogue:
    """Read and write the catalogue of one log.

    Args:
        batches: the directory `batches` of the log.
    """

    __slots__ = ("path",)

    def __init__(self, batches: Path) -> None:
        self.path = batches / "catalogue"

    def groups(self) -> Iterator[bytes]:
        """Yield the lines of each group from the first on, and stop before a frame that is damaged."""
        with suppress(OSError, FormatError):
            descriptor = disk.open_file(self.path)
            try:
                for offset, compressed, size, checksum in _frames(descriptor):
                    data = os.pread(descriptor, compressed, offset)
                    if crc32(data) != checksum:
                        return
                    text = inflate(data, size)
                    if text.count(b"\n") != GROUP or not text.endswith(b"\n") or text.translate(None, _TEXT):
                        return  # not written by a keeper
                    yield text
            finally:
                disk.close(descriptor)

    def count(self) -> tuple[int, int]:
        """Count the groups by the heads of their frames; return also the bytes up to the end of the last one."""
        count = end = 0
        with suppress(OSError):
            descriptor = disk.open_file(self.path)
            try:
                for offset, compressed, _, _ in _frames(descriptor):
                    count, end = count + 1, offset + compressed
            finally:
                disk.close(descriptor)
        return count, end

    def is_whole(self) -> bool:
        """Return whether each frame is undamaged, and the file contains only frames. Reads the whole file."""
        groups = sum(1 for _ in self.groups())
        try:
            size = disk.status(self.path).st_size
        except FileNotFoundError:
            return True
        return self.count() == (groups, size)

    def append(self, group: int, end: int, lines: Sequence[bytes]) -> int:
        """Write the frame of the next group; only the keeper may call this. Bytes after `end` are from a failed write.

        Args:
            group: number of the group.
            end: bytes up to the end of the last frame.
            lines: one line for each batch of the group, without LF; an empty one for a batch that cannot be read.

        Returns:
            Bytes up to the end of the new frame.

        Raises:
            OSError: the disk refuses.
        """
        text = b"".join(line + b"\n" for line in lines)
        data = compress(text)
        head = _HEAD.pack(_MAGIC, _HEAD_BODY_BYTES, group, len(data), len(text), crc32(data), 0)
        frame = head[:-4] + crc32(head[_CHECKED]).to_bytes(4, "little") + data
        descriptor = disk.new_file(self.path, os.O_RDWR)
        try:
            disk.truncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            return end + disk.write_all(descriptor, frame)
        finally:
            disk.close(descriptor)


def _frames(descriptor: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the frames with right numbers: offset, bytes, bytes of the lines, checksum; their data is not read."""
    length, at, group = os.fstat(descriptor).st_size, 0, 0
    while at + _HEAD.size <= length:
        head = os.pread(descriptor, _HEAD.size, at)
        if len(head) != _HEAD.size:
            return
        magic, size, number, compressed, text_bytes, checksum, own = _HEAD.unpack(head)
        if (magic, size, number, own) != (_MAGIC, _HEAD_BODY_BYTES, group, crc32(head[_CHECKED])):
            return
        at += _HEAD.size
        if compressed > _MAX_FRAME_BYTES or text_bytes > _MAX_TEXT_BYTES or at + compressed > length:
            return
        yield at, compressed, text_bytes, checksum
        at, group = at + compressed, group + 1
