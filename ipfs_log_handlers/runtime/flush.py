"""Flush: wait until the records of this process are shipped (without a store: sealed), or the deadline is over.

A flush waits for stores alone: for as many as `replicas` asks for, at most for all of them. It never waits for a pin
service, but the copy of one that is done counts.

A flush reads only files: the head of each subsystem and the delivery states of its stores. So it works with any keeper:
a thread of this process, of another process, or `ipfs-logs ship` (docs/home.md 18 to 21).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.concurrency.logging_lock import inside_dictconfig
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import delivery_state, disk, requests
from ipfs_log_handlers.home.delivery_state import Confirmations
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.stores.address import store_name

if TYPE_CHECKING:
    from ipfs_log_handlers.config import Settings
    from ipfs_log_handlers.runtime.process import HomeProcess

__all__ = ["flush"]

_FIRST_PAUSE_S: Final = 0.002
"""Seconds between the first two checks of the files."""
_MAX_PAUSE_S: Final = 0.05
"""Longest pause between two checks, in seconds."""
_ASK_AGAIN_S: Final = 1.0
"""Seconds after which a flush whose records are not sealed asks the keeper again: sealing may have failed."""
_WAIT_AFTER_FAILURE_S: Final = 1.0
"""Seconds that all flushes together wait, for sealing only, after a deadline without success, until a store answers
again."""

_Targets = Mapping[str, tuple[SegmentName, int] | None]
"""By subsystem: the segment and offset up to which it must be consumed; `None`: wait only for archives."""


def flush(process: HomeProcess, timeout: float) -> bool:
    """Seal and ship all records of this process in a home; see `HomeProcess.flush`."""
    begun = clock.wall()
    try:
        return _flush(process, timeout, begun)
    except KeyboardInterrupt:  # the user does not want to wait: neither do later flushes
        process.flush_gave_up_at, process.flush_waited_s = begun, 0.0
        raise


def _flush(process: HomeProcess, timeout: float, begun: float) -> bool:
    targets = _targets(process)
    if not targets:
        return True
    if not process.wants_thread():
        return False
    waiting_since = clock.monotonic()
    if _settled(process, targets, begun):
        return True
    if inside_dictconfig():
        process.keeper.ask()
        return False
    if process.flush_gave_up_at is not None and not _answered_since(process, process.flush_gave_up_at):
        left = min(timeout, _WAIT_AFTER_FAILURE_S - process.flush_waited_s)
        _wait(process, targets, begun, waiting_since + left, ship=False)
        process.flush_waited_s += clock.monotonic() - waiting_since
        return False
    done = _wait(process, targets, begun, waiting_since + timeout, ship=True)
    timed_out = clock.monotonic() - waiting_since >= timeout
    process.flush_gave_up_at = begun if timed_out and not done else None
    process.flush_waited_s = 0.0
    return done


def _targets(process: HomeProcess) -> _Targets:
    """Return the segment and offset after the last record of this process in each subsystem."""
    positions = {name: writer.position() for name, writer in list(process.writers.items())}
    archived = [name for name, archiver in list(process.archivers.items()) if archiver.activity]
    return {
        name: positions.get(name)
        for name in dict.fromkeys((*positions, *archived))
        if positions.get(name) is not None or name in archived
    }


def _wait(process: HomeProcess, targets: _Targets, begun: float, deadline: float, *, ship: bool) -> bool:
    request: Path | None = None
    asked_at: float | None = None
    pause = _FIRST_PAUSE_S
    try:
        while True:
            settled = _settled(process, targets, begun, ship=ship)
            now = clock.monotonic()
            left = deadline - now
            if settled is not None or left <= 0:
                return settled is True
            if not process.keeper.start():
                if process.keeper.run_here(left, ship=ship):
                    return _settled(process, targets, begun, ship=ship) is True
            elif asked_at is None or (
                now - asked_at >= _ASK_AGAIN_S and _settled(process, targets, begun, ship=False) is None
            ):
                process.keeper.ask()
                asked_at = now
                if request is not None:
                    requests.drop(request)
                    request = None
            if pause > _FIRST_PAUSE_S and request is None and not process.keeper.is_keeper:
                with contextlib.suppress(OSError):
                    request = requests.ask(process.home.requests)
            clock.pause(min(pause, left))
            pause = min(pause * 1.5, _MAX_PAUSE_S)
    finally:
        if request is not None:
            requests.drop(request)


def _settled(process: HomeProcess, targets: _Targets, begun: float, *, ship: bool = True) -> bool | None:
    """Return True if all is shipped (or sealed), False if a store has refused since `begun`, None to wait longer."""
    verdict: bool | None = True
    for name, position in targets.items():
        settled = _subsystem_settled(process, name, position, begun if ship else None)
        if settled is False:
            return False
        verdict = verdict if settled else None
    return verdict


def _subsystem_settled(
    process: HomeProcess, name: str, position: tuple[SegmentName, int] | None, begun: float | None
) -> bool | None:
    subsystem_dir = process.home.subsystem_dir(name)
    try:
        state = LogDir.current_of(subsystem_dir).load_head()
    except (FormatError, OSError):
        return None
    consumed = state.consumed if state is not None else {}
    archiver = process.archivers.get(name)
    if archiver is not None and archiver.waiting(consumed):
        return None
    if position is not None:
        segment, offset = position
        size = _size(subsystem_dir.spool / segment.file_name)
        # A backup that is copied over the home may cut the segment: do not wait for the missing bytes.
        if size is not None and (offset < 0 or state is None or consumed.get(str(segment), 0) < min(offset, size)):
            return None
    settings = _settings_of(process, name)
    if state is None or begun is None or not settings.kubo:
        return True
    states = [
        delivery_state.load(subsystem_dir.current.shipped, store_name(address), state.log, address)
        for address in settings.kubo
    ]
    others = [
        other
        for other in LogDir.current_of(subsystem_dir).delivery_states(state.log).values()
        if other.address not in settings.kubo
    ]
    copies = Confirmations([*states, *others], replicas=settings.replicas)
    at_stores = copies.of_stores(min(settings.replicas, len(settings.kubo)))
    if any(next(counted.unsettled(state.index), None) is None for counted in (copies, at_stores)):
        return True
    unconfirmed = [store for store in states if store.lacks(state.index)]
    refused = [
        store.last_error is not None
        and store.last_error.at >= begun
        and store.last_error.kind in ("unreachable", "denied", "public")
        for store in unconfirmed
    ]
    return False if all(refused) else None


def _size(path: Path) -> int | None:
    """Return the size of a file in bytes; `None` if there is no file."""
    try:
        return disk.status(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _settings_of(process: HomeProcess, name: str) -> Settings:
    writer = process.writers.get(name)
    return writer.settings if writer is not None else process.archivers[name].settings


def _answered_since(process: HomeProcess, moment: float) -> bool:
    """Return whether a store has confirmed a batch since that moment."""
    for name in {*process.writers, *process.archivers}:
        directory = process.home.subsystem_dir(name).current.shipped
        for store, state in delivery_state.load_all(directory).items():
            with contextlib.suppress(OSError):
                if (
                    state.last_error is None
                    and not state.is_of_pin_service
                    and disk.status(directory / store).st_mtime >= moment
                ):
                    return True
    return False
