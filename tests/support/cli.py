"""Run `ipfs-logs` inside this process, or as a program of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ipfs_log_handlers.cli import main
from tests.support.programs import environment, killed_after_error

__all__ = ["Ended", "command", "on_terminal", "run", "start"]


@dataclass(frozen=True)
class Ended:
    """The result of a run."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The printed JSON Lines, decoded."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*args: object, home: Path | None = None, **env: str) -> Ended:
    """Run `ipfs-logs` in this process; its output is not a terminal."""
    given = [*(["--home", str(home)] if home is not None else []), *map(str, args)]
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    code: Any = None
    with (
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
        mock.patch.dict("os.environ", env),
    ):
        try:
            main(given, prog_name="ipfs-logs")
        except SystemExit as error:
            code = error.code
    out.flush()
    return Ended(code, out.buffer.getvalue().decode(), err.getvalue())


def command(*args: object) -> list[str]:
    """Return the command line of `ipfs-logs` with these arguments."""
    return [sys.executable, "-m", "ipfs_log_handlers", *map(str, args)]


TRACED = """
import sys
from ipfs_log_handlers.cli import main
from ipfs_log_handlers.home import lock
def take(home, real=lock.take):
    held = real(home)
    print("tried the lock" if held else "tried the lock in vain", file=sys.stderr, flush=True)
    return held
lock.take = take
main()
"""


def start(*args: object, traced: bool = False, **options: Any) -> subprocess.Popen[bytes]:
    """Start `ipfs-logs` as a program; if traced, it prints on stderr when it has tried the keeper's lock."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    whole = [sys.executable, "-c", TRACED, *map(str, args)] if traced else command(*args)
    return subprocess.Popen(whole, **{"env": environment(), **streams, **options})


def on_terminal(*args: object) -> bytes:
    """Run `ipfs-logs` on a terminal, assert that it succeeds, and return what the terminal shows."""
    ours, theirs = pty.openpty()
    shown = b""
    with killed_after_error(start(*args, stdout=theirs, stderr=theirs)) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # Linux says EIO when the other side has gone
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    assert process.returncode == 0
    return shown
