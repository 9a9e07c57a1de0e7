"""Verify: is the chain of each log in a home whole, signed, in order, and what its manifests say?

The tree over the manifests' CIDs is the only authority: `prev`, `jump`, `edge`, `index` and `log` must agree with it,
and each checkpoint must sign it. `meta` and `stats` are counted again from the records: what every batch says always,
what its subsystem says by the rules that the manifest names, where these are registered here or stand in the room's
`settings.json`. A payload that left the home by retention is `absent`, which is no damage. Whatever
bytes are found, nothing is raised: what is wrong becomes a `Problem`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import FormatError, LogStoreError
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.home import head, keys, settings, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import Sealed
from ipfs_log_handlers.home.layout import Home, Room, Shelf
from ipfs_log_handlers.reading.check import BatchCheck, Chain, Problem, Problems
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = ["Problem", "Report", "verify"]

Progress = Callable[[str, int, int], None]
"""Told of the subsystem, how many batches are done and how many there are."""
_TRIES: Final = 3


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found in one log."""

    subsystem: str
    """Its subsystem."""
    log: str
    """Its name; empty when nothing tells it."""
    batches: int = 0
    """Batches that it has."""
    records: int = 0
    """Records in the batches whose manifest is whole."""
    tree_root: bytes | None = None
    """Root of the tree over all manifests; `None` when one of them is not known."""
    absent: int = 0
    """Payloads that left the home by retention."""
    quarantined: int = 0
    """Damaged pieces of the spool that were left out before sealing, as the head counts them; no problem."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong."""

    @property
    def ok(self) -> bool:
        """Whether nothing is."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """With the keys of `ipfs-logs verify`."""
        return {
            "subsystem": self.subsystem,
            "log": self.log,
            "ok": self.ok,
            "batches": self.batches,
            "records": self.records,
            "tree_size": self.batches,
            "tree_root": self.tree_root.hex() if self.tree_root is not None else None,
            "absent": self.absent,
            "quarantined": self.quarantined,
            "problems": [problem.as_json() for problem in self.problems],
        }


def verify(
    home: Home,
    subsystems: Sequence[str] | None = None,
    *,
    trusted: Sequence[VerifierKey] = (),
    progress: Progress | None = None,
) -> Iterator[Report]:
    """Check every log of a home, the former logs of each subsystem first.

    Args:
        home: the home.
        subsystems: only these.
        trusted: the keys that may have signed; none: the home's own.
        progress: told of each batch.
    """
    known, trouble = _keys(home, trusted)
    for room in home.rooms():
        if subsystems is None or room.name in subsystems:
            yield from _verify_room(room, known, trouble, progress)


def _keys(home: Home, trusted: Sequence[VerifierKey]) -> tuple[dict[str, VerifierKey], str]:
    """The keys by name; and why there are none."""
    if trusted:
        return {key.name: key for key in trusted}, "none of the given keys"
    try:
        own = keys.load(home)
    except (LogStoreError, OSError) as error:
        return {}, str(error)
    return ({}, "no key in the home") if own is None else ({own.name: own.verifier}, own.name)


def _verify_room(room: Room, known: Mapping[str, VerifierKey], trouble: str, progress: Progress | None) -> list[Report]:
    reports: list[Report] = []
    for _ in range(_TRIES):
        shelves = room.shelves()
        reports = _verify_shelves(room, shelves, known, trouble, progress)
        if shelves == room.shelves():  # else the current log has ended and moved under us
            break
    return reports


def _verify_shelves(
    room: Room, shelves: Sequence[Shelf], known: Mapping[str, VerifierKey], trouble: str, progress: Progress | None
) -> list[Report]:
    reports: list[Report] = []
    seen: dict[str, int] = {}
    before: _LogCheck | None = None
    for shelf in shelves:
        check = _LogCheck(room, shelf, known, trouble)
        if check.there:
            check.run(seen, before, progress)
            reports.append(check.report)
            before = check
    return reports


def _rules(room: Room) -> dict[str, Rules]:
    """The rules that are known here for a subsystem, by their ids."""
    own = subsystems.get(room.name).rules if room.name in subsystems.names() else Rules()
    found: dict[str, Rules] = {}
    with suppress(OSError):
        found = settings.rules_in(room.settings)
    return {**found, own.id: own}


class _LogCheck:
    """The check of one log."""

    def __init__(self, room: Room, shelf: Shelf, known: Mapping[str, VerifierKey], no_key: str) -> None:
        self._batches = Batches(shelf.batches)
        self._current = shelf.path == room.path
        self._known = known
        self._rules = _rules(room)
        self._no_key = no_key
        self._problems = Problems()
        # The batches first: those that are sealed in between are above this head, and no matter.
        self._indexes = self._listed()
        self.sealed, self.head_damaged = self._load_head(shelf)
        marks = shipped.load_all(shelf.shipped).values()
        name = self.sealed.log if self.sealed is not None else self._name_from_batches()
        self._marks = [mark for mark in marks if mark.log == name or not name]
        self.there = bool(self._indexes or self.sealed or self.head_damaged or self._marks)
        name = name or next((mark.log for mark in self._marks), "")
        self.report = Report(subsystem=room.name, log=name, problems=self._problems.found)

    def _listed(self) -> list[int]:
        with suppress(OSError):
            return self._batches.indexes()
        return []

    def _load_head(self, shelf: Shelf) -> tuple[Sealed | None, bool]:
        try:
            return head.load(shelf.head), False
        except (FormatError, OSError) as error:
            self._problems.add_error(None, "head", error)
            return None, True

    def _name_from_batches(self) -> str:
        for index in reversed(self._indexes):
            with suppress(FormatError, OSError):
                return self._batches.facts(index).manifest.log
        return ""

    @property
    def newest(self) -> int:
        """Number of the newest batch."""
        return self.sealed.index if self.sealed is not None else max(self._indexes, default=-1)

    def run(self, seen: dict[str, int], before: _LogCheck | None, progress: Progress | None) -> None:
        """Check everything.

        Args:
            seen: by writer, the last sequence number in the logs before; moved on.
            before: the log that this one follows.
            progress: told of each batch.
        """
        report = self.report
        report.batches = self.newest + 1
        key = self._key()
        chain = Chain(report.log, key, seen, self._problems, self._rules)
        if before is not None:
            chain.former = before.checkpoint
        for index in range(self.newest + 1):
            check = BatchCheck(chain, index, confirmed=any(mark.has(index) for mark in self._marks))
            check.run(self._batches.files(index))
            report.absent += check.absent
            if progress is not None:
                progress(report.subsystem, index + 1, self.newest + 1)
        report.records = chain.records
        report.tree_root = chain.root
        report.quarantined = self._quarantined(before)
        self._check_head(chain, before)
        self._check_around()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What the log after this one must have as evidence; `None` when that is not known."""
        report = self.report
        if report.tree_root is None or not report.log or self.newest < 0:
            return None
        return Checkpoint(report.log, self.newest + 1, report.tree_root)

    def _key(self) -> VerifierKey | None:
        try:
            wanted = key_name_of(self.report.log)
        except FormatError as error:
            self._problems.add_error(None, "log", error)
            return None
        if wanted not in self._known:
            self._problems.add(None, "key", wanted, self._no_key)
        return self._known.get(wanted)

    def _quarantined(self, before: _LogCheck | None) -> int:
        """What this head has counted beyond the one before it, where nothing was counted anew in between."""
        if self.sealed is None or (before is not None and before.sealed is None):
            return 0
        base = before.sealed.quarantined if before is not None and before.sealed is not None else 0
        return max(0, self.sealed.quarantined - base)

    def _check_head(self, chain: Chain, before: _LogCheck | None) -> None:
        """The head file is that of the newest batch, and its sums are those of all batches."""
        sealed = self.sealed
        if sealed is None:
            if self._current and self._indexes and not self.head_damaged:
                self._problems.add(None, "head", "a head file beside the batches", "none")
            return
        if chain.newest_head != sealed.block:
            self._problems.add(sealed.index, "head", sealed.cid.text, chain.newest_head_cid or "no such head block")
        if chain.root is not None and Checkpoint.parse(sealed.head.checkpoint).root != chain.root:
            found = Checkpoint.parse(sealed.head.checkpoint).root
            self._problems.add(None, "tree_root", chain.root.hex(), found.hex())
        base = before.sealed if before is not None else None
        if before is not None and base is None:  # whether its sums went on into this head is not known any more
            return
        records = chain.records + (base.records if base else 0)
        dropped = Counter(base.dropped if base else {}) + chain.dropped
        if chain.complete and sealed.records != records:
            self._problems.add(None, "records", records, sealed.records)
        if chain.complete and dict(sealed.dropped) != dict(dropped):
            self._problems.add(None, "dropped", dict(dropped), dict(sealed.dropped))

    def _check_around(self) -> None:
        """Nothing shows that the head was rolled back: no batch far above it, no store that has more."""
        above = [index for index in self._indexes if index > self.newest + 1]
        if above:  # one above it is what a crash between the two leaves
            self._problems.add(above[-1], "head", f"a head at {above[-1] - 1} or above", self.newest)
        for mark in self._marks:
            reached = max((mark.upto, *mark.beyond))
            if reached > self.newest:
                self._problems.add(reached, "shipped", f"at most batch {self.newest} at a store", reached)
