"""Make, read and change the signing key of a home; the keeper makes it once, before the first signature.

`writer.key` holds one line in the form that Go's `sumdb/note` loads, `PRIVATE+KEY+<name>+…`, 0600. A program that can
read it can sign in the name of this home; the verifier key (`ipfs-logs keys show`) is public.
"""

from __future__ import annotations

import base64
import contextlib
import os
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format.checkpoint import SecretKey, VerifierKey
from ipfs_log_handlers.home import disk, secret_file
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["PublicKey", "install", "load", "load_or_make", "new_key", "recover", "replace"]

_SEED: Final = 44
"""Characters of base64 at the end of a key: one byte for the kind Ed25519, and the 32 secret bytes."""
_BASE64: Final = string.ascii_letters + string.digits + "+/"  # the characters that may be damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The public half of a home's signing key."""

    name: str
    """Name of the key; every signature has it."""
    key_id: str
    """ID of the key: eight hex digits that every signature carries."""
    verifier: str
    """The verifier key `name+id+base64`; a reader on another machine needs it to check the logs of this home."""
    ipns: str | None = None
    """The IPNS name under which the home is published, `k51…`, which has a key of its own; `None`: it never was."""

    @classmethod
    def of(cls, key: SecretKey, ipns: str | None = None) -> PublicKey:
        """Return the public half of a key, beside the IPNS name of the home."""
        return cls.of_verifier(key.verifier, ipns)

    @classmethod
    def of_verifier(cls, key: VerifierKey, ipns: str | None = None) -> PublicKey:
        """Return a public key whose secret half is not known here."""
        return cls(name=key.name, key_id=key.key_id.hex(), verifier=key.text, ipns=ipns)

    def as_json(self) -> dict[str, Any]:
        """Return the key with the keys of `ipfs-logs keys show`."""
        return {"name": self.name, "key_id": self.key_id, "verifier": self.verifier, "ipns": self.ipns}


def load(home: HomeDir) -> SecretKey | None:
    """Read the key; `None` before the first batch is sealed.

    Raises:
        HomeError: the file can be read by other users, belongs to another user, or is not a key.
    """
    text = secret_file.read(home.key, "the key", if_read=", and start a new log if another user may have read it.")
    if text is None:
        return None
    try:
        return SecretKey.parse(text.decode("ascii").removesuffix("\n"))
    except (FormatError, UnicodeDecodeError) as error:
        raise HomeError(f"not a signing key: {error}", where=home.key, hint="Restore it from a backup.") from error


def load_or_make(home: HomeDir) -> SecretKey:
    """Read the key; make one if the home has none. The caller holds the keeper's lock.

    After a crash there is either no key or a complete one: temporary file, sync, link, sync of the directory.
    """
    key = load(home)
    if key is not None:
        return key
    return install(home, new_key())


def new_key() -> SecretKey:
    """Draw a new key; it is in no file yet."""
    return SecretKey.generate(os.urandom(32))


def install(home: HomeDir, key: SecretKey) -> SecretKey:
    """Write the first key of a home; return the key that is in the home then. The caller holds the keeper's lock.

    An existing key is not replaced. Steps and crashes are those of `load_or_make`.
    """
    secret_file.install(home.key, _content(key))
    made = load(home)
    if made is None:
        raise HomeError("the new key was removed while it was made", where=home.key)
    return made


def replace(home: HomeDir, key: SecretKey) -> None:
    """Replace the key in one step: after a crash the home has the old key or the new one, never none and never both.

    The caller holds the keeper's lock, and has written down everything that only the old key can sign.

    Raises:
        OSError: the disk refuses.
    """
    disk.replace(home.key, _content(key))


def _content(key: SecretKey) -> bytes:
    return key.text.encode("ascii") + b"\n"


def recover(home: HomeDir) -> SecretKey | None:
    """Find the key in a file with one damaged byte: the name or the ID in the file shows which key is right.

    Returns:
        `None` if the file is undamaged (and refused for another reason), or if more than one byte is damaged.

    Raises:
        OSError: it cannot be read.
    """
    text = disk.read_beginning(home.key, secret_file.MAX_BYTES).decode("ascii", "replace")
    with contextlib.suppress(FormatError):
        SecretKey.parse(text.removesuffix("\n"))
        return None
    for seed in _seeds(text):
        key = SecretKey.generate(seed)
        if key.name in text or key.verifier.key_id.hex() in text:
            return key
    return None


def _seeds(text: str) -> Iterator[bytes]:
    """Yield the possible secret bytes of a key's text, with at most one character replaced."""
    tails = [tail for tail in (text.rstrip("\n")[-_SEED:], text[-_SEED - 1 : -1]) if len(tail) == _SEED]
    changed = [tail[:at] + character + tail[at + 1 :] for tail in tails for at in range(_SEED) for character in _BASE64]
    for tail in [*tails, *changed]:
        with contextlib.suppress(ValueError):
            seed = base64.b64decode(tail, validate=True)
            if len(seed) == 33 and seed[0] == 1:
                yield seed[1:]
