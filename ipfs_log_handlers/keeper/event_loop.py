"""Run the keeper's event loop on a thread, so that it prints no error at its end and has no effect across a fork.

After a fork, the child has the keeper's loop, but not its thread. Closing that loop would change the parent's epoll
set, so the child keeps it alive for ever and points its descriptors at /dev/null.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from ipfs_log_handlers.concurrency import clock, threads
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.lock import LostLockError

__all__ = ["KeeperEventLoop", "forget_threads", "inside_event_loop", "keep_forever", "run"]

_CANCEL_TIMEOUT_S: Final = 0.2
"""Seconds for cancelling the remaining tasks at the end of a loop."""
_kept: list[object] = []
"""Objects that are never destroyed, because their destructors would change the state of the parent process."""


class KeeperEventLoop(asyncio.SelectorEventLoop):
    """An event loop that prints no error at its end, and that uses no descriptor which the program has closed.

    Its own descriptors have high numbers. Before its callbacks run, and before a thread wakes it, it checks that its
    descriptors are still its own: a program may close all descriptors, and open others.

    Args:
        failed: called with the error of a callback, which asyncio itself would log.
    """

    def __init__(self, failed: Callable[[str, Exception], None]) -> None:
        self.chosen = threads.original("selectors", "DefaultSelector")()
        self._move_selector_away()
        self._inodes: dict[int, int] = {}
        """By descriptor of the selector: its inode when it was registered."""
        self._check_each_turn()
        super().__init__(self.chosen)
        self.set_debug(False)  # its warnings about slow steps would go to the program's own log
        self.set_exception_handler(lambda _, context: failed("keeper", _error_in(context)))
        self._connections: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self._waker = os.fstat(self._csock.fileno()).st_ino
        self._selector_inode = self._inode_of_selector()

    def time(self) -> float:
        """Return the time of the loop, which also runs while a test stops the time."""
        return clock.monotonic()

    def _move_selector_away(self) -> None:
        chosen = self.chosen
        epoll: Any = type(getattr(chosen, "_selector", None))  # eventlet removes `epoll` from the module `select`
        if epoll.__name__ == "epoll":
            chosen._selector = epoll.fromfd(disk.move_away(os.dup(chosen.fileno())))  # noqa: SLF001

    def _check_each_turn(self) -> None:
        """Make the selector remember the file of each descriptor, and raise an error if one gets another file."""
        chosen, inodes = self.chosen, self._inodes
        register, unregister, wait = chosen.register, chosen.unregister, chosen.select

        def register_and_remember(*args: Any) -> Any:
            key = register(*args)
            inodes[key.fd] = os.fstat(key.fd).st_ino
            return key

        def unregister_and_forget(*args: Any) -> Any:
            key = unregister(*args)
            inodes.pop(key.fd, None)
            return key

        def wait_and_check(timeout: float | None = None) -> Any:
            events = wait(timeout)
            if not self._descriptors_are_ours():
                raise OSError(errno.EBADF, "the program closed the descriptors of the keeper")
            return events

        chosen.register, chosen.unregister, chosen.select = register_and_remember, unregister_and_forget, wait_and_check

    def _make_self_pipe(self) -> None:
        """Make the self-pipe as asyncio does, but with high descriptor numbers."""
        self._ssock, self._csock = (
            threads.original("socket", "socket")(fileno=disk.move_away(end.detach()))
            for end in threads.original("socket", "socketpair")()
        )
        self._ssock.setblocking(False)
        self._csock.setblocking(False)
        self._internal_fds += 1  # type: ignore[attr-defined]
        self._add_reader(self._ssock.fileno(), self._read_from_self)  # type: ignore[attr-defined]

    def _write_to_self(self) -> None:
        """Wake the loop, unless the program has closed its wake-up descriptor, which may now be another file."""
        with contextlib.suppress(OSError):
            if os.fstat(self._csock.fileno()).st_ino == self._waker:
                super()._write_to_self()  # type: ignore[misc]

    def __del__(self) -> None:
        """Do nothing: an open loop, or its descriptors, belong to another process."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """Connect as asyncio does, with a high number where the socket is given; remember the connection."""
        if options.get("sock") is not None:
            options["sock"] = _moved_away(options["sock"])
        made = await super().create_connection(*args, **options)
        self._connections.add(made[0])
        return made

    async def create_unix_connection(self, protocol_factory: Any, path: Any = None, **options: Any) -> Any:
        """Connect as asyncio does, with a high number; remember the connection."""
        socket = threads.original("socket", "socket")
        connected = _moved_away(socket(threads.original("socket", "AF_UNIX")))
        try:
            connected.setblocking(False)
            await self.sock_connect(connected, path)
            made = await super().create_unix_connection(protocol_factory, sock=connected, **options)
        except BaseException:
            connected.close()
            raise
        self._connections.add(made[0])
        return made

    def end(self) -> None:
        """Cancel the remaining tasks, abort open connections, let the callbacks run once, and close the loop.

        A daemonizer may have closed the loop's descriptors, and other files may have their numbers: then the loop is
        not closed.
        """
        if not self._descriptors_are_ours():
            keep_forever(self)
            return
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        if left:  # a task that is destroyed with a closed loop would print an error
            self.run_until_complete(asyncio.wait(left, timeout=_CANCEL_TIMEOUT_S))
        for transport in list(self._connections):
            abort = getattr(transport, "abort", None)
            if abort is not None:
                abort()
        self.run_until_complete(asyncio.sleep(0))
        self.close()

    def _descriptors_are_ours(self) -> bool:
        try:
            return self._inode_of_selector() == self._selector_inode and all(
                os.fstat(descriptor).st_ino == inode for descriptor, inode in self._inodes.items()
            )
        except OSError:
            return False

    def _inode_of_selector(self) -> int:
        fileno = getattr(self.chosen, "fileno", None)
        return 0 if fileno is None else os.fstat(fileno()).st_ino

    def descriptors(self) -> list[int]:
        """Return every descriptor that a child must not use."""
        descriptors = [key.fd for key in (self.chosen.get_map() or {}).values()]
        fileno = getattr(self.chosen, "fileno", None)
        return descriptors if fileno is None else [*descriptors, fileno()]

    def detach(self) -> None:
        """Point the descriptors at /dev/null, in a child."""
        try:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        for descriptor in self.descriptors():
            with contextlib.suppress(OSError):
                os.dup2(null, descriptor, inheritable=False)
        disk.close(null)


def _moved_away(connection: Any) -> Any:
    """Give a socket a high number, where no program closes it with a range of its own descriptors."""
    if type(connection) is not threads.original("socket", "socket"):
        return connection  # of gevent or eventlet
    blocking = connection.gettimeout()
    moved = type(connection)(fileno=disk.move_away(connection.detach()))
    moved.settimeout(blocking)
    return moved


def keep_forever(kept: object) -> None:
    """Never let an object be destroyed in this process."""
    _kept.append(kept)


def _error_in(context: dict[str, Any]) -> Exception:
    """Return the error from the context that asyncio gives its exception handler."""
    error = context.get("exception")
    return error if isinstance(error, Exception) else RuntimeError(str(context.get("message")))


_threads: set[int] = set()
"""Threads that run a keeper's loop now."""


def forget_threads() -> None:
    """Forget the threads of the parent, in a child: they do not exist there, and their numbers are used again."""
    _threads.clear()


def _not_from_keeper(record: logging.LogRecord) -> bool:
    """Filter out records that a library logs on a keeper's thread: they are not records of the program."""
    return record.thread not in _threads


def _keep_libraries_quiet() -> None:
    """Suppress records of the keeper's libraries about the keeper's work; records about other work stay."""
    for name in ("asyncio", "aiohttp.client", "aiohttp.internal"):
        logger = logging.getLogger(name)
        if _not_from_keeper not in logger.filters:
            logger.addFilter(_not_from_keeper)


def run(
    work: Callable[[], Any],
    started: Callable[[KeeperEventLoop, asyncio.Task[Any]], None],
    failed: Callable[[str, Exception], None],
) -> None:
    """Run a coroutine in a loop of its own on the calling thread.

    Args:
        work: makes the coroutine. If it is cancelled, or another process has become the keeper, it ends without an
            error.
        started: called with loop and task before the loop runs.
        failed: called with the error of a callback.
    """
    thread = threading.get_ident()
    _threads.add(thread)
    _keep_libraries_quiet()
    try:
        _run(KeeperEventLoop(failed), work, started)
    finally:
        _threads.discard(thread)


def _run(
    loop: KeeperEventLoop, work: Callable[[], Any], started: Callable[[KeeperEventLoop, asyncio.Task[Any]], None]
) -> None:
    try:
        asyncio.set_event_loop(None)
        task = loop.create_task(work())
        started(loop, task)
        with contextlib.suppress(asyncio.CancelledError, LostLockError):
            loop.run_until_complete(task)
    finally:
        loop.end()


def inside_event_loop() -> bool:
    """Return whether the calling thread runs an event loop: no other loop can run inside it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
