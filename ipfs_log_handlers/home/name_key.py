"""Make and read the key of a home's IPNS name; the keeper makes it once, before the first publication.

`name.key` holds one line in the form of `writer.key`, with the name itself as the name of the key:
`PRIVATE+KEY+k51…+<ID>+<base64>`, 0600. A program that can read it can let the name lead elsewhere, but cannot sign a
log: that takes `writer.key`, so a reader who has the verifier key notices.
"""

from __future__ import annotations

import os

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.ipns_record import name_of_key
from ipfs_log_handlers.home import secret_file
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["install", "load", "load_or_make"]


def load(home: HomeDir) -> SecretKey | None:
    """Read the key; its name is the IPNS name. `None` before the first publication.

    Raises:
        HomeError: the file can be read by other users, belongs to another user, or is not a key.
        OSError: it cannot be read.
    """
    text = secret_file.read(
        home.name_key,
        "the key of the name",
        if_read="; if another user may have read it, move it away: a new name is made.",
    )
    if text is None:
        return None
    try:
        return _parsed(text)
    except (FormatError, UnicodeDecodeError) as error:
        raise HomeError(
            f"not the key of a name: {error}",
            where=home.name_key,
            hint="Restore it from a backup, or move it away: then a new name is made, which the readers need.",
        ) from error


def _parsed(text: bytes) -> SecretKey:
    if not text.endswith(b"\n"):
        raise FormatError("a key file ends with a line end")
    key = SecretKey.parse(text[:-1].decode("ascii"))
    if key.name != name_of_key(key.verifier.public):
        raise FormatError("the key has another name", expected=name_of_key(key.verifier.public), found=key.name)
    return key


def load_or_make(home: HomeDir) -> SecretKey:
    """Read the key; make one if the home has none. The caller holds the keeper's lock.

    After a crash there is either no key or a complete one: temporary file, sync, link, sync of the directory.
    """
    key = load(home)
    if key is not None:
        return key
    seed = os.urandom(32)
    return install(home, SecretKey(name_of_key(SecretKey("unnamed", seed).verifier.public), seed))


def install(home: HomeDir, key: SecretKey) -> SecretKey:
    """Write a key, and return the one that the home has then; the caller holds the keeper's lock. As `load_or_make`."""
    secret_file.install(home.name_key, key.text.encode("ascii") + b"\n")
    made = load(home)
    if made is None:
        raise HomeError("the new key of the name was removed while it was made", where=home.name_key)
    return made
