"""Read and write the key changes of a home, and find the keys that a trusted key vouches for.

A key change (`format/key_change.py`) is in the file `key-changes` beside the batches of the log that ended with it, and
in the first batch of the next log as evidence. The *new* key of a change vouches for the log that the change names, up
to its last batch: who trusts the new key can trust these batches too. The old key says only which key follows: it may
have been stolen, so a reader is told of the new key, and does not trust it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.format.key_change import MAX_BYTES, KeyChange, check_order, join, leads_to, split
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.keys import PublicKey
from ipfs_log_handlers.home.layout import HomeDir, LogPaths
from ipfs_log_handlers.home.logs import LogDir

__all__ = [
    "EarlierKey",
    "KnownChanges",
    "KnownLog",
    "Trust",
    "between",
    "end_of",
    "forget",
    "is_signer",
    "load",
    "move",
    "of_home",
    "store",
]

_MAX_EVIDENCE_BYTES = 2048
"""Bytes of a block of evidence that may be a key change; a longer block is something else."""


def load(log: LogPaths) -> list[KeyChange]:
    """Read the changes beside a log; empty if there are none.

    Raises:
        FormatError, VerificationError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        return split(disk.read(log.key_changes, MAX_BYTES))
    except FileNotFoundError:
        return []


def between(log: LogPaths, end: Checkpoint | None, key_name: str | None) -> list[KeyChange]:
    """Return the changes from the key of a log to another key, if they were signed for this end of the log; else none.

    Args:
        log: the log.
        end: its last checkpoint.
        key_name: name of the key to which the changes must lead.
    """
    with suppress(FormatError, VerificationError, FileNotFoundError):
        changes = load(log)
        if key_name is not None and all(change.is_about(end) for change in changes):
            return leads_to(changes, key_name)
    return []


def store(log: LogPaths, changes: Sequence[KeyChange]) -> None:
    """Replace the changes beside a log, synced.

    Raises:
        FormatError: they do not follow one another, or are too many.
        OSError: the disk refuses; the file is as before.
    """
    check_order(changes)
    disk.replace(log.key_changes, join(changes))


def move(current: LogPaths, ended: LogDir, key_name: str | None) -> None:
    """Move the changes that wait beside the current log to the log that has ended, if the key was changed indeed.

    Args:
        current: the paths of the current log.
        ended: the newest log that has ended.
        key_name: name of the home's key.

    Raises:
        OSError: the disk refuses.
    """
    if between(current, end_of(ended), key_name):
        disk.rename(current.key_changes, ended.key_changes)
        disk.sync_directory(ended.path)
        disk.sync_directory(current.path)


def forget(log: LogPaths) -> None:
    """Remove the changes that wait beside the current log: the key was not changed."""
    disk.remove(log.key_changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierKey:
    """A key that the home had before its present one."""

    key: PublicKey
    """The public half of the key. Its secret half is in no file of the home."""
    changed: int
    """Time at which the next key replaced it, by the clock of the machine, µs since 1970."""
    next: str
    """Name of the next key."""
    ends: tuple[tuple[str, int], ...]
    """Name and number of batches of each log whose end both keys have signed."""

    def as_json(self) -> dict[str, Any]:
        """Return the key with the keys of `ipfs-logs keys show`."""
        logs = [{"log": log, "batches": batches} for log, batches in self.ends]
        return {**self.key.as_json(), "changed": rfc3339(self.changed), "next": self.next, "ended": logs}


@dataclass(frozen=True, slots=True)
class KnownLog:
    """What one log of a home says about itself and about the log before it."""

    end: Checkpoint
    """Its last checkpoint."""
    follows: tuple[Checkpoint, ...] = ()
    """The checkpoints in its first batch: the ends of the log before it."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The logs that trusted keys vouch for, although another key has signed them."""

    keys: tuple[VerifierKey, ...] = ()
    """The keys of these logs."""
    ends: frozenset[tuple[str, int, bytes]] = frozenset()
    """Name, size and root of each log that a trusted key has signed, or vouches for."""

    def covers(self, end: Checkpoint | None) -> bool:
        """Return whether a trusted key vouches for exactly this end of a log."""
        return end is not None and _place(end) in self.ends


@dataclass(frozen=True, slots=True)
class KnownChanges:
    """All changes of the key that a home can show, whose signatures hold."""

    changes: tuple[KeyChange, ...] = ()
    """The changes, in the order of their times; one for each log that ended with it."""
    logs: tuple[KnownLog, ...] = ()
    """The logs of the home."""
    damaged: tuple[str, ...] = ()
    """Names of the subsystems in which a `key-changes` file is damaged."""

    def trust(self, trusted: Collection[VerifierKey]) -> Trust:
        """Find the logs of earlier keys that trusted keys vouch for.

        A trusted key vouches for the end of a log if it is the new key of a change about this end, or if a log that it
        has signed, or vouches for, has this end as evidence in its first batch.
        """
        names = {key.name for key in trusted}
        signed = {_place(change.checkpoint) for change in self.changes if change.new.name in names}
        ends = {_place(log.end) for log in self.logs if key_name_of(log.end.origin) in names}
        while True:
            more = signed | {_place(end) for log in self.logs if _place(log.end) in ends for end in log.follows}
            if more <= ends:
                break
            ends |= more
        earlier = {key_name_of(origin) for origin, _, _ in ends} - names
        keys = {change.old.name: change.old for change in self.changes if change.old.name in earlier}
        return Trust(tuple(keys.values()), frozenset(ends))

    def before(self, key_name: str) -> list[EarlierKey]:
        """Return the keys that a key has followed, over one or more changes, the newest one first."""
        names, found = [key_name], list[EarlierKey]()
        for name in names:  # grows
            changes: dict[str, list[KeyChange]] = {}
            for change in self.changes:
                if change.new.name == name and change.old.name not in names:
                    changes.setdefault(change.old.name, []).append(change)
            names += changes
            found += [_earlier_key(each) for each in changes.values()]
        return found

    def told(self, trusted: Collection[VerifierKey], name: str) -> VerifierKey | None:
        """Return the key with a name if trusted keys say, over one or more changes, that it follows them."""
        return next((key for key in self.after({key.name for key in trusted}) if key.name == name), None)

    def after(self, key_names: Collection[str]) -> list[VerifierKey]:
        """Return the keys that follow some keys, over one or more changes, in the order of their times."""
        names = set(key_names)
        for _ in self.changes:
            names |= {change.new.name for change in self.changes if change.old.name in names}
        keys = {change.new.name: change.new for change in self.changes if change.new.name in names}
        return [key for name, key in keys.items() if name not in key_names]


def _earlier_key(changes: Sequence[KeyChange]) -> EarlierKey:
    """Describe the old key of changes between the same two keys."""
    ends = sorted((change.checkpoint.origin, change.checkpoint.size) for change in changes)
    newest = changes[-1]
    key = PublicKey.of_verifier(newest.old)
    return EarlierKey(key=key, changed=newest.changed, next=newest.new.name, ends=tuple(ends))


def _place(end: Checkpoint) -> tuple[str, int, bytes]:
    return end.origin, end.size, end.root


def of_home(home: HomeDir) -> KnownChanges:
    """Read the key changes of a home; a log that cannot be read is left out.

    Raises:
        OSError: the home cannot be read.
    """
    damaged: list[str] = []
    changes: dict[bytes, KeyChange] = {}
    logs: list[KnownLog] = []
    for subsystem_dir in home.subsystem_dirs():
        for log_dir in LogDir.all_of(subsystem_dir):
            end = None
            try:  # beside a current log are the changes of a rotation that did not end
                found = load(log_dir) if log_dir.is_former else []
            except (FormatError, VerificationError, OSError):
                found = []
                damaged.append(subsystem_dir.name)
            notes = list(_evidence(log_dir))
            for note in notes:
                with suppress(FormatError, VerificationError):
                    found.append(KeyChange.decode(note))
            changes |= {change.note: change for change in found}
            with suppress(OSError):
                end = end_of(log_dir)
            if end is not None:
                logs.append(KnownLog(end, tuple(map(Checkpoint.parse, notes))))
    in_order = sorted(changes.values(), key=lambda change: (change.changed, change.checkpoint.origin))
    return KnownChanges(tuple(in_order), tuple(logs), tuple(damaged))


def _evidence(log_dir: LogDir) -> Iterator[bytes]:
    """Yield the checkpoints in the first batch of a log, as far as it can be read; their signatures are not checked."""
    batches = log_dir.sealed_batches
    with suppress(FormatError, VerificationError, OSError):
        wanted = set(batches.manifest(0).evidence)
        for cid, block in batches.blocks(0) if wanted else ():
            if cid in wanted and len(block) <= _MAX_EVIDENCE_BYTES:
                with suppress(FormatError):
                    Checkpoint.parse(block)
                    yield block
            wanted.discard(cid)
            if not wanted:
                break


def end_of(log_dir: LogDir) -> Checkpoint | None:
    """Return the last checkpoint of a log, by its head, else by its newest batch; `None` if neither can be read."""
    state = log_dir.head_state()
    if state is not None:
        return Checkpoint.parse(state.head.checkpoint)
    newest = log_dir.newest_batch()
    return None if newest is None else Checkpoint.parse(newest.head.checkpoint)


def is_signer(log_dir: LogDir, key_name: str) -> bool:
    """Return whether a key has signed a log, or follows its key by changes that were signed for its end."""
    end = end_of(log_dir)
    return end is not None and (key_name_of(end.origin) == key_name or bool(between(log_dir, end, key_name)))
