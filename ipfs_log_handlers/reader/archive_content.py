"""Read the content of an archive: its entries and their bytes. Each block is verified before it is used.

An encrypted archive is decrypted as a whole before its first byte is used, because its end is authenticated last: into
a file without a name in the directory for temporary files, which is gone when the reader ends, also if it is killed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import directory, encrypted_archive, unixfs
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.directory import Entry
from ipfs_log_handlers.format.encryption import Revealed
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.pending_archives import Ciphertext
from ipfs_log_handlers.reader.archives import Version
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.source import CarBlocks

__all__ = ["Get", "OpenArchive", "check_content", "entry_at", "open_archive", "opened", "restore"]

_HEAD_BYTES: Final = 64
"""Bytes that contain the kind of an encrypted archive."""
_PIECE_BYTES: Final = 1 << 20
"""Bytes of a temporary file that are read at a time."""
_MAX_UNKNOWN_BYTES: Final = 1 << 40
"""Largest number of bytes of an archive whose size the home does not have."""

Get = Callable[[Cid], bytes]
"""A function that returns a block by its CID, hashed."""


@contextmanager
def opened(
    version: Version,
    *,
    stores: Sequence[str] = (),
    token: str | None = None,
    fetch: bool = False,
    own: Mapping[str, str | None] | None = None,
) -> Iterator[Get]:
    """Open the blocks of an archive, in the home or else at its stores; each block is hashed.

    Args:
        version: the archive.
        stores: addresses of the user's stores, which are asked for blocks that are not in the home.
        token: credential for these stores.
        fetch: also ask stores whose address is only in the home's files.
        own: addresses that this process has configured, with their tokens.

    Raises:
        FileNotFoundError: the keeper has just sealed the archive; find its version again.
        StoreError: no store has a block that is not in the home.
    """
    with ExitStack() as stack:
        blocks = CarBlocks(*[stack.enter_context(disk.stream(path)) for path in version.files])
        fetcher = Fetcher(stores, token=token, fetch=fetch, own=own)
        stack.callback(fetcher.close)

        def get(cid: Cid) -> bytes:
            return blocks.block(cid) if cid in blocks else fetcher.get(cid, version.stores)

        yield get


def entry_at(version: Version, get: Get, path: str) -> Entry | None:
    """Find the file or directory at a path `a/b` in an archive; the empty path is the root."""
    wanted = tuple(part for part in path.split("/") if part)
    return next((entry for entry in directory.walk(version.root, get) if entry.path == wanted), None)


class OpenArchive:
    """The content of an archive: a file, or a directory with all its files. Each block is hashed.

    Made by `open_archive`; usable until its block ends.
    """

    def __init__(self, version: Version, get: Get) -> None:
        self.version = version
        """The archive."""
        self._get = get

    def entry(self, path: str = "") -> Entry | None:
        """Find the file, directory or symbolic link at a path such as `a/b`; the empty path is the archive itself."""
        return entry_at(self.version, self._get, path)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries of the archive, a directory before the entries in it."""
        return directory.walk(self.version.root, self._get)

    def read(self, entry: Entry) -> Iterator[bytes]:
        """Yield the bytes of a file in pieces.

        Raises:
            LogStoreError: a block is damaged or missing.
        """
        size = self.version.size
        return entry.read(self._get, max_bytes=_MAX_UNKNOWN_BYTES if size is None else size)

    def restore(self, target: Path, entry: Entry | None = None) -> None:
        """Write the archive, or one entry of it, to a path that does not exist. Raises as `restore` of this module."""
        version = self.version
        if entry is not None and entry.path:
            version = replace(version, root=entry.cid, size=None)
        restore(version, self._get, target)


@contextmanager
def open_archive(
    version: Version,
    *,
    stores: Sequence[str] = (),
    token: str | None = None,
    fetch: bool = False,
    own: Mapping[str, str | None] | None = None,
    keyring: Keyring = NO_KEYS,
) -> Iterator[OpenArchive]:
    """Open an archive for reading; blocks come from the home, else from stores, as for `opened`.

    Args:
        version: the archive.
        stores: as for `opened`.
        token: as for `opened`.
        fetch: as for `opened`.
        own: as for `opened`.
        keyring: opens an encrypted archive.

    Raises:
        FileNotFoundError: the keeper has just sealed the archive; find its version again.
        StoreError: no store has a block that is not in the home.
        NoIdentityError: the archive is encrypted, and no identity opens it; `ErasedError`: its key was destroyed.
        CiphertextError: it is damaged, or encrypted to another key.
        VerificationError, FormatError: what was encrypted is not the content that its description names.
    """
    with opened(version, stores=stores, token=token, fetch=fetch, own=own) as get:
        if version.ciphertext is None:
            yield OpenArchive(version, get)
            return
        with _decrypted(version, version.ciphertext, get, keyring) as (root, get_content):
            yield OpenArchive(replace(version, root=root, ciphertext=None), get_content)


@contextmanager
def _decrypted(version: Version, ciphertext: Ciphertext, get: Get, keyring: Keyring) -> Iterator[tuple[Cid, Get]]:
    """Decrypt an archive; yield the root of its content, and a function that returns its blocks."""
    where = version.name or version.root.text
    secret = keyring.secret(ciphertext.kid, ciphertext.recipient, where)
    chunks = unixfs.read(version.root, get, max_bytes=ciphertext.size, hashed=False)
    with _plain(chunks, secret, ciphertext.raw, version.content, where) as blocks:
        yield blocks.root, blocks.block


def check_content(manifest: Revealed, chunks: Iterable[bytes]) -> None:
    """Decrypt an archive, and check that it has the content that its description names.

    Args:
        manifest: its manifest, revealed.
        chunks: the encrypted payload in pieces.

    Raises:
        CiphertextError, VerificationError, FormatError: as `open_archive`.
        OSError: there is no space for a temporary file.
    """
    content = manifest.meta.get("content")
    expected = Cid.parse(content) if isinstance(content, str) else None
    with _plain(chunks, manifest.identity, manifest.raw, expected, f"{manifest.log} batch {manifest.index}"):
        pass


@contextmanager
def _plain(
    chunks: Iterable[bytes], secret: str, raw: int, content: Cid | None, where: str
) -> Iterator[_CarContent | _FileContent]:
    """Decrypt a payload into a temporary file, and yield the blocks of its content."""
    with tempfile.TemporaryFile() as plain:
        with tempfile.TemporaryFile() as frames:
            size = encrypted_archive.decrypt(chunks, secret, frames, where=where)
            frames.seek(0)
            kind = encrypted_archive.kind_of(frames.read(_HEAD_BYTES))
            frames.seek(0)
            for piece in encrypted_archive.contents(_pieces(frames), raw=raw, size=size):
                plain.write(piece)
        blocks = _CarContent(plain) if kind == "directory" else _FileContent(plain)
        if content not in (None, blocks.root):
            raise VerificationError(
                "an encrypted archive has another content than its description says",
                where=where,
                expected=content,
                found=blocks.root,
            )
        yield blocks


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    return iter(partial(stream.read, _PIECE_BYTES), b"")


class _CarContent(CarBlocks):
    """The blocks of a directory, in a CAR whose last block is the root."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.root = self.sections[-1].cid


class _FileContent:
    """The blocks of a file, made of its bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._leaves: dict[Cid, tuple[int, int]] = {}
        self._nodes: dict[Cid, bytes] = {}
        stream.seek(0)
        at = 0
        for cid, block in unixfs.build(_pieces(stream)):
            self.root = cid
            if cid.codec == RAW:
                self._leaves[cid] = at, len(block)
                at += len(block)
            else:
                self._nodes[cid] = block

    def block(self, cid: Cid) -> bytes:
        """Return a block."""
        if cid in self._nodes:
            return self._nodes[cid]
        if cid not in self._leaves:
            raise VerificationError("a block is missing", expected=cid.text)
        at, size = self._leaves[cid]
        self._stream.seek(at)
        return self._stream.read(size)


def restore(version: Version, get: Get, target: Path) -> None:
    """Write an archive to a path that does not exist; afterwards the path has the complete archive, or does not exist.

    Raises:
        FileExistsError: the path exists.
        FileNotFoundError: the directory above the path does not exist.
        LogStoreError: a block is damaged or missing.
        OSError: it cannot be written.
    """
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: the directory {target.parent} does not exist")
    fresh = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        left = _MAX_UNKNOWN_BYTES if version.size is None else version.size
        for entry in directory.walk(version.root, get):
            left -= _write(fresh.joinpath(*entry.path), entry, get, left)
        if left and version.size is not None:
            raise VerificationError(
                "an archive has another size than its manifest says", expected=version.size, found=version.size - left
            )
        if target.is_symlink() or target.exists():
            raise FileExistsError(f"{target} exists already")
        os.rename(fresh, target)
    except BaseException:
        if fresh.is_dir() and not fresh.is_symlink():
            shutil.rmtree(fresh, ignore_errors=True)
        else:
            with suppress(OSError):
                fresh.unlink()
        raise


def _write(path: Path, entry: Entry, get: Get, left: int) -> int:
    """Write one entry, at most `left` bytes; return the number of bytes."""
    if entry.kind == "directory":
        path.mkdir()
        return 0
    if entry.kind == "symlink":
        path.symlink_to(entry.target)
        return 0
    size = 0
    with path.open("xb") as stream:
        for span in entry.read(get, max_bytes=left):
            size += stream.write(span)
    return size
