"""Write and read an exported key: PKCS #8 in PEM, which openssl reads, after two lines of text.

    Secret key of an ipfs-logs home: anyone who has it can sign logs in its name.
    Verifier key: ipfs-logs/6ac6…+…+…
    -----BEGIN PRIVATE KEY-----

If the home has a name, its line and a second block with the key of the name follow:

    Name: /ipns/k51…
    -----BEGIN PRIVATE KEY-----

With a passphrase the block is an `ENCRYPTED PRIVATE KEY`, encrypted by `cryptography`'s best method for PKCS #8 (PBES2
with AES-256). Readers of PEM skip the text before the block, and read the first one. PKCS #8 has no checksum; the
verifier key is one, and so is the name: a key with another public half is damaged.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import SecretKey, VerifierKey
from ipfs_log_handlers.format.ipns_record import name_of_key

__all__ = ["MAX_BYTES", "ExportedKey", "decode", "encode"]

MAX_BYTES = 16 * 1024
"""Bytes of an exported key; a longer one is not read."""
_TITLE = "Secret key of an ipfs-logs home: anyone who has it can sign logs in its name."
_LINES = r"(?:[A-Za-z0-9+/=]{1,76}\n)+"
_FORM = re.compile(
    rf"{re.escape(_TITLE)}\nVerifier key: ([^\n]+)\n"
    rf"(-----BEGIN (ENCRYPTED |)PRIVATE KEY-----\n{_LINES}-----END \3PRIVATE KEY-----\n)"
    rf"(?:Name: /ipns/([^\n]+)\n(-----BEGIN \3PRIVATE KEY-----\n{_LINES}-----END \3PRIVATE KEY-----\n))?"
)
_LOST = "export the key again, or use another copy of it"


class ExportedKey(NamedTuple):
    """The keys of a home."""

    key: SecretKey
    """The key that signs its logs."""
    name: SecretKey | None
    """The key of its IPNS name; `None`: the home had none, or this is a copy of `writer.key`."""


def encode(key: SecretKey, passphrase: bytes | None = None, *, name: SecretKey | None = None) -> bytes:
    """Return an exported key. Secret, unless a passphrase is given that nobody can guess.

    Args:
        key: the key of a home.
        name: the key of its IPNS name; `None`: it has none.
        passphrase: encrypts the key; `None`: it is not encrypted.

    Raises:
        FormatError: the key has a name that does not follow from its public half, so that the export would lose it.
    """
    if key.name != key.verifier.own_name:
        raise FormatError("the key has a name of its own", expected=key.verifier.own_name, found=ascii(key.name))
    exported = f"{_TITLE}\nVerifier key: {key.verifier.text}\n".encode() + _block(key, passphrase)
    if name is not None:
        exported += f"Name: /ipns/{name.name}\n".encode() + _block(name, passphrase)
    return exported


def _block(key: SecretKey, passphrase: bytes | None) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    encryption = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    return Ed25519PrivateKey.from_private_bytes(key.seed).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def decode(data: bytes, passphrase: bytes | None = None) -> ExportedKey:
    """Read an exported key, or a copy of `writer.key`.

    Args:
        data: the bytes of the file.
        passphrase: that of the export; `None` for a key that is not encrypted.

    Raises:
        FormatError: it is neither, it is damaged, or the passphrase is missing, wrong, or given for a key without one.
    """
    try:
        text = data.decode("ascii") if len(data) <= MAX_BYTES else ""
    except UnicodeDecodeError:
        text = ""
    name: SecretKey | None = None
    if text.startswith("PRIVATE+KEY+"):
        key, public = SecretKey.parse(text.removesuffix("\n")), None
    else:
        match = _FORM.fullmatch(text)
        if match is None:
            raise FormatError("not an exported key, and not a copy of writer.key", hint=_LOST)
        if bool(match[3]) != (passphrase is not None):
            raise FormatError(
                "the key is encrypted: its passphrase is missing" if match[3] else "the key has no passphrase",
                hint=f"Run this {'with' if match[3] else 'without'} --passphrase-file.",
            )
        public = VerifierKey.parse(match[1])
        key = SecretKey.generate(_seed(match[2].encode(), passphrase))
        if match[4] is not None:
            name = SecretKey(match[4], _seed(match[5].encode(), passphrase))
            if name.name != name_of_key(name.verifier.public):
                raise FormatError("an exported key of a name is damaged: its public half is another one", hint=_LOST)
    if key.name != key.verifier.own_name or (public is not None and public != key.verifier):
        raise FormatError("an exported key is damaged: its public half is another one", hint=_LOST)
    return ExportedKey(key, name)


def _seed(block: bytes, passphrase: bytes | None) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(block, passphrase)
    except Exception as error:  # ValueError, UnsupportedAlgorithm, or an error inside OpenSSL
        hint = _LOST if passphrase is None else f"the passphrase is wrong, or {_LOST}"
        raise FormatError("an exported key cannot be read", hint=hint) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise FormatError("an exported key of another type than Ed25519", found=type(private).__name__)
    return private.private_bytes_raw()
