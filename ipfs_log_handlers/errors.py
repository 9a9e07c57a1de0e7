"""Every error this library raises on purpose.

    LogStoreError
    ├── ConfigurationError   (also ValueError)  a setting is wrong: your program's configuration
    ├── EventError           (also ValueError)  a field of an event is missing, misspelt or of a wrong kind
    ├── FormatError          (also ValueError)  bytes are not what their format says
    ├── VerificationError                       a claim (hash, signature, proof, count) does not hold
    ├── HomeError            (also OSError)     the home directory cannot be used as it is
    └── StoreError
        ├── StoreUnavailable                    no answer, or an unknown one: the same batch is tried again
        ├── StoreRefused                        token, origin or address is wrong: shown, tried again slowly
        └── StoreRejected                       the store names the batch itself as bad: it is set aside

A message says what was expected, what was found, where, and what to do next. `IPFSHandler.emit` raises none of
them: what goes wrong there is counted, and `status()` shows it.
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "EventError",
    "FormatError",
    "HomeError",
    "LogStoreError",
    "StoreError",
    "StoreRefused",
    "StoreRejected",
    "StoreUnavailable",
    "VerificationError",
]


class LogStoreError(Exception):
    """Base of all errors of this library.

    Args:
        message: what went wrong, in one sentence without a full stop.
        expected: what should have been there, if that can be said.
        found: what was there instead.
        where: the place: a path, CID, segment and offset, configuration key.
        hint: what the reader can do next.
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
    """A setting has a wrong name, type or value, or disagrees with that of another open handler."""


class EventError(LogStoreError, ValueError):
    """A field of an event is missing, misspelt, or of a wrong type or value. Constructors of events raise this."""


class FormatError(LogStoreError, ValueError):
    """Bytes are not what their format says. Decoders in `ipfs_log_handlers.format` raise this and nothing else."""


class VerificationError(LogStoreError):
    """A hash, signature, proof, order or count does not hold. Verifiers raise this and nothing else."""


class HomeError(LogStoreError, OSError):
    """The home directory cannot be used: foreign owner, open permissions, network mount, missing."""


class StoreError(LogStoreError):
    """A store did not confirm what it was sent."""


class StoreUnavailable(StoreError):  # noqa: N818 - the words of the protocol, not "…Error"
    """No answer, a timeout, a 5xx or an incomplete answer: nothing is known, the same batch is sent again."""

    retry_after: float | None = None
    """Seconds that the store asked to be left alone, if it did."""


class StoreRefused(StoreError):  # noqa: N818
    """401, 403, 404, 405 or an unfit version: token, origin or address is wrong, no batch is to blame."""


class StoreRejected(StoreError):  # noqa: N818
    """The store says that these very bytes are bad (hash, size, codec)."""
