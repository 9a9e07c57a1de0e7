"""Describe errors of the operating system in words, with the next step."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from ipfs_log_handlers.errors import LogStoreError

__all__ = ["explain", "explain_any", "explain_os_error", "whose"]

# The hint for an error, by its number.
_HINTS: Final = {
    errno.ENOSPC: "Free some space on that disk.",
    errno.EDQUOT: "Free some space: the quota of this user is used up.",
    errno.EROFS: "Make it writable, or work on a copy of the home.",
    errno.EMFILE: "This process has too many files open: raise its limit (ulimit -n).",
    errno.ENFILE: "The system has too many files open.",
    errno.EIO: "The disk reports an error: read the system's log, and run `ipfs-logs doctor`.",
    errno.ELOOP: "This is a symbolic link; links are not followed here.",
}
_DENIED: Final = (errno.EACCES, errno.EPERM)
"""Error numbers of a missing permission."""


def explain(error: Exception) -> str:
    """Describe an error of this package or of the system in one sentence."""
    return explain_os_error(error) if isinstance(error, OSError) else str(error)


def explain_any(error: BaseException) -> str:
    """Describe any exception in one sentence; one that nobody expects is named with its type."""
    if isinstance(error, OSError):
        return explain_os_error(error)
    name = type(error).__name__
    return str(error) or name if isinstance(error, LogStoreError) else f"{name}: {error}" if str(error) else name


def explain_os_error(error: OSError) -> str:
    """Describe an error of the system in one sentence, with its file, and the next step if there is one."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return reason
    where = os.fsdecode(error.filename)
    if error.errno in _DENIED:
        return f"{where}: {_lower(reason)}. {_owner_and_advice(where)}"
    hint = _HINTS.get(error.errno or 0)
    return f"{where}: {_lower(reason)}{f'. {hint}' if hint else ''}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def whose(denied: str) -> str:
    """Name the owner of a file, or of the nearest readable directory above it, and the current user."""
    return _facts_and_advice(denied)[0]


def _owner_and_advice(denied: str) -> str:
    facts, advice = _facts_and_advice(denied)
    return f"{facts}: {advice}"


def _facts_and_advice(denied: str) -> tuple[str, str]:
    me, path = _user(os.geteuid()), denied
    while True:
        try:
            about = os.stat(path, follow_symlinks=False)
        except OSError:
            if os.path.dirname(path) in ("", path):
                return f"This is user {me}", "run this as the user that owns the file."
            path = os.path.dirname(path)
            continue
        owner, mode = _user(about.st_uid), stat.S_IMODE(about.st_mode)
        subject = "It" if path == denied else path
        if about.st_uid == os.geteuid():
            return f"{subject} has mode {mode:04o}", "give yourself the permission (chmod u+rwX)."
        return f"{subject} belongs to user {owner} (mode {mode:04o}), and this is user {me}", f"run this as {owner}."


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
