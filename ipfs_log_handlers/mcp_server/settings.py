"""Define the settings of the server: the sources of its records, and the values that it hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Gap

__all__ = ["STANDARD_REDACTION", "ServerSettings"]

STANDARD_REDACTION: Final = (
    "*password*", "*passwd*", "*passphrase*", "*secret*", "*api?key*", "*private?key*", "*access?token*",
    "*refresh?token*", "authorization", "proxy-authorization", "cookie", "set-cookie", "@credit_card", "@iban",
    "@email", "@jwt", "@aws_key", "@bearer_token",
)  # fmt: skip
"""The values that the server hides if nothing else is said: names, patterns and detectors (docs/redaction.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What the server reads, and what it shows."""

    open: Callable[[Callable[[Gap], None]], Dataset]
    """Opens the records; gaps are reported to the function that it gets. Called for each thread that reads."""
    redact: tuple[str, ...] = STANDARD_REDACTION
    """Names and patterns of fields, and detectors, whose values are hidden; empty: nothing is hidden."""
    sql: bool = True
    """Whether the tool `query_sql` is there."""
    keys: tuple[str, ...] = ()
    """Verifier keys with which `get_record` checks the bundle that it has made; empty: it is not checked."""
