"""Write and read the file of an exported key, outside of the home. The bytes are those of `format/key_export.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.home import disk

if TYPE_CHECKING:
    from ipfs_log_handlers.format.checkpoint import SecretKey
    from ipfs_log_handlers.format.key_export import ExportedKey

__all__ = ["read_key", "write_key"]


def write_key(path: Path, key: SecretKey, passphrase: str | None, name: SecretKey | None) -> None:
    """Write a key to a new file with mode 0600, synced; an existing file is never replaced.

    Raises:
        ConfigurationError: the passphrase is empty.
        FileExistsError: the file exists.
        OSError: the disk refuses; no file is left.
    """
    from ipfs_log_handlers.format import key_export

    data = key_export.encode(key, _bytes(passphrase), name=name)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            disk.close(directory)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_key(path: Path, passphrase: str | None) -> ExportedKey:
    """Read an exported key, or a copy of `writer.key`.

    Raises:
        ConfigurationError: the passphrase is empty.
        FormatError: it is not such a file, it is damaged, or the passphrase does not fit.
        OSError: it cannot be read.
    """
    from ipfs_log_handlers.format import key_export

    with path.open("rb") as file:
        data = file.read(key_export.MAX_BYTES + 1)
    try:
        return key_export.decode(data, _bytes(passphrase))
    except FormatError as error:
        error.where = error.where or path
        raise


def _bytes(passphrase: str | None) -> bytes | None:
    if passphrase == "":
        raise ConfigurationError("an empty passphrase protects nothing", where="passphrase")
    return None if passphrase is None else passphrase.encode()
