"""Find settings on which the processes that log to a subsystem disagree (docs/home.md 28)."""

from __future__ import annotations

from collections.abc import Iterator

from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import headers
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.home.segments import Header
from ipfs_log_handlers.spool.tail import is_written

__all__ = ["disagreements"]


def disagreements(home: HomeDir, subsystem_dir: SubsystemDir) -> Iterator[str]:
    """Yield one sentence for each setting on which live processes differ. The newest segment's settings are used.

    If headers differ, the lock of a segment is taken for a moment, to check whether its writer lives.
    """
    default = Policy.default(home.path, subsystem_dir.name)
    wanted = [(name, header, Policy.from_json(header.settings, default)) for name, header in headers(subsystem_dir)]
    if len({policy for _, _, policy in wanted}) < 2:
        return
    live = [(header, policy) for name, header, policy in wanted if is_written(subsystem_dir.spool / name.file_name)]
    live.sort(key=lambda pair: pair[0].order)
    for setting in Policy.__slots__:
        values = {getattr(policy, setting): header for header, policy in live}
        if len(values) > 1:
            said = ", ".join(f"{_shown(value)} ({_who(header)})" for value, header in values.items())
            counts = _shown(getattr(live[-1][1], setting))
            yield f"live processes disagree on {setting}: {said}; the newest setting is used, {counts}"


def _who(header: Header) -> str:
    return f"process {header.pid} on {header.host}"


def _shown(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
