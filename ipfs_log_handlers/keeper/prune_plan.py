"""Plan which payloads are given up: by the age of their records, and by all that still needs them.

A batch goes only if all of this is true: its newest record and its sealing are older than the rule says; no legal hold
may cover a record of it; every configured store and pin service has confirmed it; no snapshot that a store has pinned
links it; no head block links it that is the newest of its log, or that the newest home head links; and it has no act. A
plan that is made again at the same moment is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from ipfs_log_handlers.config.retention import DAY_S
from ipfs_log_handlers.errors import FormatError, LogStoreError, StoreError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.act import EXT_KEY
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.format.snapshot import Snapshot
from ipfs_log_handlers.home import acts, disk, name_state
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.home.pruned import pruned_of
from ipfs_log_handlers.stores import Store

__all__ = ["Decision", "PlannedBatches", "Snapshots", "needed_snapshots", "plan", "planned_batches"]

Decision = Literal["prune", "keep", "pruned"]
"""What happens to a batch: its payload is given up, it stays, or it was given up before."""
Snapshots = Mapping[str, tuple[str, int]]
"""CID and number of batches of the snapshot that is still needed, by name of the log."""
_SNAPSHOT: Final = "snapshot"
"""Name of the file with the newest snapshot, in the directory of the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatches:
    """Successive batches of one log that have one decision, for one reason."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log."""
    first: int
    """Number of the first batch."""
    last: int
    """Number of the last batch."""
    records: int
    """Number of records in them."""
    size: int
    """Bytes of their payloads."""
    since: int
    """Time of the first record, µs since 1970."""
    until: int
    """Time of the last record, µs since 1970."""
    decision: Decision
    """What happens to them."""
    why: str
    """The reason."""

    @property
    def batches(self) -> int:
        """Number of batches."""
        return self.last - self.first + 1

    def as_json(self) -> dict[str, Any]:
        """Return the batches with the keys of `ipfs-logs retention plan`; times are RFC 3339."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return members | {"since": rfc3339(self.since), "until": rfc3339(self.until)}


def plan(
    subsystem_dir: SubsystemDir, policy: Policy, days: float, *, now: int, snapshots: Snapshots
) -> list[PlannedBatches]:
    """Decide about every batch of a subsystem, oldest first.

    Args:
        subsystem_dir: the directory of the subsystem.
        policy: its policy, with the stores and pin services that must have confirmed what goes.
        days: age in days from which on payloads go.
        now: the moment of the plan, µs since 1970.
        snapshots: the snapshots that are still needed.

    Raises:
        FormatError: a batch with an act is damaged: it is not known what is held.
        OSError: the home cannot be read.
    """
    planned: list[PlannedBatches] = []
    for batch in planned_batches(subsystem_dir, policy, days, now=now, snapshots=snapshots):
        before = planned[-1] if planned else None
        same = ("log", "decision", "why")
        if (
            before is not None
            and all(getattr(before, name) == getattr(batch, name) for name in same)
            and before.last + 1 == batch.first
        ):
            planned[-1] = replace(
                before,
                last=batch.last,
                records=before.records + batch.records,
                size=before.size + batch.size,
                since=min(before.since, batch.since),
                until=max(before.until, batch.until),
            )
        else:
            planned.append(batch)
    return planned


def planned_batches(
    subsystem_dir: SubsystemDir, policy: Policy, days: float, *, now: int, snapshots: Snapshots, due_only: bool = False
) -> Iterator[PlannedBatches]:
    """Decide about the batches of a subsystem one by one; arguments and errors as for `plan`.

    Args:
        subsystem_dir: as for `plan`.
        policy: as for `plan`.
        days: as for `plan`.
        now: as for `plan`.
        snapshots: as for `plan`.
        due_only: leave out the batches that were pruned before, and stop at the first young one of each log.
    """
    rule = _Rule(subsystem_dir, policy, days, now, snapshots)
    for log in logs_of(subsystem_dir):
        for index in range(log.newest + 1):
            if due_only and rule.pruned.has(log.name, index):
                continue
            batch = rule.decide(log, index)
            if due_only and batch.why == rule.young:
                break
            yield batch


class _Rule:
    """What decides about the batches of one subsystem at one moment."""

    def __init__(
        self, subsystem_dir: SubsystemDir, policy: Policy, days: float, now: int, snapshots: Snapshots
    ) -> None:
        self.young = f"younger than {days:g} d"
        """The reason for which a young batch stays."""
        self._old = f"older than {days:g} d"
        self.pruned = pruned_of(subsystem_dir)
        """The batches that were pruned before."""
        self._subsystem = subsystem_dir.name
        self._holds = acts.holds_of(subsystem_dir)
        self._required = (*policy.stores, *policy.pins)
        self._before = now - int(days * DAY_S * 1_000_000)
        self._snapshots = snapshots
        self._confirmed: dict[str, dict[str, Any]] = {}
        self._published = _published(HomeDir(subsystem_dir.path.parent))

    def decide(self, log: Log, index: int) -> PlannedBatches:
        """Decide about one batch."""
        manifest = None
        with suppress(FormatError, FileNotFoundError):
            manifest = log.batches.manifest(index)
        decision, why = self._decision(log, index, manifest)
        return PlannedBatches(
            subsystem=self._subsystem,
            log=log.name,
            first=index,
            last=index,
            records=0 if manifest is None else manifest.records,
            size=0 if manifest is None else manifest.size,
            since=0 if manifest is None else manifest.first,
            until=0 if manifest is None else manifest.last,
            decision=decision,
            why=why,
        )

    def _decision(self, log: Log, index: int, manifest: Manifest | None) -> tuple[Decision, str]:
        if self.pruned.has(log.name, index):
            return "pruned", "given up before"
        if manifest is None or manifest.log != log.name:
            return "keep", "damaged"
        if EXT_KEY in manifest.ext:
            return "keep", "an act"
        if max(manifest.last, manifest.sealed) > self._before:
            return "keep", self.young
        if index == log.newest:
            return "keep", "the newest of its log"
        if (log.name, index) in self._published:
            return "keep", "the newest published"
        hold = next((hold for hold in self._holds if hold.covers(manifest.first, manifest.last)), None)
        if hold is not None:
            return "keep", f"hold {hold.id}"
        missing = next((address for address in self._required if not self._has(log, address, index)), None)
        if missing is not None:
            return "keep", f"not confirmed by {missing}"
        cid, size = self._snapshots.get(log.name, ("", 0))
        if index < size:
            return "keep", f"snapshot {cid}"
        return "prune", self._old

    def _has(self, log: Log, address: str, index: int) -> bool:
        """Return whether a store or pin service has confirmed a batch."""
        if log.name not in self._confirmed:
            states = log.log_dir.delivery_states(log.name).values()
            self._confirmed[log.name] = {state.address: state for state in states}
        state = self._confirmed[log.name].get(address)
        return state is not None and state.has(index)


def _published(home: HomeDir) -> set[tuple[str, int]]:
    """Return log and number of each batch that the newest home head, or the one that was published last, links."""
    with suppress(FormatError):
        state = name_state.load(home)
        linked = {(head.log, head.index) for head in (state.head.logs if state.head is not None else ())}
        return linked | set(state.confirmed.through.items() if state.confirmed is not None else ())
    return set()


async def needed_snapshots(subsystem_dir: SubsystemDir, stores: Sequence[Store]) -> dict[str, tuple[str, int]]:
    """Find the snapshots of the logs of a subsystem that were made here, and that a store has pinned or may have.

    Args:
        subsystem_dir: the directory of the subsystem.
        stores: the stores to ask.

    Raises:
        OSError: the home cannot be read.
    """
    needed = {}
    for log in logs_of(subsystem_dir):
        root = _snapshot_of(log)
        if root is not None and await _may_be_pinned(root.cid, stores):
            needed[log.name] = root.cid.text, root.size
    return needed


def _snapshot_of(log: Log) -> Snapshot | None:
    """Read the root of the newest snapshot that was made of a log; `None` if none is known."""
    with suppress(OSError, LogStoreError, KeyError), disk.stream(log.log_dir.path / _SNAPSHOT) as stream:
        reader = car.Reader(stream)
        return Snapshot.decode(dict(reader)[reader.roots[0]])
    return None


async def _may_be_pinned(cid: Cid, stores: Sequence[Store]) -> bool:
    """Ask whether a block is pinned anywhere; a store that does not answer may have it."""
    for store in stores:
        try:
            if await store.pinned([cid]):
                return True
        except StoreError:
            return True
    return False
