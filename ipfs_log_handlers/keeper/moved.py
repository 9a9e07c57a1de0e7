"""Bring a home to another machine: give it its key, and let its logs go on where it was moved and not copied.

A copy of a home begins new logs (docs/home.md 10), because the original may go on, and no number may be signed twice.
No program can tell a home that was moved to another disk from a copy of it. So the owner says it, once, before a
program logs to the home at its new place: `same_logs` gives each head file the identity of the file that it is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format.checkpoint import SecretKey, key_name_of
from ipfs_log_handlers.home import disk, head, key_changes, keys, lock, name_key, volume
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.keys import PublicKey
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.new_log import COPIED, UnsettledError, has_settled, reasons_to_end

__all__ = ["SameLog", "copied_logs", "import_key", "same_logs"]

_STOP_IT = "Stop that process first, then run this again."


@dataclass(frozen=True, slots=True, kw_only=True)
class SameLog:
    """A log of a home that was moved."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log; empty if its head is damaged."""
    batches: int = 0
    """Number of its batches."""
    reason: str | None = None
    """The reason why the log ends although the home was moved; `None`: the next batch continues it."""

    def as_json(self) -> dict[str, Any]:
        """Return the log with the keys of `ipfs-logs keys same-log`."""
        return {name: getattr(self, name) for name in self.__slots__}


def import_key(home: HomeDir, key: SecretKey, name: SecretKey | None = None) -> PublicKey:
    """Give a home its key: a new home, or one whose key was lost. A home with this key is not changed.

    The key of the name is given to a home that has none: another name of the home stays.

    The newest log of each subsystem must be signed by the key, or have ended with changes that lead to it.

    Raises:
        HomeError: another process is the keeper; the home has another key, a damaged one, or logs of another key.
        OSError: the disk refuses; after a crash the home has the keys, the first one, or none.
    """
    held = lock.take_or_explain(home, _STOP_IT)
    try:
        present = keys.load(home)
        if present is None:
            _refuse_logs_of_others(home, key)
            present = keys.install(home, key)
        if present.name != key.name:
            raise HomeError(
                "the home has another key",
                where=home.key,
                expected=key.name,
                found=present.name,
                hint="Import this key into a home of its own; a home never has two keys.",
            )
        named = name_key.load(home)
        if named is None and name is not None:
            named = name_key.install(home, name)
    finally:
        held.release()
    return PublicKey.of(present, None if named is None else named.name)


def _refuse_logs_of_others(home: HomeDir, key: SecretKey) -> None:
    for subsystem_dir in home.subsystem_dirs():
        newest = next((log for log in reversed(LogDir.all_of(subsystem_dir)) if key_changes.end_of(log)), None)
        if newest is not None and not key_changes.is_signer(newest, key.name):
            end = key_changes.end_of(newest)
            raise HomeError(
                f"another key has signed the newest log of {subsystem_dir.name}",
                where=newest.path,
                expected=key.name,
                found=None if end is None else key_name_of(end.origin),
                hint="Import that key. Two keys must not sign one log.",
            )


def same_logs(home: HomeDir, subsystem_dirs: Sequence[SubsystemDir]) -> list[SameLog]:
    """Let the logs of a home that was moved go on. The original must be gone: a log with two homes is a forked log.

    After a crash some logs go on; run it again for the others.

    Raises:
        HomeError: another process is the keeper, or the home has no key.
        UnsettledError: the files of the home still change.
        OSError: the disk refuses.
    """
    held = lock.take_or_explain(home, _STOP_IT)
    try:
        key = keys.load(home)
        if key is None:
            raise HomeError(
                "the key did not come along: no log can go on without it",
                where=home.key,
                hint="Run `ipfs-logs keys import` with the exported key first.",
            )
        return [made for each in subsystem_dirs if (made := _same_log(each, key.name)) is not None]
    finally:
        held.release()


def _same_log(subsystem_dir: SubsystemDir, key_name: str) -> SameLog | None:
    current, name = LogDir.current_of(subsystem_dir), subsystem_dir.name
    try:
        sealed = current.load_head()
    except FormatError:
        return SameLog(subsystem=name, log="", reason="the head is damaged")
    if sealed is None:
        return None
    reasons = list(reasons_to_end(subsystem_dir, sealed, key_name))
    if set(reasons) & COPIED:
        if not has_settled(subsystem_dir):
            raise UnsettledError("files of the home still change: wait for a second", where=subsystem_dir.path)
        # A keeper that worked during the copy may have sealed a batch after the head was copied.
        if any(current.sealed_batches.files_from(sealed.index + 1)):
            reasons.append("a batch is not in the head: a program logged while the home was copied")
    refused = next((reason for reason in reasons if reason not in COPIED), None)
    if reasons and refused is None:
        _adopt(subsystem_dir, sealed)
    return SameLog(subsystem=name, log=sealed.log, batches=sealed.index + 1, reason=refused)


def _adopt(subsystem_dir: SubsystemDir, sealed: HeadState) -> None:
    inode = disk.status(subsystem_dir.path).st_ino
    head.store(subsystem_dir.current.head, replace(sealed, machine=volume.machine_id(), inode=inode))


def copied_logs(home: HomeDir) -> dict[str, str]:
    """Return the subsystems whose log will end because its files are copies, each with the reason.

    Takes no lock. A log that also ends for another reason is left out: `same_logs` cannot help it.
    """
    found: dict[str, str] = {}
    key = None
    with suppress(HomeError):
        key = keys.load(home)
    for subsystem_dir in home.subsystem_dirs():
        sealed = LogDir.current_of(subsystem_dir).head_state()
        if sealed is not None:
            reasons = list(reasons_to_end(subsystem_dir, sealed, None if key is None else key.name))
            if reasons and set(reasons) <= COPIED:
                found[subsystem_dir.name] = reasons[0]
    return found
