"""Check the subsystems of a home: their segments, their files, and what stores have set aside."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from ipfs_log_handlers.home import disk, quarantine, segments
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of, titles
from ipfs_log_handlers.maintenance.damage import Damage, find, leftovers
from ipfs_log_handlers.maintenance.repair import Repair
from ipfs_log_handlers.monitoring.health_check import MAX_NAMES, SEAL, SEND_AGAIN, HealthCheck, counted
from ipfs_log_handlers.monitoring.status import losses, status

__all__ = ["Reading", "check_files", "check_set_aside", "check_spool", "check_waiting"]

_NEWEST_BATCHES: Final = 400
"""Newest batches of each log, all of which are read."""
_SAMPLED_BATCHES: Final = 100
"""Number of older batches of each log that are read, chosen at random."""
_ONE_POLICY: Final = "Use the same settings in all programs that share this home, and let this user read the segments."


def check_spool(subsystem_dir: SubsystemDir, *, alone: bool) -> Iterator[HealthCheck]:
    """Count segments whose program has ended, and damaged bytes in quarantine.

    Args:
        subsystem_dir: the subsystem.
        alone: whether no keeper is running, so that nothing seals these segments.
    """
    orphans = _count_orphans(subsystem_dir)
    if orphans:
        yield HealthCheck(
            check=f"{subsystem_dir.name} spool",
            state="warn" if alone else "ok",
            found=f"{counted(orphans, 'segment')} whose program has ended",
            hint=SEAL if alone else None,
        )
    kept = quarantine.listing(subsystem_dir.quarantine)
    if kept:
        named = ", ".join(kept[:MAX_NAMES]) + (", …" if len(kept) > MAX_NAMES else "")
        yield HealthCheck(
            check=f"{subsystem_dir.name} quarantine",
            state="warn",
            found=f"{len(kept)} damaged: {named}",
            hint=f"They are kept in {subsystem_dir.quarantine}",
        )


def _count_orphans(subsystem_dir: SubsystemDir) -> int:
    """Count the segments whose writer has ended, by taking the lock of each for a moment."""
    count = 0
    for name in segments.listing(subsystem_dir.spool):
        with contextlib.suppress(OSError):
            descriptor = disk.open_locked(subsystem_dir.spool / name.file_name, os.O_RDONLY)
            if descriptor is not None:
                disk.close_locked(descriptor)
                count += 1
    return count


def check_set_aside(subsystem_dir: SubsystemDir) -> Iterator[HealthCheck]:
    """Yield the batches that stores have set aside."""
    logs = logs_of(subsystem_dir)
    title_of = titles(logs)
    for log in logs:
        for state in log.confirmations(1).states:
            for aside in state.aside:
                yield HealthCheck(
                    check=f"{title_of[log.log_dir.path]} set aside",
                    state="warn",
                    found=f"batch {aside.index} at {state.address}: {aside.reason}",
                    hint="When the cause is removed, `ipfs-logs ship --retry-set-aside` sends it again.",
                )


def check_waiting(home: HomeDir) -> Iterator[HealthCheck]:
    """Yield the warnings of the status, and archives that wait without a keeper."""
    for subsystem in status(home.path):
        name = subsystem.subsystem
        lost = losses(logs_of(home.subsystem_dir(name)))
        for warning in subsystem.warnings:
            check, hint = ("stores", SEND_AGAIN) if warning in lost else ("spool", _ONE_POLICY)
            yield HealthCheck(check=f"{name} {check}", state="warn", found=warning, hint=hint)
        if subsystem.archives_waiting and subsystem.keeper is None:
            found = f"{counted(subsystem.archives_waiting, 'archive')} in no batch yet, and no keeper is running"
            yield HealthCheck(check=f"{name} archives", state="warn", found=found, hint=SEAL)


class Reading:
    """Chooses the batches of a subsystem that are read, and counts them."""

    def __init__(
        self, subsystem_dir: SubsystemDir, *, every_batch: bool, progress: Callable[[str, int, int], None] | None
    ) -> None:
        self._name = subsystem_dir.name
        self._every_batch = every_batch
        self._progress = progress
        self._read = self._total = 0

    def choose(self, log: Log) -> Sequence[int]:
        """Choose the batches of a log."""
        every = range(log.newest + 1)
        newest, others = every[-_NEWEST_BATCHES:], every[:-_NEWEST_BATCHES]
        sample = sorted(random.sample(others, min(_SAMPLED_BATCHES, len(others))))
        chosen = every if self._every_batch else [*sample, *newest]
        self._read += len(chosen)
        self._total += len(every)
        return chosen

    def note(self, done: int, total: int) -> None:
        """Report the number of batches that are checked."""
        if self._progress is not None:
            self._progress(self._name, done, total)

    def outcome(self) -> Iterator[HealthCheck]:
        """Yield a check that says that not every batch was read, if so."""
        if self._read < self._total:
            found = f"read {self._read:,} of {self._total:,}: the newest of each log, and a sample of the others"
            hint = "`ipfs-logs doctor --all` reads every batch, and `ipfs-logs verify` checks every claim."
            yield HealthCheck(check=f"{self._name} batches", state="ok", found=found, hint=hint)


def check_files(
    subsystem_dir: SubsystemDir, reading: Reading, repairs: Sequence[Repair] | None, *, alone: bool, stores: bool
) -> Iterator[HealthCheck]:
    """Yield what is damaged in the files of a subsystem.

    Args:
        subsystem_dir: the subsystem.
        reading: chooses the batches that are read.
        repairs: the outcomes of a repair just before; `None`: no repair was made.
        alone: whether no keeper is running: a keeper that is running leaves files that look left over.
        stores: whether a store is known that may have a damaged batch.
    """
    damaged = find(subsystem_dir, choose=reading.choose, progress=reading.note)
    for damage in chain(damaged, leftovers(subsystem_dir) if alone else ()):
        lost = damage.kind in ("batch", "head")
        hint: str | None = "Run `ipfs-logs doctor --repair`." if alone else None
        if damage.kind == "segment":
            hint = (
                "The records around them are safe: the next keeper seals those, and moves these bytes to quarantine/."
            )
        elif lost:
            current = not damage.log_dir.is_former
            hint = _repair_hint(damage, current=current, stores=stores) if repairs is None else _rest(damage, repairs)
        yield HealthCheck(check=damage.title, state="fail" if lost else "warn", found=damage.found, hint=hint)


def _repair_hint(damage: Damage, *, current: bool, stores: bool) -> str:
    """Return the hint for a damaged batch or head before a repair."""
    if damage.kind == "head" and current:
        return "The next keeper begins a new log after this one; before it, `ipfs-logs doctor --repair` rebuilds it."
    if damage.kind == "batch" and not stores:
        return "Run `ipfs-logs doctor --repair`, with --kubo if a store has this batch."
    return "Run `ipfs-logs doctor --repair`."


def _rest(damage: Damage, repairs: Sequence[Repair]) -> str:
    """Return the hint for a batch or head that a repair could not rebuild."""
    if damage.kind == "head":
        return "It can be rebuilt when every batch of its log can be read."
    files = " and ".join(map(str, damage.log_dir.sealed_batches.files(damage.index or 0)))
    failed = [repair.damage for repair in repairs if not repair.repaired and repair.damage is not None]
    lost = [other for other in failed if other.kind == "batch"]
    others = "; all other batches are whole" if len(lost) == 1 else ""
    return f"Name a store that has it with --kubo, or restore {files} from a copy{others}."
