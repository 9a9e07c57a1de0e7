"""Read the logs of a subsystem: their names, their newest sealed batches, and the confirmations of stores.

This module takes no lock and writes no file: writers and a keeper may use the home at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import delivery_state, disk, head, segments
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import Confirmations, DeliveryState
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import LogPaths, SubsystemDir
from ipfs_log_handlers.home.policy import Policy, load_policy
from ipfs_log_handlers.home.segments import Header, SegmentName

__all__ = ["Log", "LogDir", "headers", "logs_of", "note_end", "policy_of", "signers", "titles"]


_ENDED: Final = "ended"
"""Name of the file in the directory of a former log that says why it ended."""
_MAX_REASON_BYTES: Final = 4096
"""Bytes of that file: a sentence."""


@dataclass(frozen=True, slots=True)
class LogDir(LogPaths):
    """Read the files of one log. No method writes, and none takes a lock."""

    @classmethod
    def current_of(cls, subsystem_dir: SubsystemDir) -> LogDir:
        """Return the current log of a subsystem."""
        return cls(subsystem_dir.current.path)

    @classmethod
    def former_of(cls, subsystem_dir: SubsystemDir) -> list[LogDir]:
        """List the logs of a subsystem that have ended, oldest first."""
        return [cls(paths.path) for paths in subsystem_dir.former_log_dirs()]

    @classmethod
    def all_of(cls, subsystem_dir: SubsystemDir) -> list[LogDir]:
        """List all logs of a subsystem, oldest first, the current log last."""
        return [*cls.former_of(subsystem_dir), cls.current_of(subsystem_dir)]

    @property
    def sealed_batches(self) -> Batches:
        """The batches."""
        return Batches(self.batches)

    # -- the head

    def load_head(self) -> HeadState | None:
        """Read the head file; `None` if there is none.

        Raises:
            FormatError: it is damaged, or names a batch that is far above the batches in the home.
            OSError: it cannot be read.
        """
        state = head.load(self.head)
        if state is not None and not self.sealed_batches.can_hold(state.index):
            raise FormatError("the head names a batch far above those in the home", where=self.head, found=state.index)
        return state

    def head_state(self) -> HeadState | None:
        """Read the head file; `None` if there is none or it is damaged.

        Raises:
            OSError: it cannot be read.
        """
        with suppress(FormatError):
            return self.load_head()
        return None

    # -- the batches

    def batch_headers(self, indexes: Iterable[int] | None = None) -> Iterator[BatchHeader]:
        """Read manifest and head block of some batches, and leave out those that cannot be read.

        Args:
            indexes: numbers of the batches; `None`: all batches in the directory, oldest first.
        """
        batches = self.sealed_batches
        for index in batches.indexes() if indexes is None else indexes:
            with suppress(FormatError, OSError):
                yield batches.facts(index)

    def manifests(self, indexes: Iterable[int] | None = None) -> Iterator[Manifest]:
        """Read the manifests of some batches, as `batch_headers` does."""
        return (header.manifest for header in self.batch_headers(indexes))

    def newest_batch(self) -> BatchHeader | None:
        """Read the newest readable batch, independent of the head; `None` if there is none."""
        batches = self.sealed_batches
        newest = batches.newest_in_index()
        header = None if newest is None or not batches.can_hold(newest) else next(self.batch_headers([newest]), None)
        return header or next(self.batch_headers(reversed(batches.credible_indexes())), None)

    def ended(self) -> str | None:
        """Return the reason why a keeper has ended the log; `None` for the current log, or without a noted reason."""
        with suppress(OSError):
            text = disk.read(self.path / _ENDED, _MAX_REASON_BYTES).decode("utf-8", "replace")
            return " ".join(text.split()) or None
        return None

    # -- both

    def name(self) -> str | None:
        """Return the name of the log from the head, else from the newest batch; `None` if neither can be read."""
        state = self.head_state()
        if state is not None:
            return state.log
        newest = self.newest_batch()
        return None if newest is None else newest.manifest.log

    def sealed_through(self) -> tuple[str, int] | None:
        """Return the name of the log and its newest sealed batch; batches up to it may be shipped.

        Returns:
            Log and index. `None` if no batch is sealed: a batch without a head may belong to an interrupted sealing,
            except in a former log, whose head was lost.
        """
        state = self.head_state()
        if state is not None:
            return state.log, state.index
        newest = self.newest_batch() if self.is_former else None
        return None if newest is None else (newest.manifest.log, newest.manifest.index)

    def look(self) -> Log | None:
        """Read the state of the log; `None` if there is neither a batch nor a head.

        Raises:
            OSError: the directory cannot be read.
        """
        head_problem = None
        try:
            state = self.load_head()
        except FormatError as error:
            state, head_problem = None, str(error)
        if state is not None:
            return Log(name=state.log, log_dir=self, newest=state.index, sealed=state)
        indexes = self.sealed_batches.credible_indexes()
        if head_problem is None and len(indexes) > 1 and not self.is_former:
            # with only one batch, the keeper may be about to write the first head
            head_problem = "the head is missing, although the log has batches"
        newest = self.newest_batch()
        if newest is not None:
            manifest = newest.manifest
            return Log(name=manifest.log, log_dir=self, newest=manifest.index, sealed=None, head_problem=head_problem)
        if head_problem is None:
            return None
        newest_file = max(indexes, default=-1)
        return Log(name="", log_dir=self, newest=newest_file, sealed=None, head_problem=head_problem)

    # -- the stores

    def delivery_states(self, log: str | None = None) -> dict[str, DeliveryState]:
        """Read the delivery states of all stores, by store name; damaged files are left out.

        Args:
            log: only the states of the log with this name; `None`: of any log.
        """
        states = delivery_state.load_all(self.shipped)
        return {name: state for name, state in states.items() if log is None or state.log == log}

    def confirmations(self, log: str, replicas: int, addresses: Sequence[str] | None = None) -> Confirmations:
        """Read the confirmations of stores for the log with this name.

        Args:
            log: name of the log.
            replicas: number of stores that must confirm a batch.
            addresses: only these stores; `None`: all that ever confirmed a batch.
        """
        states = self.delivery_states(log).values()
        return Confirmations(
            [state for state in states if addresses is None or state.address in addresses], replicas=replicas
        )


def note_end(log_dir: LogDir, reason: str) -> None:
    """Write the reason why a log has ended into a file, for people; an error of the disk is ignored."""
    with suppress(OSError):
        disk.replace(log_dir.path / _ENDED, reason.encode() + b"\n", sync=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The state of one log at the moment of reading."""

    name: str
    """Name of the log; empty if no file has it any more."""
    log_dir: LogDir
    """Directory of the log at that moment."""
    newest: int
    """Number of the newest batch; -1 if there is none."""
    sealed: HeadState | None
    """The head file; `None` if it is missing or damaged: then `newest` is from the batches."""
    head_problem: str | None = None
    """The problem of the head file; `None` if there is none."""

    @property
    def subsystem(self) -> str:
        """Name of the subsystem."""
        return self.log_dir.subsystem

    @property
    def batches(self) -> Batches:
        """The batches."""
        return self.log_dir.sealed_batches

    @property
    def suffix(self) -> str:
        """The eight hex digits at the end of the name; empty if no file has them any more."""
        return (self.name or (self.log_dir.path.name if self.log_dir.is_former else ""))[-8:]

    def confirmations(self, replicas: int, addresses: Sequence[str] | None = None) -> Confirmations:
        """Read the confirmations of stores for this log, as `LogDir.confirmations` does."""
        return self.log_dir.confirmations(self.name, replicas, addresses)

    def holders(self, index: int, configured: Sequence[str]) -> list[str]:
        """List the addresses of stores that may have a batch: those that confirmed it, then the configured ones."""
        return list(dict.fromkeys((*self.confirmations(1).holders(index), *configured)))


def logs_of(subsystem_dir: SubsystemDir) -> list[Log]:
    """Read the state of the logs of a subsystem that have batches, oldest first.

    Raises:
        OSError: the home cannot be read.
    """
    while True:
        log_dirs = LogDir.all_of(subsystem_dir)
        logs = [log for log_dir in log_dirs if (log := log_dir.look()) is not None]
        if log_dirs == LogDir.all_of(subsystem_dir):  # otherwise the current log has just ended and moved
            return logs


def titles(logs: Sequence[Log]) -> dict[Path, str]:
    """Return titles of the logs of one subsystem for people: `audit`, or `audit 3e2c27c5` if there are several.

    Returns:
        The titles, by directory of the log.
    """
    several = len(logs) > 1
    return {
        log.log_dir.path: f"{log.subsystem} {log.suffix or 'current'}" if several else log.subsystem for log in logs
    }


def signers(logs: Iterable[Log]) -> list[str]:
    """Name the keys that have signed these logs, in the order of the logs; unreadable names are left out."""
    names: dict[str, None] = {}
    for log in logs:
        with suppress(FormatError):
            names[key_name_of(log.name)] = None
    return list(names)


def policy_of(subsystem_dir: SubsystemDir) -> Policy:
    """Find the current policy: from the newest segment, else from `settings.json`, else from the registered subsystem.

    Raises:
        OSError: `settings.json` cannot be read.
    """
    default = Policy.default(subsystem_dir.path.parent, subsystem_dir.name)
    policy = load_policy(subsystem_dir.settings, default)
    return Policy.newest_of((header for _, header in headers(subsystem_dir)), policy)


def headers(subsystem_dir: SubsystemDir) -> list[tuple[SegmentName, Header]]:
    """Read the headers of the segments in a spool, and leave out those that cannot be read."""
    return segments.read_headers(subsystem_dir.spool)
