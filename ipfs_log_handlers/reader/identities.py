"""Read the identities with which a reader opens encrypted batches: files of age, or unencrypted ssh-ed25519 keys."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.keyring import NO_KEYS, Identity, Keyring

__all__ = ["IDENTITY_VARIABLE", "Identities", "keyring_of"]

IDENTITY_VARIABLE: Final = "IPFS_LOGS_IDENTITY"
"""Environment variable with the file that is used if no identity is given."""
_MAX_BYTES: Final = 64 << 10
"""Bytes of a file with identities."""
_AGE: Final = "AGE-SECRET-KEY-1"
_PEM: Final = "-----BEGIN "

Identities = str | Path | Sequence[str | Path]
"""Files with identities, or the text of an identity itself."""


def keyring_of(identity: Identities | None, key_directory: str | Path | None, home: Path | None) -> Keyring:
    """Return the keyring of a reader.

    Args:
        identity: files with identities, or identities as text; `None`: the file in `IPFS_LOGS_IDENTITY`, if it is set.
        key_directory: a key directory in which the identities unwrap the keys of periods.
        home: a home whose key directory is used in the same way.

    Raises:
        ConfigurationError: a file cannot be read or has no identity, an identity is malformed, the directory is
            missing, or the library for age is not installed.
    """
    places: list[HomeDir | Path] = []
    if key_directory is not None:
        directory = Path(key_directory).absolute()
        if not directory.is_dir():
            raise ConfigurationError("no such directory", where="key_directory", found=directory)
        places.append(directory)
    if home is not None:
        places.append(HomeDir(home))
    given = os.environ.get(IDENTITY_VARIABLE) or None if identity is None else identity
    texts = [] if given is None else [given] if isinstance(given, (str, Path)) else list(given)
    identities = [found for text in texts for found in _read(text)]
    return Keyring(identities, places) if places or identities else NO_KEYS


def _read(given: str | Path) -> list[Identity]:
    """Read the identities in a file, or in a text."""
    if isinstance(given, str) and given.strip().startswith((_AGE, _PEM)):
        where, text = "identity", given
    else:
        where = str(given)
        try:
            with open(given, "rb") as stream:
                text = stream.read(_MAX_BYTES).decode("utf-8", "replace")
        except OSError as error:
            raise ConfigurationError(f"an identity cannot be read: {error.strerror}", where=where) from error
    found = list(_parsed(text, where))
    if not found:
        raise ConfigurationError("no identity in this file", where=where, expected=f"a line {_AGE}…, or an ssh key")
    return found


def _parsed(text: str, where: str) -> Iterator[Identity]:
    from ipfs_log_handlers.format.encryption import age_library  # only where there is an identity

    pyrage = age_library()
    if text.lstrip().startswith(_PEM):
        try:
            yield Identity(pyrage.ssh.Identity.from_buffer(text.encode()))
        except pyrage.IdentityError as error:
            raise ConfigurationError(
                "this ssh key cannot be used", where=where, expected="an ssh-ed25519 key without a passphrase"
            ) from error
        return
    for number, line in enumerate(text.splitlines(), 1):
        secret = line.strip()
        if not secret or secret.startswith("#"):
            continue
        try:
            opener = pyrage.x25519.Identity.from_str(secret)
        except pyrage.IdentityError as error:
            raise ConfigurationError(
                "not an identity of age",
                where=f"{where} line {number}",
                expected=f"{_AGE}…",
                hint="A file of age-keygen, or an unencrypted ssh-ed25519 key.",
            ) from error
        yield Identity(opener, secret)
