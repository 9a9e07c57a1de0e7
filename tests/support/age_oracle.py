"""Open a file of age v1 by its specification, with the primitives of `cryptography` alone: a second opinion."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["Opened", "open_age", "secret_of"]

_CHUNK = 64 * 1024
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@dataclass(frozen=True)
class Opened:
    """A file that was opened."""

    recipients: list[str]
    """The types of the stanzas of its header."""
    data: bytes
    """What is in it."""


def secret_of(identity: str) -> bytes:
    """Return the 32 bytes of `AGE-SECRET-KEY-1…`, without a look at the checksum."""
    values = [_BECH32.index(letter) for letter in identity.rpartition("1")[2].lower()][:-6]
    number = 0
    for value in values:
        number = number << 5 | value
    return (number >> len(values) * 5 % 8).to_bytes(len(values) * 5 // 8, "big")


def open_age(file: bytes, identity: str) -> Opened:
    """Open a file that has exactly one stanza for an X25519 recipient."""
    head, found, rest = file.partition(b"\n--- ")
    assert found
    mac, _, body = rest.partition(b"\n")
    first, *lines = head.decode("ascii").split("\n")
    assert first == "age-encryption.org/v1"
    stanzas: list[tuple[list[str], str]] = []
    for line in lines:
        if line.startswith("-> "):
            stanzas.append((line[3:].split(" "), ""))
        else:
            stanzas[-1] = (stanzas[-1][0], stanzas[-1][1] + line)
    ((kind, share_text), wrapped), *others = [stanza for stanza in stanzas if stanza[0][0] == "X25519"]
    assert (kind, others) == ("X25519", [])
    share = _unpadded(share_text)
    secret = X25519PrivateKey.from_private_bytes(secret_of(identity))
    shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
    public = secret.public_key().public_bytes_raw()
    wrap_key = _hkdf(shared, share + public, b"age-encryption.org/v1/X25519")
    file_key = ChaCha20Poly1305(wrap_key).decrypt(bytes(12), _unpadded(wrapped), b"")
    assert len(file_key) == 16
    expected = hmac.new(_hkdf(file_key, b"", b"header"), head + b"\n---", hashlib.sha256).digest()
    assert hmac.compare_digest(expected, _unpadded(mac.decode()))
    return Opened([kind[0] for kind, _ in stanzas], _stream(_hkdf(file_key, body[:16], b"payload"), body[16:]))


def _stream(key: bytes, body: bytes) -> bytes:
    chunks = [body[at : at + _CHUNK + 16] for at in range(0, len(body), _CHUNK + 16)]
    cipher = ChaCha20Poly1305(key)
    return b"".join(
        cipher.decrypt(number.to_bytes(11, "big") + bytes([number == len(chunks) - 1]), chunk, b"")
        for number, chunk in enumerate(chunks)
    )


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def _unpadded(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))
