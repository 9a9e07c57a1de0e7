"""The keeper's event loop: it touches no descriptor that is not its own, and says nothing anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import threading
from pathlib import Path

import pytest

from ipfs_log_handlers.keeper import event_loop
from ipfs_log_handlers.keeper.event_loop import KeeperEventLoop
from tests.support import programs


@pytest.fixture
def loop():
    """Make a loop, and end it afterwards unless a test did that."""
    made = KeeperEventLoop(lambda *_: None)
    yield made
    if not made.is_closed():
        made.end()


def test_its_descriptors_have_high_numbers(loop: KeeperEventLoop) -> None:
    """Selector and waker are where programs close nothing; they still work."""
    lowest = min(3072, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4)
    assert lowest <= min(*loop.descriptors(), loop._csock.fileno())
    woken = asyncio.Event()

    async def wait() -> None:
        threading.Timer(0.01, loop.call_soon_threadsafe, [woken.set]).start()
        await woken.wait()

    loop.run_until_complete(wait())


@pytest.mark.parametrize("through", ["tcp", "unix"])
def test_connections_have_high_numbers(loop: KeeperEventLoop, tmp_path: Path, through: str) -> None:
    """A connection to a store stays open for long, and what is written to it must not land in a file of the program."""
    lowest = min(3072, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4)
    family = socket.AF_UNIX if through == "unix" else socket.AF_INET
    with socket.socket(family) as server:
        server.bind(f"{tmp_path}/api" if through == "unix" else ("127.0.0.1", 0))
        server.listen()

        async def connect() -> int:
            if through == "unix":
                transport, _ = await loop.create_unix_connection(asyncio.Protocol, server.getsockname())
            else:  # as aiohttp does it
                ours = socket.socket()
                ours.setblocking(False)
                await loop.sock_connect(ours, server.getsockname())
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            number: int = transport.get_extra_info("socket").fileno()
            transport.abort()
            return number

        assert loop.run_until_complete(connect()) >= lowest


def test_a_wake_up_never_lands_in_another_file(loop: KeeperEventLoop) -> None:
    """Pitfall 61: the program has a socket in the place of what wakes the loop: not a byte comes out of it."""
    reader, writer = socket.socketpair()
    number = loop._csock.fileno()
    kept = os.dup(number)
    os.dup2(writer.fileno(), number)
    loop.call_soon_threadsafe(lambda: None)
    os.dup2(kept, number)
    reader.setblocking(False)
    with pytest.raises(BlockingIOError):
        reader.recv(1)
    for end in (reader, writer):
        end.close()
    os.close(kept)


@pytest.mark.parametrize("which", ["selector", "waker", "connection"])
def test_a_loop_whose_descriptors_were_taken_ends_before_a_callback_runs(loop: KeeperEventLoop, which: str) -> None:
    """Whatever the selector says then is about descriptors of the program: no callback is to touch them."""
    ours, theirs = socket.socketpair()
    called: list[str] = []

    async def work() -> None:
        loop.add_reader(ours, called.append, "read")
        await asyncio.sleep(3600)

    task = loop.create_task(work())
    numbers = {"selector": loop.chosen.fileno(), "waker": loop._ssock.fileno(), "connection": ours.fileno()}
    null = os.open(os.devnull, os.O_RDONLY)

    def take() -> None:
        os.dup2(null, numbers[which])
        loop.call_soon(called.append, "late")
        with contextlib.suppress(BrokenPipeError):  # where our end of the connection was taken, nobody reads
            theirs.send(b"x")

    loop.call_soon(take)
    with pytest.raises(OSError, match=r"closed the descriptors|Bad file descriptor|Invalid argument"):
        loop.run_until_complete(task)
    assert [] == called
    loop.end()
    assert not loop.is_closed()  # closing it would close what is not its own
    for number in (ours.detach(), theirs.detach(), null):
        os.close(number)


def test_an_error_in_a_callback_is_reported_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio would log it, into the program's own log and onto its stderr."""
    failed: list[tuple[str, str]] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.01)

    event_loop.run(work, lambda *_: None, lambda what, error: failed.append((what, type(error).__name__)))
    assert [("keeper", "ZeroDivisionError")] == failed
    assert [] == caplog.records


def test_libraries_log_nothing_on_a_thread_of_the_keeper(caplog: pytest.LogCaptureFixture) -> None:
    """What asyncio and aiohttp log there is left out; on other threads they log as before, at the same time too."""
    caplog.set_level(logging.DEBUG)
    names = ("asyncio", "aiohttp.client", "aiohttp.internal")

    async def work() -> None:
        for name in names:
            logging.getLogger(name).warning("ours")
        for name in names:
            other = threading.Thread(target=logging.getLogger(name).warning, args=("theirs",))
            other.start()
            other.join()

    event_loop.run(work, lambda *_: None, lambda *_: None)
    logging.getLogger("asyncio").warning("afterwards")
    assert ["theirs"] * 3 + ["afterwards"] == [record.message for record in caplog.records]


@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["as usual", "development mode"])
def test_nothing_is_printed_on_a_console_at_debug_level(home: Path, options: tuple[str, ...]) -> None:
    """With a console for all loggers at DEBUG the keeper's thread starts, seals and ends without a word."""
    body = """
        logging.basicConfig(level=logging.DEBUG)
        configure("DEBUG", batch={"seconds": 0.05})
        logging.getLogger().addHandler(logging.StreamHandler())
        log.setLevel(logging.CRITICAL)
        log.critical("only this")
        [h, _] = logging.getLogger().handlers
        h.flush()
    """

    ended = programs.run(home, body, options=options)

    assert (0, "only this\n") == (ended.code, ended.err)


def test_nothing_is_printed_when_no_descriptor_is_left(home: Path) -> None:
    """The program has used up its descriptors, and flushes: the keeper's thread has nothing to say about it."""
    body = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        configure(flush_timeout=0.5)
        log.info("one")
        [h] = logging.getLogger().handlers
        h.flush()
        held = []
        try:
            while True: held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        log.info("two")
        h.flush()
        h._recorder.home.keeper.ask()
    """

    programs.run(home, body).clean()

    assert ["one", "two"] == [record["event"] for record in programs.adopted(home)]
