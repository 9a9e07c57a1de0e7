"""Read the token that clients of a server must send: given, made, or from a file or the environment."""

from __future__ import annotations

import os
import re
import secrets
from typing import Final

import click

__all__ = ["token_of"]

_MIN_TOKEN_CHARACTERS: Final = 16
"""Characters of a token; a shorter one can be guessed."""
_MAX_TOKEN_BYTES: Final = 4096
"""Bytes of a file with a token."""
_NEW_TOKEN_BYTES: Final = 24
"""Random bytes of a token that is made here."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
"""The characters that `Authorization: Bearer` takes (RFC 6750, section 2.1)."""


def token_of(given: str, name: str = "--token") -> str:
    """Return the token that a user means; it is in no message.

    Args:
        given: `new`, `env:NAME`, `file:PATH`, or the token.
        name: the option or variable that gives it, for errors.

    Raises:
        UsageError: it cannot be read, is too short, or has other characters.
    """
    if given == "new":
        return secrets.token_urlsafe(_NEW_TOKEN_BYTES)
    kind, separator, place = given.partition(":")
    token = given
    if separator and kind == "env":
        token = os.environ.get(place, "")
        if not token:
            raise click.UsageError(f"{name} env:{place}: there is no such variable, or it is empty")
    elif separator and kind == "file":
        token = _in_file(place, name)
    if len(token) < _MIN_TOKEN_CHARACTERS or not _TOKEN.fullmatch(token):
        raise click.UsageError(
            f"{name}: a token has at least {_MIN_TOKEN_CHARACTERS} letters, digits or ._~+/=-; `--token new` makes one"
        )
    return token


def _in_file(path: str, name: str) -> str:
    try:
        with open(path, "rb") as stream:
            content = stream.read(_MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{name}: {path!a} cannot be read: {error.strerror}") from None
    except ValueError:
        raise click.UsageError(f"{name}: no file has the name {path!a}") from None
    if len(content) > _MAX_TOKEN_BYTES:
        raise click.UsageError(f"{name}: {path!a} is no file of a token: it has more than {_MAX_TOKEN_BYTES} bytes")
    return content.decode("ascii", "replace").strip()
