"""Collect the problems of one log: claims that are wrong, and parts that are damaged, missing or out of reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from ipfs_log_handlers.errors import LogStoreError, StoreError
from ipfs_log_handlers.home.os_errors import explain_any

__all__ = ["Problem", "ProblemKind", "Problems"]

ProblemKind = Literal["tampered", "forked", "vanished", "stale", "unreachable", "incomplete"]
"""What a problem means: bytes or claims are wrong; a log has two histories; a known log is not there any more; an older
head was shown; nothing could be read; a part could not be read."""
_MAX_PROBLEMS: Final = 1000
"""Largest number of problems of one log that are kept."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One claim that is wrong, or one damaged part."""

    batch: int | None
    """Number of the batch; `None` for the log as a whole."""
    field: str
    """The claim that is wrong, or the part that is damaged."""
    expected: str
    """The expected value."""
    found: str
    """The value that was found instead."""
    kind: ProblemKind = dataclasses.field(default="tampered", compare=False)
    """What it means for the log; `Report.result` is made of it."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs verify --json`."""
        return {"batch": self.batch, "field": self.field, "expected": self.expected, "found": self.found}


class Problems:
    """The problems of one log, at most 1,000."""

    def __init__(self) -> None:
        self.noted: list[Problem] = []

    def add(
        self, batch: int | None, field: str, expected: object, found: object, *, kind: ProblemKind = "tampered"
    ) -> None:
        """Note a problem."""
        if len(self.noted) < _MAX_PROBLEMS:
            self.noted.append(Problem(batch, field, _shown(expected), _shown(found), kind))

    def add_error(self, batch: int | None, field: str, error: Exception) -> None:
        """Note an error as a problem."""
        kind: ProblemKind = "incomplete" if isinstance(error, StoreError) else "tampered"
        if isinstance(error, LogStoreError):
            detail = "" if error.found is None else f": {error.found}"
            expected = "whole" if error.expected is None else error.expected
            self.add(batch, field, expected, f"{error.message}{detail}", kind=kind)
        else:
            self.add(batch, field, "readable", explain_any(error), kind=kind)

    @contextmanager
    def catch(self, batch: int | None, field: str) -> Iterator[None]:
        """Turn any exception of the block into a problem: hostile bytes may make our own code fail in any way."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - unexpected bytes are damage, too
            self.add_error(batch, field, error)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 500 else f"{text[:497]}..."
