"""What the processes that log to a subsystem now want of its keeper, and where they disagree (docs/home.md 28)."""

from __future__ import annotations

from collections.abc import Iterator

from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.home.segments import Header
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.reading.logs import headers
from ipfs_log_handlers.reading.spooled import is_written

__all__ = ["disagreements"]


def disagreements(home: Home, room: Room) -> Iterator[str]:
    """The settings on which live processes differ, a sentence each. What the newest segment says counts for all.

    Takes the lock of a segment for a moment, and only where headers differ, to see whether its writer lives.
    """
    default = Policy.default(home.path, room.name)
    told = [(name, header, Policy.from_json(header.settings, default)) for name, header in headers(room)]
    if len({policy for _, _, policy in told}) < 2:
        return
    live = [(header, policy) for name, header, policy in told if is_written(room.spool / name.file_name)]
    live.sort(key=lambda each: each[0].started)
    for setting in Policy.__slots__:
        values = {getattr(policy, setting): header for header, policy in live}
        if len(values) > 1:
            said = ", ".join(f"{_shown(value)} ({_who(header)})" for value, header in values.items())
            counts = _shown(getattr(live[-1][1], setting))
            yield f"live processes disagree on {setting}: {said}; the newest counts, {counts}"


def _who(header: Header) -> str:
    return f"process {header.pid} on {header.host}"


def _shown(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
