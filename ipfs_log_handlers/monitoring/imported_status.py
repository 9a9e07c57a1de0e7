"""Say which logs of other homes a home has, without reading their batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.format.checkpoint import key_name_of, subsystem_of
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.absent_payloads import AbsentPayloads
from ipfs_log_handlers.home.imported_logs import MirroredDir, imported_files, mirrored_logs, trusted_keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.monitoring.health_check import HealthCheck
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.gaps import Gap

__all__ = ["ImportedLogStatus", "check_imported", "imported_logs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLogStatus:
    """A log of another home that is here, in imported files or as a mirror."""

    subsystem: str
    """Name of the subsystem."""
    origin: str
    """Name of the log."""
    mirrored: bool
    """Whether it is a mirror; else it is in imported files."""
    batches: int
    """Batches that are here."""
    behind: int
    """Batches that its newest head has signed and that are not here yet."""
    pruned: int
    """Batches whose payload was given up, as a signed act says."""
    absent: int
    """Batches whose payload no source had."""
    bytes: int
    """Bytes of the files of a mirror; 0 for imported files, which may have several logs."""
    problem: str | None
    """Why it cannot be read; `None`: it can."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with its fields, as `ipfs-logs status -o json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


def imported_logs(home: HomeDir) -> Iterator[ImportedLogStatus]:
    """List the logs of other homes, by name; of mirrored logs, only the heads are read.

    Raises:
        OSError: the home cannot be read.
    """
    found = {target.log: _mirrored(target) for target in mirrored_logs(home) if disk.exists(target.head_file)}
    for log, count in _in_files(home).items():
        if log not in found:
            found[log] = _status(log, mirrored=False, batches=count)
    try:
        names = {key.name for key in trusted_keys(home)}
    except LogStoreError as error:
        names, reason = set(), explain_any(error)
    else:
        reason = "no key that is trusted has signed it"
    for log in sorted(found, key=lambda log: (subsystem_of(log), log)):
        status = found[log]
        yield status if key_name_of(log) in names else _status(log, mirrored=status.mirrored, problem=reason)


def _mirrored(target: MirroredDir) -> ImportedLogStatus:
    try:
        head, pieces = target.head(), target.pieces()
        if head is None:
            return _status(target.log, mirrored=True)
        due = 0
        for piece in pieces:
            if piece.first > due:
                return _status(target.log, mirrored=True, problem=f"the file with batch {due} is missing")
            due = piece.last + 1
        if due <= head.through:
            return _status(target.log, mirrored=True, problem=f"the file with batch {due} is missing")
        absent = AbsentPayloads.load(target)
        return _status(
            target.log,
            mirrored=True,
            batches=head.through + 1,
            behind=head.head.index - head.through,
            pruned=absent.pruned_count,
            absent=absent.missing_count,
            size=sum(disk.status(piece.path).st_size for piece in pieces),
        )
    except (LogStoreError, OSError) as error:
        return _status(target.log, mirrored=True, problem=explain_any(error))


def _status(
    log: str,
    *,
    mirrored: bool,
    batches: int = 0,
    behind: int = 0,
    pruned: int = 0,
    absent: int = 0,
    size: int = 0,
    problem: str | None = None,
) -> ImportedLogStatus:
    return ImportedLogStatus(
        subsystem=subsystem_of(log), origin=log, mirrored=mirrored, batches=batches, behind=behind, pruned=pruned,
        absent=absent, bytes=size, problem=problem,
    )  # fmt: skip


def _in_files(home: HomeDir) -> dict[str, int]:
    """Count the batches of each log in imported files."""
    files = imported_files(home)
    if not files:
        return {}
    chains = CarSource(files, _ignore).chains()
    return {log: len({part.index for part in parts}) for log, (_, parts) in chains.items()}


def _ignore(gap: Gap) -> None:
    """Ignore damage: `verify` reports it."""


def check_imported(home: HomeDir) -> Iterator[HealthCheck]:
    """Check the logs of other homes: whether their files are here, and whether something is missing.

    Raises:
        OSError: the home cannot be read.
    """
    logs = list(imported_logs(home))
    for log in logs:
        if log.problem is not None:
            yield HealthCheck(
                check="other homes",
                state="fail",
                found=f"{log.origin}: {log.problem}",
                hint="Mirror or import the log again, with --key if its key is not known.",
            )
        elif log.behind or log.absent:
            counts = {f"{log.behind} batches": log.behind, f"the payloads of {log.absent} batches": log.absent}
            yield HealthCheck(
                check="other homes",
                state="warn",
                found=f"{log.origin}: {' and '.join(what for what, count in counts.items() if count)} are not here",
                hint="Run `ipfs-logs mirror` again: it asks for what is missing.",
            )
    readable = [log for log in logs if log.problem is None]
    if readable:
        batches = sum(log.batches for log in readable)
        yield HealthCheck(check="other homes", state="ok", found=f"logs: {len(readable)}, batches: {batches:,}")
