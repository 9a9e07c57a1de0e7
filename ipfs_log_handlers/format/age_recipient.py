"""Check the text of an age recipient, which is a public key: `age1…` (X25519), or the line of an ssh-ed25519 key.

`age1…` is Bech32 (BIP 173) of the 32 bytes of an X25519 key, so nearly every misspelt character is found. No library is
needed for it: a program that only writes records has the settings, and encrypts nothing.
"""

from __future__ import annotations

import base64
from typing import Final

from ipfs_log_handlers.errors import FormatError

__all__ = ["is_secret", "normalise_recipient"]

_PREFIX: Final = "age1"
_CHARACTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
"""The characters of Bech32, by the value of their five bits."""
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
"""The generator of the checksum."""
_PLAIN_LENGTH: Final = 62
"""Characters of `age1…`: the prefix, 52 for 32 bytes, and 6 for the checksum."""
_SSH: Final = "ssh-ed25519"
_SSH_BLOB: Final = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
"""Beginning of the blob of an ssh-ed25519 key; 32 bytes follow."""


def normalise_recipient(text: str) -> str:
    """Return a recipient without spaces around it, and without the comment of an ssh key.

    Raises:
        FormatError: it is not a recipient. The message has no part of the text if that looks like a secret key.
    """
    words = text.split()
    if is_secret(text):
        raise FormatError(
            "this is a secret key, which must not be in a configuration",
            expected="the public half, age1…",
            hint="`age-keygen -y FILE` prints it.",
        )
    if len(words) == 1 and _is_x25519(words[0]):
        return words[0]
    if len(words) in (2, 3) and words[0] == _SSH and _is_ssh_blob(words[1]):
        return " ".join(words[:2])
    raise FormatError(
        "not an age recipient", expected="age1… (62 characters) or an ssh-ed25519 public key", found=ascii(text)[:200]
    )


def is_secret(text: str) -> bool:
    """Return whether a text looks like a secret key, so that no message shows it."""
    return "SECRET-KEY" in text.upper() or "PRIVATE" in text.upper()


def _is_x25519(text: str) -> bool:
    if len(text) != _PLAIN_LENGTH or not text.startswith(_PREFIX):
        return False
    values = [_CHARACTERS.find(character) for character in text[len(_PREFIX) :]]
    if min(values) < 0 or values[-7] & 0b1111:  # 52 characters hold 260 bits: the last four of the key are zero
        return False
    name = "age"
    return _checksum([*(ord(each) >> 5 for each in name), 0, *(ord(each) & 31 for each in name), *values]) == 1


def _checksum(values: list[int]) -> int:
    """Return the remainder of BIP 173; 1 for a text with the right checksum."""
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate(_GENERATOR):
            if top >> bit & 1:
                remainder ^= term
    return remainder


def _is_ssh_blob(text: str) -> bool:
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(blob) == len(_SSH_BLOB) + 32 and blob.startswith(_SSH_BLOB) and base64.b64encode(blob).decode() == text
