"""Run an example as a program, for instance as a server on a free loopback port, and read back what it logged."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.cli import run as ipfs_logs
from tests.support.programs import ROOT, environment

__all__ = ["EXAMPLES", "Program", "exactly_once", "free_port", "read_back"]

EXAMPLES = ROOT / "examples" / "frameworks"
_DEADLINE_S = 60.0

Record = dict[str, Any]


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A program that runs inside `with`, in a directory of the examples; its output is kept.

    Args:
        home: its home directory; the file with its output is beside it.
        command: the arguments of `python`.
        directory: its working directory.
        port: the port on which it will listen; entering waits until it does.
        env: further environment variables.
    """

    def __init__(
        self, home: Path, *command: object, directory: Path = EXAMPLES, port: int | None = None, **env: str
    ) -> None:
        self._command = [sys.executable, *map(str, command)]
        self._directory = directory
        self._port = port
        self._env = environment(IPFS_LOGS_HOME=str(home), HOME=str(home.parent), **env)
        self._printed = home.parent / f"printed-{time.monotonic_ns()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Program:
        with self._printed.open("wb") as file:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        if self._port is not None:
            self.wait_until(self._listens)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._process is not None
        return self._process

    @property
    def printed(self) -> str:
        """The output so far, of both streams."""
        return self._printed.read_text(errors="replace")

    def wait_until(self, holds: Any) -> None:
        """Return as soon as a condition holds; fail when the program ends first, or after a minute."""
        until = time.monotonic() + _DEADLINE_S
        while not holds():
            assert self.process.poll() is None, f"the program ended with {self.process.returncode}:\n{self.printed}"
            assert time.monotonic() < until, f"the condition did not become true:\n{self.printed}"
            time.sleep(0.02)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port or 0), timeout=_DEADLINE_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Send a request on a connection of its own; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_DEADLINE_S)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self, expected: int = 0) -> None:
        """Send SIGTERM, wait for the end, and fail on another exit code or a printed traceback."""
        self.process.send_signal(signal.SIGTERM)
        self.end(expected)

    def end(self, expected: int = 0) -> None:
        """Wait for the end, and fail on another exit code or a printed traceback."""
        try:
            code = self.process.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program does not end:\n{self.printed}") from None
        assert expected == code, self.printed
        assert "Traceback" not in self.printed, self.printed


def read_back(home: Path) -> list[Record]:
    """Return all records of a home, read by `ipfs-logs cat`; assert that it verifies and that no `seq` is missing."""
    verified = ipfs_logs("verify", home=home)
    assert 0 == verified.code, verified.out + verified.err
    read = ipfs_logs("cat", "-o", "json", home=home)
    assert 0 == read.code, read.err
    records: list[Record] = read.objects
    numbers = defaultdict[tuple[str, int], list[int]](list)
    for record in records:
        numbers[record["subsystem"], record["pid"]].append(record["seq"])
    for writer, seqs in numbers.items():
        assert list(range(1, len(seqs) + 1)) == sorted(seqs), f"{writer}: {json.dumps(sorted(seqs))}"
    return records


def exactly_once(expected: range, records: list[Record], *, event: str = "order placed") -> None:
    """Assert that each number was logged once, and no other."""
    assert list(expected) == sorted(record["number"] for record in records if record["event"] == event)
