"""The signing key of a home: made once, by the keeper, before the first signature.

`writer.key` holds one line in the form that Go's `sumdb/note` loads, `PRIVATE+KEY+<name>+…`, 0600. Whoever can read it
can sign in the name of this home; the verifier key (`ipfs-logs keys show`) may be given to everybody.
"""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import string
from collections.abc import Iterator
from typing import Final

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.layout import Home

__all__ = ["load", "load_or_make", "recover"]

_SEED: Final = 44
"""Characters of base64 at the end of a key: one byte that says Ed25519, and the 32 secret ones."""
_BASE64: Final = string.ascii_letters + string.digits + "+/"


def load(home: Home) -> SecretKey | None:
    """The key; `None` before the first batch was sealed.

    Raises:
        HomeError: the file is open to others, belongs to somebody else, or is not a key.
    """
    try:
        descriptor = os.open(home.key, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        raise HomeError("the key belongs to another user", where=home.key, found=status.st_uid)
    if status.st_mode & 0o077:
        raise HomeError(
            "the key can be read by others",
            where=home.key,
            expected="mode 0600",
            found=f"{stat.S_IMODE(status.st_mode):04o}",
            hint="Run chmod 600 on it, and start a new log if somebody may have read it.",
        )
    try:
        return SecretKey.parse(text.decode("ascii").removesuffix("\n"))
    except (FormatError, UnicodeDecodeError) as error:
        raise HomeError(f"not a signing key: {error}", where=home.key, hint="Restore it from a backup.") from error


def load_or_make(home: Home) -> SecretKey:
    """The key; made when there is none. The caller holds the keeper's lock.

    A crash leaves either no key or a whole one: temporary file, sync, link, sync of the directory.
    """
    found = load(home)
    if found is not None:
        return found
    fresh = home.key.with_suffix(".tmp")
    disk.write_new(fresh, [SecretKey.generate(os.urandom(32)).text.encode("ascii") + b"\n"])
    with contextlib.suppress(FileExistsError):
        os.link(fresh, home.key)
    disk.remove(fresh)
    disk.sync_directory(home.path)
    made = load(home)
    if made is None:
        raise HomeError("the key vanished as it was made", where=home.key)
    return made


def recover(home: Home) -> SecretKey | None:
    """The key out of a file of which one byte is damaged: it is the one whose name or ID still stands there.

    Returns:
        `None` when the file is whole (and refused for another reason), or when more of it is damaged.

    Raises:
        OSError: it cannot be read.
    """
    text = disk.read(home.key, 4096).decode("ascii", "replace")
    with contextlib.suppress(FormatError):
        SecretKey.parse(text.removesuffix("\n"))
        return None
    for seed in _seeds(text):
        key = SecretKey.generate(seed)
        if key.name in text or key.verifier.key_id.hex() in text:
            return key
    return None


def _seeds(text: str) -> Iterator[bytes]:
    """The secret bytes that a key's text may mean, with at most one character exchanged."""
    tails = [tail for tail in (text.rstrip("\n")[-_SEED:], text[-_SEED - 1 : -1]) if len(tail) == _SEED]
    changed = [tail[:at] + each + tail[at + 1 :] for tail in tails for at in range(_SEED) for each in _BASE64]
    for tail in [*tails, *changed]:
        with contextlib.suppress(ValueError):
            seed = base64.b64decode(tail, validate=True)
            if len(seed) == 33 and seed[0] == 1:
                yield seed[1:]
