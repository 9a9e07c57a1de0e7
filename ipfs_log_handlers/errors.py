"""Define every error that this library raises on purpose.

    LogStoreError
    ├── ConfigurationError   (also ValueError)  a setting is wrong: your program's configuration
    ├── EventError           (also ValueError)  a field of an event is missing, misspelt or of a wrong kind
    ├── FormatError          (also ValueError)  bytes are not what their format says
    ├── VerificationError                       a claim (hash, signature, proof, count) is wrong
    ├── HomeError            (also OSError)     the home directory cannot be used as it is
    ├── HeldError                               a legal hold forbids it
    ├── RecordError          (also LookupError) no sealed record, or more than one, is the one that was asked for
    ├── EncryptionError                         encrypted bytes were not opened
    │   ├── NoIdentityError                     the reader has no identity that opens them
    │   │   ├── WrongIdentityError              the identities that it has are those of other keys
    │   │   └── ErasedError                     the key was destroyed: nobody can open them any more
    │   └── CiphertextError  (also VerificationError) the bytes are damaged, or do not say what the manifest says
    │       ├── SwappedCiphertextError          they are those of another batch
    │       └── ReplayedKeyError                the key is that of another period, or of two
    └── StoreError
        ├── StoreUnavailable                    no answer, or an unknown one: the same batch is sent again
        │   └── PrunedError                     the payload was given up, as a signed act in the log says
        ├── StoreDenied                         token, origin or address is wrong: shown, tried again slowly
        └── StoreRejected                       the store says that the batch itself is bad: the batch is set aside

A message says what was expected, what was found, where, and what to do next. `IPFSHandler.emit` raises none of these
errors: it counts them, and `status()` shows the count.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "CiphertextError",
    "ConfigurationError",
    "EncryptionError",
    "ErasedError",
    "EventError",
    "FormatError",
    "HeldError",
    "HomeError",
    "LogStoreError",
    "NoIdentityError",
    "PrunedError",
    "RecordError",
    "RecordErrorKind",
    "ReplayedKeyError",
    "StoreDenied",
    "StoreError",
    "StoreErrorKind",
    "StoreRejected",
    "StoreUnavailable",
    "SwappedCiphertextError",
    "VerificationError",
    "WrongIdentityError",
]


class LogStoreError(Exception):
    """Base of all errors of this library.

    Args:
        message: the problem, in one sentence without a full stop.
        expected: the expected value, if it is known.
        found: the value that was found instead.
        where: the place: a path, CID, segment and offset, or configuration key.
        hint: the next step of the reader.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: object = None,
        found: object = None,
        where: object = None,
        hint: str | None = None,
    ) -> None:
        self.message = message
        self.expected = expected
        self.found = found
        self.where = where
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        text = self.message
        if self.where is not None:
            text = f"{self.where}: {text}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.found is not None:
            text += f", found {self.found}" if self.expected is not None else f"; found {self.found}"
        return f"{text}. {self.hint}" if self.hint else text


class ConfigurationError(LogStoreError, ValueError):
    """A setting has a wrong name, type or value, or differs from the setting of another open handler."""


class EventError(LogStoreError, ValueError):
    """A field of an event is missing, misspelt, or of a wrong type or value. Constructors of events raise this."""


class FormatError(LogStoreError, ValueError):
    """Bytes do not follow their format. Decoders in `ipfs_log_handlers.format` raise only this error."""


class VerificationError(LogStoreError):
    """A hash, signature, proof, order or count is wrong. Verifiers raise only this error."""


class HomeError(LogStoreError, OSError):
    """The home directory cannot be used: it is missing, belongs to another user, or is on a network mount."""


class HeldError(LogStoreError):
    """A legal hold stands, which forbids to give up these records. Nothing was done."""


RecordErrorKind = Literal["missing", "unsealed", "several"]
"""The reason why there is not exactly one record: none is like that; it is in no batch yet; more than one is."""


class RecordError(LogStoreError, LookupError):
    """No sealed record, or more than one, is the record that was asked for."""

    kind: RecordErrorKind = "missing"
    """The reason, in one word."""


class EncryptionError(LogStoreError):
    """Encrypted bytes were not opened."""


class NoIdentityError(EncryptionError):
    """The reader has no identity that opens a batch. All else about the batch can be verified."""

    records: int = 0
    """Number of records in the batch, as far as it is known."""


class WrongIdentityError(NoIdentityError):
    """The identities of the reader are those of other keys."""


class ErasedError(NoIdentityError):
    """The key of a batch was destroyed on purpose: nobody can open it any more."""


class CiphertextError(EncryptionError, VerificationError):
    """The right identity does not open encrypted bytes, or what is in them differs from the manifest."""


class SwappedCiphertextError(CiphertextError):
    """Encrypted bytes are those of another batch."""


class ReplayedKeyError(CiphertextError):
    """A batch is encrypted to the key of another period, or one key was used for two periods."""


StoreErrorKind = Literal["unreachable", "timeout", "denied", "unavailable", "rejected", "public"]
"""The reason why a store did not confirm: no program listens there; no answer in time; token, origin or address is
wrong; any other failure; the batch itself is bad; strangers could find it there, and its subsystem is private."""


class StoreError(LogStoreError):
    """A store did not confirm a batch."""

    kind: StoreErrorKind = "unavailable"
    """The reason, in one word."""


class StoreUnavailable(StoreError):  # noqa: N818 - a word of the protocol, without "Error"
    """No answer, a timeout, a 5xx or an incomplete answer: the result is unknown, so the same batch is sent again."""

    retry_after: float | None = None
    """Seconds that the store asked the caller to wait; `None` if it did not."""


class PrunedError(StoreUnavailable):
    """The payload of a batch was given up everywhere, as a signed act in the log says; its manifest is still here."""


class StoreDenied(StoreError):  # noqa: N818
    """401, 403, 404, 405 or an unsupported version: token, origin or address is wrong; the batch is not the cause."""

    kind: StoreErrorKind = "denied"


class StoreRejected(StoreError):  # noqa: N818
    """The store says that these very bytes are bad (hash, size, codec)."""

    kind: StoreErrorKind = "rejected"
