"""Why a daemon is not reached stands in plain words, and the exception of the library behind it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from ipfs_log_handlers.errors import StoreDenied, StoreError, StoreUnavailable
from ipfs_log_handlers.stores import foreign_errors
from ipfs_log_handlers.stores.kubo import KuboStore


def failure(address: str) -> StoreError:
    """How a probe of this address fails."""

    async def work() -> None:
        store = KuboStore(address, deadline_s=1)
        try:
            await store.probe()
        finally:
            await store.close()

    with pytest.raises(StoreError) as caught:
        asyncio.run(work())
    return caught.value


@contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """Run a server that treats each request like this, and return its port."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def reset(connection: socket.socket) -> None:
    """Break the connection off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda connection: connection.sendall(b"SSH-2.0-x\r\n"), "the program at this address does not speak HTTP"),
        (lambda _: None, "the connection broke off before an answer came"),
        (reset, "the connection broke off before an answer came"),
        (
            lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            "the connection broke off before the answer was complete",
        ),
    ],
    ids=["no HTTP", "closed", "reset", "half"],
)
def test_who_answers_wrong(answer, told):
    """What breaks off, or is no HTTP, is told as that, with the address once and no name of a library."""
    with answering(answer) as port:
        error = failure(f"http://127.0.0.1:{port}")
    assert type(error) is StoreUnavailable
    assert str(error) == f"http://127.0.0.1:{port}: {told}"
    assert isinstance(error.__cause__, (aiohttp.ClientError, OSError))


def test_no_tls_there():
    """Who speaks no TLS is told as that, and what to write instead."""
    with answering(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        error = failure(f"https://127.0.0.1:{port}")
    assert type(error) is StoreDenied
    assert str(error) == (
        f"https://127.0.0.1:{port}: the program at this address does not speak TLS."
        " Write http:// for a connection without TLS"
    )


def test_nobody_listens(tmp_path, monkeypatch):
    """A port or a socket where nobody listens; `auto` names the address that it found."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        told = "nobody listens there (connection refused)"
        error = failure(f"http://127.0.0.1:{port}")
        assert str(error) == f"http://127.0.0.1:{port}: {told}"
        assert isinstance(error.__cause__, aiohttp.ClientConnectorError)
        assert str(failure(f"http://localhost:{port}")) == f"http://localhost:{port}: {told}"
        (tmp_path / "api").write_text(f"/ip4/127.0.0.1/tcp/{port}")
        monkeypatch.setenv("IPFS_PATH", str(tmp_path))
        assert str(failure("auto")) == f"auto (http://127.0.0.1:{port}): {told}"
    missing = f"/unix{Path(tmp_path, 'none.sock')}"
    assert str(failure(missing)) == f"{missing}: there is no such socket (no such file or directory)"


@pytest.mark.parametrize(
    ("number", "told"),
    [(socket.EAI_NONAME, "there is no such host (words)"), (socket.EAI_AGAIN, "its name cannot be looked up (words)")],
)
def test_name_that_is_not_found(monkeypatch, number, told):
    """A name that nobody knows is told apart from one that nobody could be asked about."""

    def getaddrinfo(*_: object) -> None:
        raise socket.gaierror(number, "Words")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert str(failure("http://kubo.example:5001")) == f"http://kubo.example:5001: {told}"


def test_nobody_answers_a_connection(monkeypatch):
    """An address that swallows what is sent to it is told with how long it had."""

    async def hang(*_: object, **__: object) -> None:
        raise aiohttp.ServerTimeoutError("Connection timeout to host") from asyncio.TimeoutError()

    monkeypatch.setattr(aiohttp.ClientSession, "post", hang)
    error = failure("http://192.0.2.1:5001")
    assert type(error) is StoreUnavailable
    assert str(error) == "http://192.0.2.1:5001: nobody answers there (no connection within 2 s)"


def translated(error: BaseException) -> StoreError:
    """Our error for a foreign one."""
    return foreign_errors.translate(error, where="http://kubo:5001", connect_s=5, answer_s=30)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(errno.EHOSTUNREACH, "x"), "unavailable", "no network route leads there (no route to host)"),
        (OSError(errno.EACCES, "x"), "unavailable", "this user may not connect there (permission denied)"),
        (OSError(errno.ETIMEDOUT, "x"), "timeout", f"nobody answers there ({os.strerror(errno.ETIMEDOUT).lower()})"),
        (OSError(errno.ECONNREFUSED, "x"), "unreachable", "nobody listens there (connection refused)"),
        (OSError(errno.ENOENT, "x"), "unreachable", "there is no such socket (no such file or directory)"),
        (
            OSError(f"Multiple exceptions: [Errno {errno.EADDRNOTAVAIL}] x, [Errno {errno.ECONNREFUSED}] y"),
            "unreachable",
            "nobody listens there (connection refused)",
        ),
        (aiohttp.ServerTimeoutError(), "timeout", "nobody answers there (no connection within 5 s)"),
        (asyncio.TimeoutError(), "timeout", "the daemon did not answer within 30 s"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "unavailable", "the connection broke off before an answer came"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_foreign_error_has_a_kind_and_a_plain_message(error: BaseException, kind: str, message: str) -> None:
    """The keeper decides by the kind; people read the message. Of several addresses, the best outcome counts."""
    ours = translated(error)
    assert (kind, message) == (ours.kind, ours.message)
    assert ours.found is None


def test_an_error_without_a_row_is_reported_in_its_own_words() -> None:
    """An exception that nobody foresaw is named, so that it can be looked up."""
    ours = translated(OSError("odd"))
    assert ("unavailable", "the daemon cannot be reached", "OSError: odd") == (ours.kind, ours.message, ours.found)


def exceptions_of_aiohttp() -> list[type[BaseException]]:
    """Every exception class that this release of aiohttp exports; its warnings are none."""
    found = {**vars(aiohttp), **vars(aiohttp.client_exceptions)}.values()
    return [each for each in found if isinstance(each, type) and issubclass(each, BaseException)]


@pytest.mark.parametrize(
    "exception",
    sorted(
        {
            exception
            for exception in exceptions_of_aiohttp()
            if exception.__module__.startswith("aiohttp") and not issubclass(exception, Warning)
        },
        key=str,
    ),
)
def test_the_table_has_a_row_for_every_exception_of_aiohttp(exception: type[BaseException]) -> None:
    """A release of aiohttp that brings a new exception class fails here until the table says what it means."""
    assert exception in foreign_errors.TABLE
