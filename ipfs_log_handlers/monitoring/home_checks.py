"""Check a home itself: its directory, disk, key, logs and keeper."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.home import keys, lock, log_list, volume
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of, signers
from ipfs_log_handlers.keeper.moved import copied_logs
from ipfs_log_handlers.monitoring.health_check import MAX_NAMES, HealthCheck, State, counted
from ipfs_log_handlers.verify.signers import Signers

__all__ = ["check_home", "check_keeper", "check_key", "check_logs", "check_mount", "check_place", "check_space"]

_LITTLE_SPACE_BYTES: Final = 64 << 20
"""Free bytes of the disk below which the check warns."""
_NO_SPACE_BYTES: Final = 1 << 20
"""Free bytes of the disk below which the check fails."""
_RESTORE_KEY: Final = (
    "Restore it from a copy before a program logs here again: the next keeper makes a new key and begins new logs."
)
_PUT_KEY_BACK: Final = (
    "Put that key back before a program logs here again: the next keeper begins new logs with this one."
)
_EARLIER_KEY: Final = (
    "A backup has brought it back. Put the later key back before a program logs here again, or run `ipfs-logs keys"
    " rotate`: until then an earlier key signs the batches."
)
_SAME_LOG: Final = (
    "If the home was moved, and no program uses it at its old place any more, run `ipfs-logs keys same-log` before a"
    " program logs here: then its logs go on."
)
_RESTORE_LOG: Final = (
    "Restore its directory from a backup. If it was deleted on purpose, delete logs.list too: it is written anew."
)
_SEVERAL_KEYS: Final = (
    "Run `ipfs-logs verify --key VKEY --key VKEY` with every verifier key, also the one of `ipfs-logs keys show`."
)


def check_home(home: HomeDir) -> HealthCheck:
    """Check owner and mode of the directory."""
    about = os.stat(home.path)
    mode = stat.S_IMODE(about.st_mode)
    if about.st_uid != os.geteuid():
        found = f"{home.path} belongs to user {about.st_uid}"
        return HealthCheck(check="home", state="fail", found=found, hint="Name a home that belongs to this user.")
    if mode & 0o077:
        found = f"{home.path} has mode {mode:04o}: other users can read it"
        return HealthCheck(check="home", state="warn", found=found, hint=f"Run chmod 700 {home.path}")
    return HealthCheck(check="home", state="ok", found=str(home.path))


def check_mount(home: HomeDir) -> HealthCheck:
    """Check that the file system is local and can be written."""
    if os.statvfs(home.path).f_flag & os.ST_RDONLY:
        found = "a read-only file system: no record can be logged or sealed here"
        return HealthCheck(check="mount", state="fail", found=found, hint="Make it writable, or move the home.")
    kind = volume.network_mount(home.path)
    if kind is None:
        return HealthCheck(check="mount", state="ok", found="a local disk")
    return HealthCheck(
        check="mount",
        state="fail",
        found=f"a {kind} mount: no batch is sealed on a network file system",
        hint="Put the home on a local disk.",
    )


def check_key(home: HomeDir) -> HealthCheck:
    """Check that the key is here, and that it signed the logs of the home."""
    # Read the logs before the key: the key of a log is made before the log.
    logs = [log for subsystem_dir in home.subsystem_dirs() for log in logs_of(subsystem_dir)]
    try:
        key = keys.load(home)
    except HomeError as error:
        return HealthCheck(check="key", state="fail", found=str(error))
    if key is None and not logs:
        return HealthCheck(check="key", state="ok", found="none yet: it is made with the first batch")
    if key is None:
        by = " and ".join(signers(logs)) or "a key whose name is lost too"
        found = f"writer.key is missing, but this home has batches signed with {by}"
        return HealthCheck(check="key", state="fail", found=found, hint=_RESTORE_KEY)
    trust = Signers.of(home, [key.verifier])
    later = [each.name for each in trust.changes.after({key.name})]
    if later:
        found = f"this is {key.name}, an earlier key of this home; {' and '.join(later)} came after it"
        return HealthCheck(check="key", state="fail", found=found, hint=_EARLIER_KEY)
    others = [name for name in signers(log for log in logs if not log.log_dir.is_former) if name != key.name]
    if others:
        found = f"this is {key.name}, but this home goes on with logs signed with {' and '.join(others)}"
        return HealthCheck(check="key", state="fail", found=found, hint=_PUT_KEY_BACK)
    former = [name for name in signers(logs) if name not in trust.known]
    if former:
        found = f"{key.name}, mode 0600; former logs are signed with another key, {' and '.join(former)}"
        return HealthCheck(check="key", state="warn", found=found, hint=_SEVERAL_KEYS)
    earlier = [name for name in signers(logs) if name != key.name]
    changed = f"; it has vouched for the logs of {' and '.join(earlier)}" if earlier else ""
    return HealthCheck(check="key", state="ok", found=f"{key.name}, mode 0600{changed}")


def check_place(home: HomeDir) -> HealthCheck | None:
    """Check that the home is where its logs were written; `None` if it is."""
    copied = copied_logs(home)
    if not copied:
        return None
    (name, reason), *others = copied.items()
    more = f", and {counted(len(others), 'other subsystem')}" if others else ""
    found = f"{name}{more}: the next keeper ends the log and begins a new one, because {reason}"
    return HealthCheck(check="place", state="warn", found=found, hint=_SAME_LOG)


def check_logs(home: HomeDir) -> HealthCheck:
    """Check the list of logs, and that each log in it is still here."""
    known: dict[str, VerifierKey] = {}
    with contextlib.suppress(HomeError):
        key = keys.load(home)
        known = {} if key is None else Signers.of(home, [key.verifier]).known
    listed = log_list.load(home)
    problem = next(listed.problems(known), None)
    if problem is not None:
        found = f"{home.log_list.name} is damaged: {problem[1]}"
        return HealthCheck(check="logs", state="fail", found=found, hint="Run `ipfs-logs doctor --repair`.")
    gone = log_list.vanished(home)
    if gone:
        found = (
            f"{counted(len(gone), 'log')} of this home, signed and without a file now: {', '.join(gone[:MAX_NAMES])}"
        )
        return HealthCheck(check="logs", state="fail", found=found, hint=_RESTORE_LOG)
    found = f"{counted(len(listed.names), 'log')} signed, none missing"
    return HealthCheck(check="logs", state="ok", found=found)


def check_space(home: HomeDir) -> HealthCheck:
    """Check the free bytes and inodes of the disk."""
    free = volume.free_bytes(home.path)
    found = f"{_mebibytes(free)} free"
    file_system = os.statvfs(home.path)
    if file_system.f_files and not file_system.f_favail:
        found += ", but no file can be made: the file system has no inode left"
        return HealthCheck(check="space", state="fail", found=found, hint="Delete some files on this disk.")
    if free < _LITTLE_SPACE_BYTES:
        state: State = "fail" if free < _NO_SPACE_BYTES else "warn"
        return HealthCheck(check="space", state=state, found=found, hint="Free space on this disk.")
    return HealthCheck(check="space", state="ok", found=found)


def _mebibytes(number: int) -> str:
    return f"{number / (1 << 30):,.1f} GiB" if number >= 1 << 30 else f"{number / (1 << 20):,.1f} MiB"


def check_keeper(home: HomeDir) -> HealthCheck:
    """Name the keeper of the home, if one is running."""
    holder = lock.holder(home)
    if holder is None:
        found = "none is running: the next program, or `ipfs-logs ship`, seals the waiting records"
        return HealthCheck(check="keeper", state="ok", found=found)
    return HealthCheck(check="keeper", state="ok", found=f"process {holder['pid']} on {holder['host']}")
