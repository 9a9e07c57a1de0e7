"""List the encodings of a payload: the name of each, and the functions that check, open and count it.

The name is `encoding` in the manifest. To add an encoding, add an entry to `ENCODINGS`: no other module compares names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ipfs_log_handlers.errors import FormatError, NoIdentityError
from ipfs_log_handlers.format import directory, payload, unixfs
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.merkle import SALT_SIZE

__all__ = ["ENCODINGS", "JSONL", "JSONL_AGE", "UNIXFS", "UNIXFS_AGE", "Encoding", "encoding_of"]

JSONL: Final = "jsonl+zstd"
"""Name of the encoding of records: JSON Lines in zstd frames, see `payload`."""

JSONL_AGE: Final = "jsonl+zstd+age"
"""Name of the encoding of encrypted records: the same, padded, in a file of age, see `encryption`."""

UNIXFS: Final = "unixfs"
"""Name of the encoding of an archived file or directory: its unchanged bytes, without records."""

UNIXFS_AGE: Final = "unixfs+zstd+age"
"""Name of the encoding of an encrypted archive: compressed and padded, in a file of age, see `encrypted_archive`."""


class _Lines(Protocol):
    def __call__(self, chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> Iterator[bytes]: ...


class _Text(Protocol):
    def __call__(self, chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The functions that read payloads of one encoding."""

    name: str
    """`encoding` in the manifest."""
    title: str
    """Name of such a batch in a list for people."""
    has_records: bool
    """Whether the payload contains records."""
    blocks_apart: bool
    """Whether the blocks of the payload are in a CAR of their own, `<index>.payload.car`."""
    small_trees: bool
    """Whether a payload of at most 1 MiB may be a dag-pb block: a directory."""
    check: Callable[[int, int, int], None]
    """Check that records, stored bytes and decompressed bytes of a manifest match; raise `FormatError` otherwise."""
    lines: _Lines
    """Open a payload: yield its records, as `payload.lines` does."""
    text: _Text
    """Open a payload: return its records as one text, as `payload.text` does."""
    salt: Callable[[bytes], bytes]
    """Read the salt of the tree over the records from the first piece of the payload; zeros when it has no records."""
    stored_bytes: Callable[[Cid, Callable[[Cid], bytes], int], int]
    """Count a payload: read root, block source and limit, hash each block, return what `size` must be."""
    within: str | None = None
    """Name of the encoding of the bytes in an encrypted payload; `None`: the payload is not encrypted."""


def encoding_of(name: str) -> Encoding:
    """Find an encoding by its name.

    Raises:
        FormatError: this code does not know the encoding.
    """
    encoding = ENCODINGS.get(name) if isinstance(name, str) else None
    if encoding is None:
        raise FormatError(
            "an encoding that this code does not know",
            expected=" or ".join(ENCODINGS),
            found=ascii(name),
            hint="upgrade ipfs_log_handlers to read it",
        )
    return encoding


def _check_records(records: int, _: int, raw: int) -> None:
    """Check that the bytes are enough for `{}` and LF of each record, and that there are no bytes without a record."""
    if not raw >= 3 * records >= (3 if raw else 0):
        raise FormatError("numbers of records and bytes do not match", found=f"{records} records, {raw} bytes")


def _file_bytes(root: Cid, get: Callable[[Cid], bytes], max_bytes: int) -> int:
    return sum(len(chunk) for chunk in unixfs.read(root, get, max_bytes=max_bytes))


def _check_archive(records: int, size: int, raw: int) -> None:
    if records or raw != size:
        raise FormatError("an archive has no records and is stored unchanged", found=f"{records} records, {raw} bytes")


def _check_encrypted_archive(records: int, size: int, raw: int) -> None:
    del size, raw
    if records:
        raise FormatError("an archive has no records", found=f"{records} records")


def _no_lines(chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> Iterator[bytes]:
    del chunks, log, index, raw, size
    return iter(())


def _no_text(chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> bytes:
    del chunks, log, index, raw, size
    return b""


def _encrypted_lines(chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> Iterator[bytes]:
    del chunks, raw, size
    raise _encrypted(f"{log} batch {index}")


def _encrypted_text(chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> bytes:
    del chunks, raw, size
    raise _encrypted(f"{log} batch {index}")


def _encrypted_salt(beginning: bytes) -> bytes:
    del beginning
    raise _encrypted("a payload")


def _encrypted(where: str) -> NoIdentityError:
    return NoIdentityError("the records are encrypted, and were not decrypted before", where=where)


def _salt(beginning: bytes) -> bytes:
    return payload.open_prefix(beginning)[0].salt


def _no_salt(beginning: bytes) -> bytes:
    del beginning
    return bytes(SALT_SIZE)


def _tree_bytes(root: Cid, get: Callable[[Cid], bytes], max_bytes: int) -> int:
    return directory.bytes_in(root, get, max_bytes=max_bytes)


ENCODINGS: Final[Mapping[str, Encoding]] = {
    encoding.name: encoding
    for encoding in (
        Encoding(
            name=JSONL,
            title="records",
            has_records=True,
            blocks_apart=False,
            small_trees=False,
            check=_check_records,
            lines=payload.lines,
            text=payload.text,
            salt=_salt,
            stored_bytes=_file_bytes,
        ),
        Encoding(
            name=JSONL_AGE,
            title="records",
            has_records=True,
            blocks_apart=False,
            small_trees=False,
            check=_check_records,
            lines=_encrypted_lines,
            text=_encrypted_text,
            salt=_encrypted_salt,
            stored_bytes=_file_bytes,
            within=JSONL,
        ),
        Encoding(
            name=UNIXFS,
            title="archive",
            has_records=False,
            blocks_apart=True,
            small_trees=True,
            check=_check_archive,
            lines=_no_lines,
            text=_no_text,
            salt=_no_salt,
            stored_bytes=_tree_bytes,
        ),
        Encoding(
            name=UNIXFS_AGE,
            title="archive",
            has_records=False,
            blocks_apart=True,
            small_trees=False,
            check=_check_encrypted_archive,
            lines=_no_lines,
            text=_no_text,
            salt=_no_salt,
            stored_bytes=_file_bytes,
            within=UNIXFS,
        ),
    )
}
"""The encodings by name."""
