"""Define the outcome of the check of one log, and what is compared with the head that a reader remembers of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.verify.forks import ForkEvidence
from ipfs_log_handlers.verify.problems import Problem, ProblemKind

__all__ = ["Report", "Result", "SignedChain", "Trust"]

Result = Literal["ok", "forked", "tampered", "vanished", "stale", "unreachable", "incomplete"]
"""The outcome in one word; of several kinds of problems, the one that stands first in `_WORST_FIRST`."""
Trust = Literal["given", "home", "pinned", "none"]
"""The key that checked the signatures: one that the caller gave, one that the home trusts, the one that was pinned when
the log was first seen, or none."""
_WORST_FIRST: Final[tuple[ProblemKind, ...]] = (
    "forked", "tampered", "vanished", "stale", "unreachable", "incomplete",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedChain:
    """A log whose manifests agree with one another and with its newest signed checkpoint."""

    note: bytes
    """The newest checkpoint, signed."""
    key: VerifierKey | None
    """The key that checked its signature; `None`: no key was known."""
    start: int
    """Number of the first batch whose manifest is here."""
    manifest: Callable[[int], Manifest]
    """Reads the manifest of a batch; raises `LogStoreError` or `OSError`."""
    cid: Callable[[int], Cid]
    """Returns the CID of the manifest of a batch, as it was verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of the check of one log."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log; empty when no file says it."""
    batches: int = 0
    """Number of batches."""
    records: int = 0
    """Records in the batches whose manifest is whole."""
    tree_root: bytes | None = None
    """Root of the tree over all manifests; `None` if one of them is not known."""
    absent: int = 0
    """Payloads that left the home by retention."""
    pruned: int = 0
    """Payloads that were given up, as signed acts in the log say; not a problem."""
    quarantined: int = 0
    """Damaged spans of the spool that were left out before sealing, as the head counts them; not a problem."""
    gaps: int = 0
    """Numbers of records that are missing between those of a process: records that were dropped; not a problem."""
    set_back: int = 0
    """Batches that were sealed at an earlier time than the batch before: the clock was set back; not a problem."""
    unchecked: int = 0
    """Batches whose manifest was checked and whose payload was not looked at, as the caller has chosen."""
    encrypted: int = 0
    """Batches of which the records were not counted again, because the reader has no identity that opens them; all
    that can be verified of them without one was."""
    erased: int = 0
    """The same, because their key was destroyed; not a problem."""
    trust: Trust = "none"
    """The key that checked the signatures."""
    remembered: int | None = None
    """Number of batches of the head that was remembered before; `None`: none was, or none was asked for."""
    first_seen: bool = False
    """Whether this check has remembered the log for the first time."""
    evidence: str | None = None
    """File with both signed heads of a fork; `None` if there is none."""
    source: str | None = None
    """Where the log was read, as it was given; `None`: in the home."""
    origin: str | None = None
    """Name of the log, if it is one of another home that was imported or mirrored; `None`: a log of this home."""
    ended: str | None = None
    """The reason why a keeper has ended the log; `None` for the current log, or if the reason is not known."""
    problems: tuple[Problem, ...] = ()
    """The problems, in the order in which they were noted."""
    chain: SignedChain | None = field(default=None, repr=False, compare=False)
    """What a remembered head is compared with; `None`: the log is not verified as a whole."""
    fork: ForkEvidence | None = field(default=None, repr=False, compare=False)
    """Two signed heads that exclude each other, which were found at the source itself."""
    follows: Checkpoint | None = field(default=None, repr=False, compare=False)
    """The end of the log before this one, as the first manifest proves it; `None`: there is none."""

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def result(self) -> Result:
        """The outcome in one word."""
        kinds = {problem.kind for problem in self.problems}
        return next((kind for kind in _WORST_FIRST if kind in kinds), "ok")

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs verify --json`."""
        return {
            "subsystem": self.subsystem,
            "log": self.log,
            "ok": self.ok,
            "result": self.result,
            "batches": self.batches,
            "records": self.records,
            "tree_size": self.batches,
            "tree_root": self.tree_root.hex() if self.tree_root is not None else None,
            "absent": self.absent,
            "pruned": self.pruned,
            "quarantined": self.quarantined,
            "gaps": self.gaps,
            "set_back": self.set_back,
            "unchecked": self.unchecked,
            "encrypted": self.encrypted,
            "erased": self.erased,
            "trust": self.trust,
            "remembered": self.remembered,
            "first_seen": self.first_seen,
            "evidence": self.evidence,
            **({} if self.source is None else {"source": self.source}),
            **({} if self.origin is None else {"origin": self.origin}),
            **({} if self.ended is None else {"ended": self.ended}),
            "problems": [problem.as_json() for problem in self.problems],
        }
