"""Encrypt an archived file or directory to the key of a period, while its blocks are made; open it again.

The payload is a UnixFS file whose bytes are a file of age v1 with one X25519 recipient, over these zstd frames:

    kind        52 2A 4D 18, u32 LE length, `file` or `directory`: a skippable frame
    content     a zstd frame: the bytes of the file; of a directory, a CAR
    padding     as in `encryption`

So `age -d -i PERIOD | zstd -d` prints a file. The root of the tree of a directory is the last block in its CAR, because
it is known only when all other blocks are written; the header of the CAR names the empty block, which is its first
block.
The hidden claims in the manifest name the CID that the file or directory has in clear, as `content` in `meta`.

Nothing here needs more than a few MiB of memory, whatever the size of the archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, encryption, payload, unixfs
from ipfs_log_handlers.format.cid import RAW, Cid

__all__ = ["EncryptedArchive", "contents", "decrypt", "encrypt", "kind_of"]

_KINDS: Final = ("file", "directory")
"""The kinds of archives."""
_KIND: Final = (0x184D2A52).to_bytes(4, "little")
"""The first bytes of the frame with the kind."""
_EMPTY: Final = Cid.of(RAW, b"")
"""The empty block, which the header of a CAR names."""
_LEVEL: Final = 1
"""zstd level: the program waits for its archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedArchive:
    """What was encrypted."""

    root: Cid
    """Root of the encrypted payload."""
    size: int
    """Bytes of the encrypted payload."""
    content: Cid
    """The CID of the file or directory in clear."""
    raw: int
    """Bytes of the file, or of the CAR of the directory."""


def encrypt(blocks: Iterable[tuple[Cid, bytes]], kind: str, recipient: str, put: car.Put) -> EncryptedArchive:
    """Encrypt a file or directory.

    Args:
        blocks: its blocks, the root last, as `ipfs add` would make them.
        kind: `file` or `directory`.
        recipient: the public key of the period, `age1…`.
        put: called with each block of the payload, the root last.

    Raises:
        FormatError: it is not a public key.
        ConfigurationError: the library for age is not installed.
        Exception: each exception of `blocks` and `put`.
    """
    plain, ciphertext = _Plain(blocks, kind), _Ciphertext(put)
    source = _Chunks(plain.frames())
    library = encryption.age_library()
    to = encryption.parsed_recipient(recipient)
    try:
        library.encrypt_io(source, ciphertext, [to])
    except (library.EncryptError, OSError) as error:
        raise source.failure or ciphertext.failure or error from error
    root = ciphertext.finish()
    return EncryptedArchive(root=root, size=ciphertext.size, content=plain.content, raw=plain.raw)


class _Plain:
    """The frames before age is applied."""

    def __init__(self, blocks: Iterable[tuple[Cid, bytes]], kind: str) -> None:
        self.content = _EMPTY
        self.raw = 0
        self._blocks = blocks
        self._kind = kind

    def frames(self) -> Iterator[bytes]:
        """Yield the frames in pieces."""
        head = _KIND + len(self._kind).to_bytes(4, "little") + self._kind.encode()
        yield head
        size, encoder = len(head), payload.Encoder(_LEVEL)
        for data in self._content(is_file=self._kind == "file"):
            self.raw += len(data)
            compressed = encoder.add(data)
            size += len(compressed)
            if compressed:
                yield compressed
        rest = encoder.finish()
        yield rest
        yield from encryption.padding(size + len(rest))

    def _content(self, *, is_file: bool) -> Iterator[bytes]:
        if not is_file:
            yield car.header([_EMPTY]) + car.section(_EMPTY, b"")
        seen = {_EMPTY}
        for cid, block in self._blocks:
            self.content = cid
            if is_file:
                if cid.codec == RAW:
                    yield block
            elif cid not in seen:
                seen.add(cid)
                yield car.section(cid, block)
        if not is_file and self.content == _EMPTY:
            raise FormatError("a directory without a block")


class _Ciphertext:
    """The blocks of the encrypted payload, made while its bytes are written."""

    def __init__(self, put: car.Put) -> None:
        self.size = 0
        self.failure: BaseException | None = None
        self._put = put
        self._builder = unixfs.Builder()
        self._held = bytearray()
        self._root = _EMPTY

    def write(self, data: bytes) -> int:
        """Take the next bytes."""
        try:
            self._held += data
            self.size += len(data)
            while len(self._held) > unixfs.CHUNK:
                self._store(self._builder.leaf(bytes(self._held[: unixfs.CHUNK])))
                del self._held[: unixfs.CHUNK]
        except BaseException as error:
            self.failure = error  # the library does not hand it on
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: the last bytes are stored by `finish`."""

    def finish(self) -> Cid:
        """Store the last blocks; return the root."""
        self._store(self._builder.leaf(bytes(self._held)))
        self._store(self._builder.finish())
        return self._root

    def _store(self, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        for cid, block in blocks:
            self._put(cid, block)
            self._root = cid


# -- opening


def decrypt(chunks: Iterable[bytes], identity: str, out: BinaryIO, *, where: str = "") -> int:
    """Write the frames of a payload to a file, after each part of them is authenticated; return their bytes.

    Args:
        chunks: the encrypted payload in pieces.
        identity: the secret key of its period, `AGE-SECRET-KEY-1…`.
        out: gets the frames; it is complete only if no error is raised.
        where: name of the place, for errors.

    Raises:
        CiphertextError: it is damaged, or encrypted to another key.
        ConfigurationError: the library for age is not installed.
        Exception: each exception of `chunks` and `out`.
    """
    library = encryption.age_library()
    source, target = _Chunks(chunks), _Target(out)
    try:
        library.decrypt_io(source, target, [encryption.parsed_identity(identity)])
    except (library.DecryptError, OSError) as error:  # damage behind the header is an OSError of the library
        raise source.failure or target.failure or encryption.damage(error, where) from error
    return target.size


class _Chunks:
    """Chunks as a stream that is read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.failure: BaseException | None = None
        self._chunks = iter(chunks)
        self._ahead = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; none at the end."""
        try:
            while not self._ahead:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return b""
                self._ahead = memoryview(chunk)
        except BaseException as error:
            self.failure = error  # the library does not hand it on
            raise
        taken = self._ahead if size < 0 else self._ahead[:size]
        self._ahead = self._ahead[len(taken) :]
        return taken.tobytes()


class _Target:
    """A file that counts its bytes."""

    def __init__(self, out: BinaryIO) -> None:
        self.size = 0
        self.failure: BaseException | None = None
        self._out = out

    def write(self, data: bytes) -> int:
        """Write the next bytes."""
        try:
            self._out.write(data)
        except BaseException as error:
            self.failure = error  # the library does not hand it on
            raise
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed by its owner."""


def kind_of(beginning: bytes) -> str:
    """Return `file` or `directory`, from the first bytes of the frames.

    Raises:
        FormatError: they do not begin with such a frame.
    """
    length = int.from_bytes(beginning[4:8], "little")
    kind = beginning[8 : 8 + length].decode("latin-1") if length <= max(map(len, _KINDS)) else ""
    if beginning[:4] != _KIND or kind not in _KINDS:
        raise FormatError("an encrypted archive begins with its kind", found=beginning[:8].hex())
    return kind


def contents(frames: Iterable[bytes], *, raw: int, size: int) -> Iterator[bytes]:
    """Inflate the frames: yield the bytes of the file, or of the CAR of the directory.

    Args:
        frames: the frames in pieces.
        raw: bytes that the hidden claims name. Of a new version of an archive that its maker could not open, this is
            the rounded number of the older version.
        size: bytes of the frames.

    Raises:
        FormatError: a frame is damaged, or there is more or less in it.
    """
    seen = 0
    for piece in payload.frames(frames, raw=raw, size=size):
        seen += len(piece)
        yield piece
    if encryption.padme(seen) != encryption.padme(raw):
        raise FormatError("an archive has another size than its manifest says", expected=raw, found=seen)
