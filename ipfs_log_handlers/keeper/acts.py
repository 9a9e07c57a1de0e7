"""Record an act: write it down, and return when it is in a signed batch, whichever process is the keeper.

A crash can come after each step: after the act is written, the next keeper seals it; after the head names its batch,
the next keeper deletes the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format.act import Act
from ipfs_log_handlers.home import acts, disk, lock, requests
from ipfs_log_handlers.home.acts import SealedAct
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.lock import KeeperLock, LostLockError
from ipfs_log_handlers.keeper.new_log import UnsettledError
from ipfs_log_handlers.keeper.seal import Sealer

__all__ = ["next_of_its_own", "record_act", "seal_acts"]

_TIMEOUT_S: Final = 30.0
"""Seconds that sealing an act may take. After that the next keeper seals it."""
_POLL_S: Final = 0.05
"""Seconds between two checks whether another keeper has sealed it."""


def next_of_its_own(sealer: Sealer) -> Iterator[None] | None:
    """Return the steps that seal the next act, or else the next archive; `None` if none waits."""
    act = sealer.next_act()
    if act is not None:
        return sealer.seal_act(act)
    archive = sealer.next_archive()
    return None if archive is None else sealer.seal_archive(archive)


def seal_acts(sealer: Sealer) -> None:
    """Seal the acts that wait; raises as `Sealer.seal_act`."""
    while (act := sealer.next_act()) is not None:
        for _ in sealer.seal_act(act):
            pass
    sealer.delete_consumed()


def record_act(home: HomeDir, subsystem: str, act: Act, *, timeout_s: float = _TIMEOUT_S) -> SealedAct:
    """Write an act down, and return when it is in a batch: this process seals it, or the process that is the keeper.

    Args:
        home: the home.
        subsystem: the subsystem whose log gets it.
        act: the act, from `home.acts.draw`.
        timeout_s: seconds until this gives up.

    Raises:
        HomeError: the keeper has not sealed it in time, or the home cannot be used. The act stays, and the next keeper
            seals it; a hold stands all the same.
        FormatError: an earlier batch that must be read is damaged. The act stays.
        OSError: the disk refuses.
    """
    subsystem_dir = home.subsystem_dir(subsystem)
    acts.put(subsystem_dir, act)
    until = clock.monotonic() + timeout_s
    while True:
        held = lock.take(home)
        if held is None:
            _ask_keeper(home, subsystem_dir, act, until)
        else:
            _seal_here(held, subsystem_dir)
        sealed = None if disk.exists(subsystem_dir.acts / act.id) else acts.find(subsystem_dir, act.id)
        if sealed is not None:
            return sealed
        if clock.monotonic() >= until:
            raise HomeError(
                f"an act is not in a batch yet: {act.words}",
                where=subsystem_dir.path,
                hint="It is written down, and the next keeper seals it: `ipfs-logs ship` does. `ipfs-logs status` says "
                "what is in its way.",
            )
        clock.pause(_POLL_S)


def _seal_here(held: KeeperLock, subsystem_dir: SubsystemDir) -> None:
    """Seal the acts that wait as the keeper; while a backup is copied over the log, none is sealed."""
    try:
        seal_acts(Sealer.open(held, subsystem_dir))
    except (UnsettledError, LostLockError):
        pass
    finally:
        held.release()


def _ask_keeper(home: HomeDir, subsystem_dir: SubsystemDir, act: Act, until: float) -> None:
    """Ask the other process that is the keeper, and wait until it has sealed the act, or has ended."""
    request = requests.ask(home.requests)
    try:
        while disk.exists(subsystem_dir.acts / act.id) and lock.holder(home) is not None and clock.monotonic() < until:
            clock.pause(_POLL_S)
    finally:
        requests.drop(request)
