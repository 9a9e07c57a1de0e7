"""Starts and stops a real `ipfs-logs serve`, and the program that logs to its home."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.support.programs import ROOT, environment

__all__ = ["Server", "Shop", "history"]

_STOP_DEADLINE_S = 20.0


class Server:
    """A server that runs inside `with`; `url` is its address, which stays the same after `restart`.

    Args:
        home: the home that it serves; `None`: the options name other sources.
        known_logs: the directory in which it remembers heads.
        options: further options.
    """

    def __init__(self, home: Path | None, known_logs: Path, *options: str) -> None:
        self._home = home
        self.url = ""
        self._options = options
        self._environment = environment(IPFS_LOGS_KNOWN_LOGS=str(known_logs))
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def home(self) -> Path:
        """The home that it serves."""
        assert self._home is not None
        return self._home

    @property
    def port(self) -> str:
        """Its port; 0 before the first start."""
        return self.url.rstrip("/").rpartition(":")[2] if self.url else "0"

    def start(self) -> None:
        """Start it, and return when it listens."""
        home = () if self._home is None else ("--home", str(self._home))
        command = [sys.executable, "-m", "ipfs_log_handlers", *home, "serve", "--port", self.port]
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.PIPE, text=True, env=self._environment, cwd=ROOT
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server ended before it listened"
        self.url = json.loads(line)["url"]

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.communicate(timeout=_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise AssertionError("the server did not end") from None
        self._process = None

    def restart(self) -> None:
        """Stop it, and start it on the same port."""
        self.stop()
        self.start()


class Shop:
    """The program of `shop.py`, which logs what it is told; runs inside `with`."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [*_PROGRAM, str(home), "0", "0", "0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT,
        )  # fmt: skip

    def __enter__(self) -> Shop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=_STOP_DEADLINE_S)

    def log(self, event: str, **fields: object) -> None:
        """Log one record of the logger `shop.web`, and return when it is durable."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"event": event, **fields}) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "logged\n"


def history(home: Path, requests: int, *, ago_s: float, span_s: float) -> None:
    """Let the shop log so many requests, spread over `span_s` seconds that ended `ago_s` seconds ago."""
    command = [*_PROGRAM, str(home), str(requests), str(ago_s), str(span_s)]
    subprocess.run(command, check=True, env=environment(), cwd=ROOT)


_PROGRAM = (sys.executable, "-m", "tests.browser.shop")
