"""Open encrypted batches with the identities of a reader: those of periods, or those that unwrap the keys of periods.

An identity in a file of age opens a batch directly if it is the key of its period. Else it unwraps this key from a key
directory: that of the home, or another one. What was decrypted stays in memory; no file gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import (
    ErasedError,
    HomeError,
    LogStoreError,
    NoIdentityError,
    ReplayedKeyError,
    VerificationError,
    WrongIdentityError,
)
from ipfs_log_handlers.format.encryption import Envelope, Revealed, is_encrypted, recipient_of, reveal
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.gaps import NO_IDENTITY_HINT

__all__ = ["NO_KEYS", "Identity", "Keyring"]

_MAX_OPENED: Final = 256
"""Manifests that are held opened: some 2 MiB."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity of a reader."""

    opener: Any = field(repr=False)
    """The identity as the library for age has it."""
    secret: str | None = field(default=None, repr=False)
    """Its text, `AGE-SECRET-KEY-1…`; `None` for an ssh key, which cannot be the key of a period."""


class Keyring:
    """The keys with which a reader opens batches.

    Args:
        identities: the identities of the reader.
        places: homes and key directories in which they unwrap the keys of periods.
    """

    def __init__(self, identities: Sequence[Identity] = (), places: Sequence[HomeDir | Path] = ()) -> None:
        self._identities = tuple(identities)
        self._places = tuple(places)
        self._secrets = {recipient_of(each.secret): each.secret for each in identities if each.secret is not None}
        """The known secret keys, by their recipients."""
        self._kids: dict[str, str] = {}
        """The recipient that was seen for each kid, and the kid for each recipient."""
        self._opened: dict[bytes, Revealed] = {}
        """The manifests that were opened last, by their blocks: a plan looks at one before its payload is read."""
        self._refused: dict[str, type[NoIdentityError]] = {}
        """The kids that cannot be opened, and why."""

    @property
    def has_identities(self) -> bool:
        """Whether the reader has any identity."""
        return bool(self._identities)

    def open(self, manifest: Manifest) -> Manifest:
        """Return a manifest with its true claims, so that its payload can be decrypted; one in clear is unchanged.

        Raises:
            NoIdentityError: no identity opens it: there is none, or (`WrongIdentityError`) they are those of others.
            ErasedError: its key was destroyed.
            CiphertextError: what is encrypted is damaged, of another batch, or of the key of another period.
            FormatError: its envelope is malformed.
            ConfigurationError: the library for age is not installed.
        """
        if isinstance(manifest, Revealed) or not is_encrypted(manifest):
            return manifest
        block = manifest.encode()
        opened = self._opened.get(block)
        if opened is None:
            envelope = Envelope.of(manifest)
            opened = reveal(manifest, self._secret_of(manifest, envelope))
            if len(self._opened) >= _MAX_OPENED:
                self._opened.clear()
            self._opened[block] = opened
        return opened

    def look(self, manifest: Manifest) -> Manifest:
        """Return the same, or the manifest as it is if it cannot be opened, for whatever reason."""
        try:
            return self.open(manifest)
        except (LogStoreError, OSError):
            return manifest

    def _secret_of(self, manifest: Manifest, envelope: Envelope) -> str:
        try:
            return self.secret(envelope.kid.text, envelope.recipient, f"{manifest.log} batch {manifest.index}")
        except NoIdentityError as error:
            error.records = manifest.records
            raise

    def secret(self, kid: str, recipient: str, where: str) -> str:
        """Return the secret key of a period, `AGE-SECRET-KEY-1…`; it must not be written to a file.

        Args:
            kid: the name of the key.
            recipient: its public key, as the batch has it.
            where: name of what it opens, for errors.

        Raises:
            NoIdentityError, ErasedError, ReplayedKeyError: as `open`.
            ConfigurationError: the library for age is not installed.
        """
        if kid not in self._refused and recipient not in self._secrets:
            self._unwrap(kid, recipient, where)
        if kid in self._refused and recipient not in self._secrets:
            raise _refusal(self._refused[kid], where, kid)
        for one, other in ((kid, recipient), (recipient, kid)):
            if self._kids.setdefault(one, other) != other:
                raise ReplayedKeyError(
                    "one key was used for two periods, or two for one",
                    where=where,
                    expected=self._kids[one],
                    found=other,
                )
        return self._secrets[recipient]

    def _unwrap(self, kid: str, recipient: str, where: str) -> None:
        """Look for the key of a period in the key directories; note it, or why it cannot be had."""
        from ipfs_log_handlers.home import data_keys

        self._refused[kid] = WrongIdentityError if self._identities else NoIdentityError
        for place in self._places:
            found = data_keys.state(place, kid)
            if found == "shredded":
                self._refused[kid] = ErasedError
            if found not in ("present", "shredding") or not self._identities:
                continue
            try:
                secret = data_keys.unwrap(place, kid, [each.opener for each in self._identities])
            except (WrongIdentityError, HomeError):
                continue
            except VerificationError as error:
                if found != "shredding" or isinstance(error, ReplayedKeyError):
                    raise
                self._refused[kid] = ErasedError  # its destruction was interrupted after the secret was overwritten
                continue
            own = recipient_of(secret)
            self._secrets[own] = secret
            self._refused.pop(kid, None)
            if own != recipient:
                raise ReplayedKeyError(
                    "the batch is encrypted to another key than that of its period",
                    where=where,
                    expected=own,
                    found=recipient,
                )
            return


NO_KEYS: Final = Keyring()
"""The keyring of a reader without any identity."""


def _refusal(kind: type[NoIdentityError], where: str, kid: str) -> NoIdentityError:
    if kind is ErasedError:
        return ErasedError(f"the records were erased by policy: the key {kid} was destroyed", where=where)
    if kind is WrongIdentityError:
        return WrongIdentityError(f"no identity that was given opens the key {kid}", where=where)
    return NoIdentityError(f"the records are encrypted to the key {kid}", where=where, hint=NO_IDENTITY_HINT)
