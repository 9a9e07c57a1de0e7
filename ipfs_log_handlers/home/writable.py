"""Find the reason why a home cannot be written or made, before a file is written there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["why_not_made", "why_not_written"]

_EFFECTIVE: Final = os.access in os.supports_effective_ids
"""Whether the system can check permissions of the effective user, and not only of the user that started the program."""


def why_not_made(path: Path) -> str | None:
    """Return the reason why a missing directory cannot be made; `None` if no obstacle is known."""
    above = path
    while above.parent != above:
        try:
            os.stat(above, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            above = above.parent
        except OSError as error:
            return f"{above}: {error.strerror}"
        else:
            break
    try:
        if not stat.S_ISDIR(os.stat(above).st_mode):
            return f"{above} is not a directory"
    except FileNotFoundError:
        return f"{above} is a link that leads nowhere"
    except OSError as error:
        return f"{above}: {error.strerror}"
    return _refusal(above)


def why_not_written(home: Path, subsystem: str | None) -> str | None:
    """Return the reason why no record can be written into an existing home; `None` if no obstacle is known.

    If the directories of the subsystem exist already, the home itself need not be writable.

    Args:
        home: the home, a directory.
        subsystem: the subsystem of the records; `None`: any.
    """
    refusal = _refusal(home)
    if refusal is None or subsystem is None:
        return refusal
    spool = home / subsystem / "spool"
    return _refusal(spool if spool.is_dir() else spool.parent) if spool.parent.is_dir() else refusal


def _refusal(directory: Path) -> str | None:
    """Return the reason why no file can be made in a directory."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return f"{directory} is on a read-only file system"
    changed = os.geteuid() != os.getuid() or os.getegid() != os.getgid()
    options = {"effective_ids": True} if changed and _EFFECTIVE else {}
    if not os.access(directory, os.W_OK | os.X_OK, **options):
        return f"user {os.geteuid()} may not write to {directory}"
    return None
