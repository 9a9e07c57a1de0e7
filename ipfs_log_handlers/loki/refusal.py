"""Define the error of a request that is not answered: an HTTP status and the reason in plain words."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.api import explain_os_error
from ipfs_log_handlers.errors import ConfigurationError, LogStoreError

__all__ = ["Refusal", "not_supported", "refusal_of"]

_BAD_REQUEST: Final = 400
"""HTTP status of a request that cannot be answered as it is."""
_BROKEN: Final = 500
"""HTTP status of a query whose records cannot be read."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not a defect
    """A request that is not answered.

    Args:
        reason: what is wrong, and what to do next.
        status: HTTP status.
    """

    def __init__(self, reason: str, *, status: int = _BAD_REQUEST) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def not_supported(what: str, instead: str = "") -> str:
    """Return the reason for a part of LogQL that is not evaluated here."""
    return f"not supported here: {what}{f'. {instead}' if instead else ''}; docs/loki.md lists what is supported"


def refusal_of(error: Refusal | LogStoreError | OSError) -> Refusal:
    """Return the answer that an error gives, in words with the next step."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ConfigurationError):
        return Refusal(str(error))
    reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
    return Refusal(f"the records cannot be read: {reason}", status=_BROKEN)
