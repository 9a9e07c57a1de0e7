"""Define the methods that the keeper calls in its program.

A keeper runs in a thread of a program that logs, or alone in `ipfs-logs ship`.
"""

from __future__ import annotations

from typing import Protocol

from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["Host", "Standalone"]


class Host(Protocol):
    """The program around a keeper."""

    own_threads: set[int]
    """Threads that are the keeper now. Records on them are not stored: each would cause another one."""

    def activity(self) -> int:
        """Return a number that grows with every record of this process."""

    def check_segments(self) -> None:
        """Check the open segments of this process, because the program may have closed their descriptors."""

    def token(self, address: str) -> str | None:
        """Return the credential for the store at an address; `None` if there is none."""

    def failed(self, what: str, error: Exception) -> None:
        """Count a failure that belongs to no store and no subsystem; `status()` shows it."""


class Standalone:
    """Run a keeper without a program that logs: `ipfs-logs ship`.

    Args:
        credentials: the credentials of the user; `None`: those of the environment.
    """

    def __init__(self, credentials: Credentials | None = None) -> None:
        self.own_threads: set[int] = set()
        self._credentials = Credentials.named().with_pins() if credentials is None else credentials

    def activity(self) -> int:
        """Return 0: no record is logged in this process."""
        return 0

    def check_segments(self) -> None:
        """Do nothing: no segment is open in this process."""

    def token(self, address: str) -> str | None:
        """Return the credential that the user gave for this address; `None` if there is none."""
        return self._credentials.token(address)

    def failed(self, what: str, error: Exception) -> None:
        """Do nothing: no one can read a count of this process."""
