"""Plan the pruning of a home, and prune it now: as the keeper, or by asking the process that is the keeper."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ipfs_log_handlers.concurrency import clock, coroutines
from ipfs_log_handlers.errors import StoreError
from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir, policy_of
from ipfs_log_handlers.home.pruned import unfinished
from ipfs_log_handlers.keeper.acts import record_act
from ipfs_log_handlers.keeper.prune_plan import PlannedBatches, Snapshots, needed_snapshots, plan
from ipfs_log_handlers.keeper.pruning import Pruning, acts_for
from ipfs_log_handlers.stores import Store, open_store
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.stores.pins import PinService, open_pin_service

__all__ = ["PruneResult", "plan_now", "prune_now"]

_KEEPER_TIMEOUT_S: Final = 40.0
"""Seconds that another process, which is the keeper, gets to carry out acts."""
_POLL_S: Final = 0.1
"""Seconds between two checks whether it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What pruning a subsystem has done."""

    subsystem: str
    """Name of the subsystem."""
    batches: int
    """Batches that new acts give up."""
    records: int
    """Records in them."""
    size: int
    """Bytes of their payloads."""
    acts: tuple[str, ...] = ()
    """CIDs of the manifests of the new acts."""
    left: Mapping[str, str] = field(default_factory=dict)
    """What is not done yet: by store, pin service or hold, the reason. Applying again goes on with it."""

    @property
    def complete(self) -> bool:
        """Whether every act of pruning is carried out."""
        return not self.left

    def as_json(self) -> dict[str, Any]:
        """Return the result with the keys of `ipfs-logs retention apply`."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return members | {"acts": list(self.acts), "left": dict(self.left)}


def plan_now(
    home: HomeDir, rules: Mapping[str, float], stores: Sequence[str], credentials: Credentials, *, now: int
) -> Iterator[PlannedBatches]:
    """Plan the pruning of some subsystems.

    Args:
        home: the home.
        rules: days for which the records of each subsystem are kept.
        stores: addresses of the stores that are asked about snapshots.
        credentials: their credentials.
        now: the moment of the plan, µs since 1970.

    Raises:
        FormatError, OSError: as `plan`.
        ConfigurationError: an address is malformed.
    """
    for name, days in rules.items():
        yield from _plan(home.subsystem_dir(name), days, stores, credentials, now)


def _plan(
    subsystem_dir: SubsystemDir, days: float, stores: Sequence[str], credentials: Credentials, now: int
) -> list[PlannedBatches]:
    snapshots = coroutines.run(functools.partial(_snapshots, subsystem_dir, stores, credentials))
    return plan(subsystem_dir, policy_of(subsystem_dir), days, now=now, snapshots=snapshots)


async def _snapshots(subsystem_dir: SubsystemDir, stores: Sequence[str], credentials: Credentials) -> Snapshots:
    opened = [open_store(address, token=credentials.token(address)) for address in stores]
    try:
        return await needed_snapshots(subsystem_dir, opened)
    finally:
        await _close(opened)


def prune_now(
    home: HomeDir,
    rules: Mapping[str, float],
    stores: Sequence[str],
    pins: Sequence[str],
    credentials: Credentials,
    *,
    now: Callable[[], int],
    reason: str | None = None,
    by: str | None = None,
) -> Iterator[PruneResult]:
    """Prune some subsystems; carry out what earlier acts have left, too.

    Args:
        home: the home.
        rules: days for which the records of each subsystem are kept.
        stores: addresses of stores.
        pins: addresses of pin services.
        credentials: their credentials.
        now: returns the moment of the plan, µs since 1970.
        reason: the reason in the acts; `None`: the age.
        by: who asks for it.

    Raises:
        FormatError, OSError, ConfigurationError: as `plan_now`, and as `record_act`.
    """
    for name, days in rules.items():
        subsystem_dir = home.subsystem_dir(name)
        planned = _plan(subsystem_dir, days, stores, credentials, now())
        drawn = acts_for(planned, reason=reason or f"older than {days:g} days", by=by)
        cids = tuple(record_act(home, name, act).cid for act in drawn)
        going = [batches for batches in planned if batches.decision == "prune"]
        yield PruneResult(
            subsystem=name,
            batches=sum(batches.batches for batches in going),
            records=sum(batches.records for batches in going),
            size=sum(batches.size for batches in going),
            acts=cids,
            left=_finish(home, subsystem_dir, stores, pins, credentials),
        )


def _finish(
    home: HomeDir,
    subsystem_dir: SubsystemDir,
    stores: Sequence[str],
    pins: Sequence[str],
    credentials: Credentials,
) -> Mapping[str, str]:
    """Carry out all acts of a subsystem; while another process is the keeper, wait until it has."""
    until = clock.monotonic() + _KEEPER_TIMEOUT_S
    while _is_unfinished(subsystem_dir):
        held = lock.take(home)
        if held is not None:
            try:
                work = functools.partial(_carry_out, subsystem_dir, stores, pins, credentials)
                return coroutines.run(work)
            finally:
                held.release()
        if clock.monotonic() >= until:
            return {"keeper": "the process that is the keeper has not carried out every act yet; it goes on"}
        clock.pause(_POLL_S)
    return {}


def _is_unfinished(subsystem_dir: SubsystemDir) -> bool:
    return any(next(unfinished(log_dir), None) is not None for log_dir in LogDir.all_of(subsystem_dir))


async def _carry_out(
    subsystem_dir: SubsystemDir, stores: Sequence[str], pins: Sequence[str], credentials: Credentials
) -> Mapping[str, str]:
    opened = [open_store(address, token=credentials.token(address)) for address in stores]
    services = [
        open_pin_service(
            address,
            token=credentials.token(address),
            stores=lambda: [(store, credentials.token(store)) for store in stores],
        )
        for address in pins
    ]
    try:
        return (await Pruning(subsystem_dir).finish(opened, services)).reasons
    finally:
        await _close([*opened, *services])


async def _close(places: Sequence[Store | PinService]) -> None:
    for place in places:
        with suppress(StoreError):
            await place.close()
