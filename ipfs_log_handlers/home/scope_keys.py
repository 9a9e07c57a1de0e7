"""Make, read and forget the secrets from which the ids of scopes are computed, in `keys/scopes/` of the home.

With `encrypt={"scope": "tenant_id"}`, the records with one value of that field have a key of their own. Its name is in
clear in manifests, so it has a hash of the value under a secret of the subsystem and period: who has the manifests, and
not this file, cannot try out values. `keys/scopes/<subsystem>/<period>` holds one line: 64 hex digits, 0600. It is
never shipped.

The secret of a period stays as long as one of its keys with a scope is in use, because without it nobody could find the
key of a value, to destroy it. So a lost one is not replaced by another one while there is such a key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format.kid import Kid, bounds
from ipfs_log_handlers.home import disk, secret_file
from ipfs_log_handlers.home.key_directory import kids_of, locked, state
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["forget", "load", "load_or_make", "periods", "scope_of", "text_of"]

_LINE: Final = re.compile(rb"[0-9a-f]{64}\n")
"""The content of the file."""
_SECRET_BYTES: Final = 32
"""Bytes of a secret: as many as HMAC-SHA-256 uses well."""
_ID_DIGITS: Final = 16
"""Hex digits of an id: two of 4096 values have the same with a probability of 10⁻¹²; they would share a key."""


def text_of(value: Any) -> str | None:
    """Return the text that stands for the value of a field: that of a text or number; `None`: it has no key of its own.

    A number and its text are the same value, because a command line has only texts.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else None


def scope_of(secret: bytes, text: str) -> str:
    """Return the id of a value, 16 hex digits.

    Args:
        secret: the secret of the subsystem and period.
        text: the value, by `text_of`.
    """
    return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_ID_DIGITS]


def load(home: HomeDir, subsystem: str, period: str) -> bytes | None:
    """Read the secret of a subsystem and period; `None` if there is none.

    Raises:
        HomeError: other users can read the file, it belongs to another user, or it holds no secret.
        FormatError: it is not a period.
        OSError: it cannot be read.
    """
    path = _path(home, subsystem, period)
    line = secret_file.read(path, "the secret of scopes", if_read=".")
    if line is None:
        return None
    if _LINE.fullmatch(line) is None:
        raise HomeError("not the secret of scopes", where=path, hint="Restore it from a backup of keys/.")
    return bytes.fromhex(line[:-1].decode("ascii"))


def load_or_make(home: HomeDir, subsystem: str, period: str) -> bytes:
    """Read the secret of a subsystem and period, and make it if there is none; on return it survives a power cut.

    Raises:
        HomeError: as `load`; or it is lost, although a key whose name was made with it is in use.
        OSError: the disk refuses.
    """
    secret = load(home, subsystem, period)
    if secret is not None:
        return secret
    with locked(home):
        secret = load(home, subsystem, period)
        if secret is None:
            path = _path(home, subsystem, period)
            if _in_use(home, subsystem, period):
                raise HomeError(
                    f"the secret from which the keys of values of {subsystem} in {period} have their names is lost",
                    where=path,
                    hint=f"Restore it from a backup, or destroy the keys: `ipfs-logs keys shred --period {period}`.",
                )
            for directory in (path.parent.parent, path.parent):
                disk.ensure_directory(directory, sync=True)
            disk.sweep(path.parent)
            secret = os.urandom(_SECRET_BYTES)
            disk.replace(path, secret.hex().encode("ascii") + b"\n")
    return secret


def forget(home: HomeDir, subsystem: str, period: str) -> bool:
    """Destroy the secret of a period whose keys with a scope were all destroyed; return whether it is gone.

    Then nobody can find out any more, not even with the home, whether the log had records of a value.

    Raises:
        OSError: the disk refuses; call it again.
    """
    path = _path(home, subsystem, period)
    if not disk.exists(path):
        return True
    with locked(home):
        if _in_use(home, subsystem, period):
            return False
        try:
            descriptor = disk.open_file(path, os.O_WRONLY)
        except FileNotFoundError:
            return True
        try:
            disk.write_all(descriptor, bytes(_SECRET_BYTES * 2 + 1))
            disk.sync_data(descriptor)
        finally:
            disk.close(descriptor)
        disk.remove(path)
        disk.sync_directory(path.parent)
        return True


def periods(home: HomeDir, subsystem: str) -> list[str]:
    """List the periods of a subsystem that have a secret, in the order of their names."""
    found = []
    for name in sorted(disk.file_names(_directory(home, subsystem))):
        try:
            bounds(name)
        except FormatError:
            continue
        found.append(name)
    return found


def _in_use(home: HomeDir, subsystem: str, period: str) -> bool:
    """Return whether a key with a scope was made in a period and was not destroyed."""
    return any(
        Kid.parse(kid).scope and state(home, kid) not in ("shredded", "missing")
        for kid in kids_of(home, subsystem, period)
    )


def _directory(home: HomeDir, subsystem: str) -> Path:
    return home.keys / "scopes" / subsystem


def _path(home: HomeDir, subsystem: str, period: str) -> Path:
    bounds(period)
    if not home.may_be_subsystem(subsystem):
        raise HomeError("not a subsystem", found=subsystem)
    return _directory(home, subsystem) / period
