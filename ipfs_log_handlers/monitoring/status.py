"""Report counters and health of a home, one value for each subsystem, from the home alone.

The work does not grow with the number of batches: heads, delivery states and two rows of each log's index are enough.
Manifests are read only if a head or an index is lost.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.moment import micros
from ipfs_log_handlers.home import acts, drop_reports, lock, pending_archives, quarantine, segments, volume
from ipfs_log_handlers.home.acts import Hold
from ipfs_log_handlers.home.delivery_state import Confirmations
from ipfs_log_handlers.home.last_seqs import LastSeqs
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of, policy_of
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.home.space import spool_bytes, store_bytes
from ipfs_log_handlers.monitoring.conflicts import disagreements
from ipfs_log_handlers.monitoring.key_checks import key_warnings
from ipfs_log_handlers.monitoring.name_status import NameStatus, name_status
from ipfs_log_handlers.monitoring.shipped import (
    PinServiceStatus,
    count_published,
    count_shipped,
    last_error_of,
    pin_services,
)
from ipfs_log_handlers.runtime.process import ProcessCounters
from ipfs_log_handlers.spool.dropped import dropped_in
from ipfs_log_handlers.spool.tail import spans
from ipfs_log_handlers.stats.decoder import last_seq

__all__ = ["SubsystemStatus", "losses", "status"]

_MAX_READINGS: Final = 5
"""Largest number of readings, if batches are sealed or counts are moved during each; then the last one is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsystemStatus:
    """Counters and health of one subsystem. All records are counted over the whole life of the home."""

    subsystem: str
    """Name of the subsystem."""
    durable: int = 0
    """Records that survive a kill of the program, including the sealed ones."""
    sealed: int = 0
    """Records in a signed batch, including the shipped ones."""
    shipped: int = 0
    """Records in batches of which as many copies as configured are confirmed, by stores and pin services."""
    pins: Sequence[PinServiceStatus] = ()
    """The pin services, each with its own counters."""
    published: int = 0
    """Records in batches that the published home head leads to."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Records that could not be kept, by reason."""
    quarantined: int = 0
    """Files in `quarantine/`: damaged parts of segments, and damaged files that a repair has replaced."""
    set_aside: int = 0
    """Batches that a store has refused as bad."""
    archives_waiting: int = 0
    """Archives that are stored and in no batch yet."""
    spool_bytes: int = 0
    """Allocated bytes of segments and of archives that wait."""
    store_bytes: int = 0
    """Allocated bytes of batches."""
    bounded_bytes: int = 0
    """Allocated bytes of segments, and of batches that are not shipped."""
    max_spool_bytes: int = 0
    """The bound of `bounded_bytes`, above which records are dropped or wait."""
    oldest_unshipped: float | None = None
    """Age in seconds of the oldest record that is not shipped; `None` without such a record, or without a store."""
    head: str | None = None
    """CID of the newest head block."""
    name: Mapping[str, Any] | None = None
    """`{name, cid, age, until, last_error, next_retry}` of the home's name; `None`: the home was never published."""
    keeper: Mapping[str, Any] | None = None
    """`{host, pid}` of the process that seals and ships; `None`: no process does."""
    holds: Sequence[Hold] = ()
    """The legal holds that stand."""
    last_error: str | None = None
    """The current error; also the reason why the home cannot be made or read."""
    next_retry: str | None = None
    """Time at which the store or pin service of `last_error` is tried again, RFC 3339; `None` for another error."""
    warnings: Sequence[str] = ()
    """Segments that cannot be read, and programs that want different settings of one subsystem."""
    incomplete: int | None = None
    """Records of this process without the fields that their event requires; `None`: no process was asked."""
    failures: Mapping[str, int] | None = None
    """Number of errors of this process that could not be raised, by kind; `None`: no process was asked."""

    def as_json(self) -> dict[str, Any]:
        """Return the status with the keys of `ipfs-logs status`; those of a process only if a process was asked."""
        members = {name: getattr(self, name) for name in self.__slots__}
        members |= {"dropped": dict(self.dropped), "warnings": list(self.warnings)}
        members["pins"] = [pin.as_json() for pin in self.pins]
        members["holds"] = [hold.as_json() for hold in self.holds]
        members["keeper"] = None if self.keeper is None else dict(self.keeper)
        members["name"] = None if self.name is None else dict(self.name)
        if self.incomplete is None or self.failures is None:
            del members["incomplete"], members["failures"]
        else:
            members["failures"] = dict(self.failures)
        return members


def status(
    home: Path, counters: Callable[[], ProcessCounters] | None = None, *, own: str | None = None
) -> list[SubsystemStatus]:
    """Return counters and health of each subsystem of a home, in alphabetical order.

    A subsystem that cannot be read is in the list too, with the reason as its `last_error`.

    Args:
        home: the home; it may be missing.
        counters: returns the counters that only this process has.
        own: the subsystem under which failures are reported if the home has no other.

    Raises:
        OSError: the home cannot be read, and no subsystem can report it.
    """
    if counters is None:
        return _status(HomeDir(home), None, own)
    process = counters()
    for _ in range(_MAX_READINGS):
        subsystems = _status(HomeDir(home), process, own)
        before, process = process, counters()
        if process.unreported == before.unreported:
            break  # otherwise a count that went from the process to the home may be in both, or in neither
    return subsystems


def _status(home: HomeDir, process: ProcessCounters | None, own: str | None) -> list[SubsystemStatus]:
    names = set() if process is None else set(process.unreported)
    fallback = set() if own is None else {own}
    try:
        keeper, name = lock.holder(home), name_status(home)
        names |= {subsystem_dir.name for subsystem_dir in home.subsystem_dirs()}
    except OSError as error:
        names = names or fallback
        if not names:
            raise
        reason = _refusal(home.path, error)
        return [_with_process(_unreadable(home, name, reason, None), (), process) for name in sorted(names)]
    if not names and process is not None and process.failures:
        names = fallback
    return [
        _of_subsystem_dir(home, home.subsystem_dir(subsystem), keeper, name, process) for subsystem in sorted(names)
    ]


def _refusal(path: Path, error: OSError) -> str:
    """Say why a directory cannot be used."""
    return f"{path} cannot be {'read' if os.path.isdir(path) else 'made'}: {error.strerror or error}"


def _of_subsystem_dir(
    home: HomeDir,
    subsystem_dir: SubsystemDir,
    keeper: dict[str, Any] | None,
    name: NameStatus | None,
    process: ProcessCounters | None,
) -> SubsystemStatus:
    try:
        of_home, stores = _read(home, subsystem_dir, keeper, name)
    except OSError as error:
        of_home, stores = _unreadable(home, subsystem_dir.name, _refusal(subsystem_dir.path, error), keeper), ()
        return _with_process(of_home, stores, process)
    if process is not None and of_home.last_error is None:
        of_home = replace(of_home, last_error=_never_made(home.path, process.unreported.get(subsystem_dir.name)))
    return _with_process(of_home, stores, process)


def _unreadable(home: HomeDir, name: str, reason: str, keeper: dict[str, Any] | None) -> SubsystemStatus:
    """Return the status of a subsystem that cannot be read."""
    bound = Policy.default(home.path, name).max_spool_bytes
    return SubsystemStatus(subsystem=name, max_spool_bytes=bound, keeper=keeper, last_error=reason)


def losses(logs: Iterable[Log]) -> list[str]:
    """Name the stores and pin services that have lost batches of these logs which they had confirmed."""
    lossy = {state.address for log in logs for state in log.confirmations(1).states if state.lost}
    return [f"{address} has lost batches that it had confirmed" for address in sorted(lossy)]


def _never_made(home: Path, unreported: Mapping[str, int] | None) -> str | None:
    """Say why there is no home although records were logged."""
    if unreported is None or os.path.isdir(home):
        return None
    reasons = [os.strerror(getattr(errno, reason)) for reason in unreported if reason in errno.errorcode.values()]
    return f"{home} cannot be made: {reasons[-1]}" if reasons else None


def _read(
    home: HomeDir, subsystem_dir: SubsystemDir, keeper: dict[str, Any] | None, name: NameStatus | None
) -> tuple[SubsystemStatus, Sequence[str]]:
    """Read the status of a subsystem from the home, and the stores and pin services that it uses."""
    logs, sums, backlog = _look(subsystem_dir)
    policy = policy_of(subsystem_dir)
    confirmed = [(log, log.confirmations(policy.replicas)) for log in logs]
    by_configured = [(log, confirmations.of_stores(policy.replicas)) for log, confirmations in confirmed]
    if policy.stores:
        by_configured = [(log, log.confirmations(policy.replicas, policy.stores)) for log in logs]
    sealed = _count_sealed(logs, sums)
    newest = logs[-1].sealed if logs else None
    pins = pin_services(logs, policy.pins, sealed)
    error, retry = last_error_of(by_configured)
    if error is None:
        error, retry = next(((pin.last_error, pin.next_retry) for pin in pins if pin.last_error), (None, None))
    holds, unknown = _read_holds(subsystem_dir)
    head_problem = next((log.head_problem for log in reversed(logs) if log.head_problem), None)
    if head_problem is not None:
        error, retry = head_problem, None
    subsystem_status = SubsystemStatus(
        subsystem=subsystem_dir.name,
        durable=sealed + backlog.records,
        sealed=sealed,
        shipped=count_shipped(confirmed, sealed),
        published=0 if name is None else count_published(logs, name.through),
        dropped=dict(_count_dropped(logs, sums) + backlog.dropped),
        quarantined=max(quarantine.count(subsystem_dir.quarantine), newest.quarantined if newest is not None else 0),
        set_aside=sum(len(confirmations.set_aside) for _, confirmations in by_configured),
        archives_waiting=backlog.archives,
        spool_bytes=volume.allocated(subsystem_dir.spool) + volume.allocated(subsystem_dir.archived),
        store_bytes=store_bytes(subsystem_dir),
        bounded_bytes=spool_bytes(subsystem_dir, policy.replicas if policy.stores else 0),
        max_spool_bytes=policy.max_spool_bytes,
        pins=pins,
        oldest_unshipped=_oldest_unshipped(confirmed, backlog, policy),
        head=newest.cid.text if newest is not None else None,
        name=None if name is None else name.as_json(),
        keeper=keeper,
        holds=holds,
        last_error=error,
        next_retry=retry,
        warnings=(
            *unknown,
            *key_warnings(home, subsystem_dir),
            *backlog.unreadable,
            *disagreements(home, subsystem_dir),
            *losses(logs),
        ),
    )
    return subsystem_status, (*policy.stores, *policy.pins)


def _read_holds(subsystem_dir: SubsystemDir) -> tuple[tuple[Hold, ...], list[str]]:
    """Read the holds that stand, or say in a warning why they are not known."""
    try:
        return acts.holds_of(subsystem_dir), []
    except (FormatError, FileNotFoundError) as error:
        return (), [f"it is not known what is held: {error}"]


def _with_process(of_home: SubsystemStatus, stores: Sequence[str], process: ProcessCounters | None) -> SubsystemStatus:
    """Add the counters and errors that only a process has."""
    if process is None:
        return of_home
    last_error = of_home.last_error
    for key in (of_home.subsystem, "keeper", *stores):
        last_error = last_error or process.keeper_errors.get(key)
    last_error = last_error or process.refusals.get(of_home.subsystem)
    return replace(
        of_home,
        dropped=dict(Counter(of_home.dropped) + Counter(process.unreported.get(of_home.subsystem, {}))),
        last_error=last_error,
        incomplete=process.incomplete.get(of_home.subsystem, 0),
        failures=dict(process.failures),
    )


@dataclass(slots=True)
class _ManifestSums:
    """The sums over the manifests of a log; used when its head is lost."""

    records: int
    dropped: Counter[str]
    last_seqs: dict[str, int]
    """The last sequence number that is in a batch, by writer."""


@dataclass(slots=True)
class _Backlog:
    """The records and archives that are in no batch."""

    records: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    oldest: int | None = None
    """Time of the oldest record or archive, µs since 1970."""
    unreadable: list[str] = field(default_factory=list)
    """Sentences about segments that cannot be read."""
    archives: int = 0

    def note_time(self, moment: int) -> None:
        """Keep a time as the time of the oldest record or archive, if it is older."""
        self.oldest = moment if self.oldest is None else min(self.oldest, moment)


def _look(subsystem_dir: SubsystemDir) -> tuple[list[Log], dict[str, _ManifestSums], _Backlog]:
    """Read logs and spool as they are at one moment; read them again when a batch was sealed in between."""
    logs = logs_of(subsystem_dir)
    for _ in range(_MAX_READINGS):
        sums = {log.name: _sum_manifests(log) for log in logs if log.sealed is None}
        backlog = _read_backlog(subsystem_dir, logs, sums)
        logs_afterwards = logs_of(subsystem_dir)
        if logs_afterwards == logs:
            break
        logs = logs_afterwards
    return logs, sums, backlog


def _sum_manifests(log: Log) -> _ManifestSums:
    sums, seqs = _ManifestSums(0, Counter(), {}), LastSeqs()
    for manifest in log.log_dir.manifests(range(log.newest + 1)):
        sums.records += manifest.records
        sums.dropped.update(manifest.dropped)
        seqs.take(manifest)
    sums.last_seqs.update(seqs.through)
    return sums


def _read_backlog(subsystem_dir: SubsystemDir, logs: Sequence[Log], sums: Mapping[str, _ManifestSums]) -> _Backlog:
    """Count records after the offsets in the head; if the head is lost, after the last records of the batches."""
    newest = logs[-1].sealed if logs else None
    consumed = newest.consumed if newest is not None else {}
    last_seqs: dict[str, int] = {}
    if newest is None:
        for log_sums in (sums.get(log.name) or _sum_manifests(log) for log in logs):
            last_seqs |= {writer: max(seq, last_seqs.get(writer, 0)) for writer, seq in log_sums.last_seqs.items()}
    backlog = _Backlog()
    reports = _read_drop_reports(subsystem_dir)
    for name in segments.listing(subsystem_dir.spool):
        reports.pop(name, None)  # the keeper has just moved the log there
        path, offset = subsystem_dir.spool / name.file_name, consumed.get(str(name), 0)
        try:
            _count_segment(path, offset, last_seqs.get(name.writer, 0), backlog)
        except FileNotFoundError:
            continue
        except OSError as error:
            backlog.unreadable.append(f"segment {name} cannot be read: {error.strerror or error}")
    for dropped in reports.values():
        backlog.dropped += dropped
    for archive in pending_archives.listing(subsystem_dir.archived):
        if str(archive) not in consumed:
            backlog.archives += 1
            backlog.note_time(archive.moment)
    return backlog


def _read_drop_reports(subsystem_dir: SubsystemDir) -> dict[SegmentName, Counter[str]]:
    """Read the counts of dropped records that writers keep in reserved files while the disk is full."""
    reports: dict[SegmentName, Counter[str]] = {}
    for path, other, name in drop_reports.paths(HomeDir(subsystem_dir.path.parent)):
        if other == subsystem_dir:
            backlog = _Backlog()
            with suppress(OSError):
                _count_segment(path, 0, 0, backlog)
            reports[name] = backlog.dropped
    return reports


def _count_segment(path: Path, offset: int, sealed_seq: int, backlog: _Backlog) -> None:
    """Count the records of a segment after an offset, without those up to a sequence number that is sealed."""
    dropped: Counter[str] = Counter()
    for span in spans(path, offset):
        records = [record for record in span.records if last_seq([record]) > sealed_seq] if sealed_seq else span.records
        if len(records) < len(span.records):
            dropped.clear()  # a batch already counts the drops that were reported before its last record
        backlog.records += len(records)
        if span.kind == "control":
            dropped.update(dropped_in(span.json))
        elif records and (moment := _time_of(records[0])) is not None:
            backlog.note_time(moment)
    backlog.dropped.update(dropped)


def _time_of(line: bytes) -> int | None:
    """Read the time of a record, µs since 1970; `None` if the line has none."""
    try:
        return micros(json.loads(line)["time"])
    except (ValueError, KeyError, TypeError):
        return None


def _count_sealed(logs: Sequence[Log], sums: Mapping[str, _ManifestSums]) -> int:
    """Count the records in all logs. A head counts the logs before it too, unless the head before it was lost."""
    total = 0
    for before, log in pairwise((None, *logs)):
        if log is None:
            continue
        if log.sealed is None:
            total += sums[log.name].records
        elif before is not None and before.sealed is None:
            total += log.sealed.records
        else:
            total += log.sealed.records - (before.sealed.records if before is not None and before.sealed else 0)
    return total


def _count_dropped(logs: Sequence[Log], sums: Mapping[str, _ManifestSums]) -> Counter[str]:
    """Count the dropped records that batches report, by reason."""
    total: Counter[str] = Counter()
    for log, after in pairwise((*logs, None)):
        if log is None:
            continue
        if log.sealed is None:
            total += sums[log.name].dropped
        elif after is None or after.sealed is None:
            total += Counter(log.sealed.dropped)
    return total


def _oldest_unshipped(
    confirmed: Sequence[tuple[Log, Confirmations]], backlog: _Backlog, policy: Policy
) -> float | None:
    """Return the age of the oldest record that is not shipped, in seconds; `None` without such a record or a store."""
    if not policy.stores:
        return None
    moments = [] if backlog.oldest is None else [backlog.oldest]
    for log, confirmations in confirmed:
        for index in islice(confirmations.missing(log.newest), 1):
            with suppress(FormatError, OSError):
                moments.append(log.batches.facts(index).manifest.first)
    return max(0.0, round(time.time() - min(moments) / 1e6, 3)) if moments else None
