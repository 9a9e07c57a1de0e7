"""Define the outcome of a check of a home, and the words that several checks use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from ipfs_log_handlers.maintenance.repair import Repair

__all__ = ["MAX_NAMES", "SEAL", "SEND_AGAIN", "HealthCheck", "State", "counted"]

State = Literal["ok", "warn", "fail"]
"""Outcome of a check; `HealthCheck.state` says what each word means."""


MAX_NAMES: Final = 5
"""Number of files of the quarantine that are named; further files are left out."""
SEAL: Final = "Run `ipfs-logs ship`, or start the program again: both seal the waiting records."
"""Hint: how to seal waiting records and archives."""
SEND_AGAIN: Final = (
    "Run `ipfs-logs ship --again`: it checks all batches, and sends those again that the home still has."
)
"""Hint: what sends batches again that a store lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """The outcome of one check."""

    check: str
    """Name of the check, such as `space` or `audit batch 3`."""
    state: State
    """`fail`: records are not stored, sealed or shipped, or a file is damaged; `warn`: this may happen."""
    found: str
    """The state of the checked thing, in words."""
    hint: str | None = None
    """Advice about the next step; `None` if there is nothing to do."""

    def as_json(self) -> dict[str, Any]:
        """Return the outcome with the keys of `ipfs-logs doctor`."""
        return {"check": self.check, "state": self.state, "found": self.found, "hint": self.hint}

    @classmethod
    def of_repair(cls, repair: Repair) -> HealthCheck:
        """Describe a repair as a check."""
        return cls(check=f"repair {repair.what}", state="ok" if repair.repaired else "fail", found=repair.detail)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 log`, `2 logs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
