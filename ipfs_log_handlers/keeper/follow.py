"""Run a keeper in the foreground until it is stopped; while another process is the keeper, wait for the lock."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable

from ipfs_log_handlers.concurrency import coroutines
from ipfs_log_handlers.home import disk, lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.lock import KeeperLock, LostLockError
from ipfs_log_handlers.keeper.election import HANDOVER_PAUSE_S, Candidate
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.loop import Keeper
from ipfs_log_handlers.keeper.run import BETWEEN_TRIES_S, OnShipped, Stop
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["follow"]


def follow(
    home: HomeDir,
    *,
    stores: tuple[str, ...] | None = None,
    fallback_stores: tuple[str, ...] = (),
    pins: tuple[str, ...] | None = None,
    fallback_pins: tuple[str, ...] = (),
    credentials: Credentials | None = None,
    publish: bool = False,
    on_shipped: OnShipped | None = None,
    stop: Stop | None = None,
) -> None:
    """Be the keeper until `stop` is requested; while another process is the keeper, wait for the lock.

    If the home is missing, this waits until a program makes it, so that it gets the owner and mode of this program.

    Args:
        home: the home.
        stores: addresses in place of the configured ones; `None`: those that programs configure, also while it runs.
        fallback_stores: addresses to ship to until a program configures one.
        pins: addresses of pin services in place of the configured ones; `None`: those that programs configure.
        fallback_pins: addresses of pin services until a program configures one.
        credentials: the credentials of the user; `None`: those of the environment.
        publish: publish the home, whatever the settings of its programs.
        on_shipped: called for each batch that a store confirmed.
        stop: ends this function; without it only an exception ends it, such as `KeyboardInterrupt`.

    Raises:
        HomeError: the home cannot be used.
    """
    make = functools.partial(
        Keeper,
        stores=stores,
        fallback_stores=fallback_stores,
        pins=pins,
        fallback_pins=fallback_pins,
        publish=publish,
        on_shipped=on_shipped,
    )
    coroutines.run(functools.partial(_follow, home, make, credentials, stop or Stop()))


async def _follow(
    home: HomeDir,
    make_keeper: Callable[[KeeperLock, Standalone], Keeper],
    credentials: Credentials | None,
    stop: Stop,
) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    candidate = Candidate(home, Standalone(credentials).token)
    running: list[Keeper] = []

    def end() -> None:
        stopped.set()
        for keeper in running:
            keeper.begin_stop()

    try:
        with stop.calling(functools.partial(loop.call_soon_threadsafe, end)):
            while not stopped.is_set():
                pause = BETWEEN_TRIES_S
                held = None
                if disk.is_directory(home.path):
                    held = lock.take(home)
                    if held is None:
                        candidate.offer()
                if held is not None:
                    candidate.withdraw()
                    keeper = make_keeper(held, Standalone(credentials))
                    running.append(keeper)
                    try:
                        with contextlib.suppress(LostLockError):
                            await keeper.run()
                    finally:
                        running.clear()
                        held.release()
                    candidate.note_denied(keeper.denied_by)
                    pause = HANDOVER_PAUSE_S if keeper.handed_over else BETWEEN_TRIES_S
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stopped.wait(), pause)
    finally:
        candidate.withdraw()
