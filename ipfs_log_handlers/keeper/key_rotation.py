"""Change the key of a home: both keys sign the end of each log, and new logs begin with the new key.

No log has two keys, because the name of a log contains the name of its key. So a change of the key ends each log. The
steps, under the keeper's lock; a crash can come after each of them:

1. For each subsystem, a note that both keys have signed is written beside the current log (`format/key_change.py`),
   synced. It has the last checkpoint of the newest log, and names both keys. Until step 2 the home goes on as before:
   the next keeper removes the notes.
2. `writer.key` is replaced in one step. From here on the home has the new key, and the old one is in no file.
3. The logs end, and the notes move to them. After a crash the next keeper does this: it finds a log of another key, and
   notes that lead to its own.

The first batch of the next log of each subsystem contains the notes as evidence.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, key_name_of
from ipfs_log_handlers.format.key_change import sign
from ipfs_log_handlers.home import key_changes, keys, lock
from ipfs_log_handlers.home.keys import PublicKey
from ipfs_log_handlers.home.layout import HomeDir, LogPaths, SubsystemDir
from ipfs_log_handlers.home.lock import KeeperLock
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.seal import Sealer

__all__ = ["RotatedKey", "rotate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedKey:
    """A change of the key that was done."""

    old: PublicKey
    """The key before. Its secret half is in no file of the home any more."""
    new: PublicKey
    """The key of the home from now on."""
    ends: tuple[tuple[str, int], ...] = ()
    """Name and number of batches of each log whose end both keys have signed."""

    def as_json(self) -> dict[str, Any]:
        """Return the change with the keys of `ipfs-logs keys rotate`."""
        logs = [{"log": log, "batches": batches} for log, batches in self.ends]
        return {"old": self.old.as_json(), "new": self.new.as_json(), "ended": logs}


def rotate(home: HomeDir) -> RotatedKey:
    """Change the key of a home, and end its logs.

    Raises:
        HomeError: another process is the keeper, the home has no key, or the home cannot be used.
        UnsettledError: a backup may be copied over the home just now.
        FormatError: the key was changed too often since the last batch.
        OSError: the disk refuses. Before `writer.key` is replaced, nothing has changed.
    """
    held = lock.take_or_explain(home, "Stop that process first, then run this again.")
    try:
        old = keys.load(home)
        if old is None:
            raise HomeError(
                "the home has no key that could be changed", where=home.path, hint="`ipfs-logs doctor` says why."
            )
        subsystem_dirs = home.subsystem_dirs()
        for subsystem_dir in subsystem_dirs:
            Sealer.open(held, subsystem_dir)
        new = keys.new_key()
        ends = _change(held, old, new, subsystem_dirs)
        for subsystem_dir in subsystem_dirs:
            Sealer.open(held, subsystem_dir)
    finally:
        held.release()
    return RotatedKey(old=PublicKey.of(old), new=PublicKey.of(new), ends=tuple(ends))


def _change(
    held: KeeperLock, old: SecretKey, new: SecretKey, subsystem_dirs: Sequence[SubsystemDir]
) -> list[tuple[str, int]]:
    """Write the notes and then the new key; return the ends that both keys have signed."""
    home, now = held.home, int(time.time() * 1_000_000)
    signed: list[tuple[str, int]] = []
    noted: list[LogPaths] = []
    try:
        for subsystem_dir in subsystem_dirs:
            log_dir = _newest_log(subsystem_dir)
            end = None if log_dir is None else key_changes.end_of(log_dir)
            if log_dir is None or end is None:
                continue
            before = key_changes.between(log_dir, end, old.name)
            if not before and key_name_of(end.origin) != old.name:
                continue  # a log of a key that was lost: this key did not follow it, and cannot say so
            noted.append(subsystem_dir.current)
            note = sign(Checkpoint(end.origin, end.size, end.root), old, new, now)
            key_changes.store(subsystem_dir.current, [*before, note])
            signed.append((end.origin, end.size))
        if not held.holds():
            raise HomeError("another process has taken the keeper's lock", where=home.path, hint="Run this again.")
        keys.replace(home, new)
    except BaseException:
        with suppress(OSError, HomeError):
            if keys.load(home) == old:  # the last step may have failed after it replaced the key
                for paths in noted:
                    key_changes.forget(paths)
        raise
    return signed


def _newest_log(subsystem_dir: SubsystemDir) -> LogDir | None:
    """Return the log whose end the next one will have as evidence; `None` if there is none."""
    current = LogDir.current_of(subsystem_dir)
    if current.head_state() is not None:
        return current
    former = LogDir.former_of(subsystem_dir)
    return former[-1] if former else None
