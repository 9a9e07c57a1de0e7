"""A terminal: runs a program on a pseudo-terminal, and works out what a person sees when it has ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import environment

__all__ = ["AT_ONCE", "Shown", "Terminal", "run_on_terminal", "screen_after"]

AT_ONCE = """
import sys
from ipfs_log_handlers.cli import bar, main
bar._BAR_DELAY_S = 0.0
main(prog_name="ipfs-logs")
"""
"""The command line, whose bars do not wait until the work takes long."""
_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b.|[\r\n\b]|[^\x1b\r\n\b]+", re.DOTALL)


def screen_after(output: str, columns: int) -> list[str]:
    """Return the lines on a screen after some output, down to the last one with text.

    Text, line ends, cursor up and erasing are obeyed.
    """
    lines, row, column = [""], 0, 0
    for match in _SEQUENCE.finditer(output):
        argument, command = match[1], match[2]
        if command == "A":
            row = max(0, row - int(argument or 1))
        elif command == "K":
            lines[row] = "" if argument == "2" else lines[row][:column]
        elif command == "J":
            lines[row:] = [lines[row][:column]]
        elif command is None and match[0] == "\r":
            column = 0
        elif command is None and match[0] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif command is None and not match[0].startswith("\x1b"):
            for letter in match[0]:
                if column == columns:
                    row, column = row + 1, 0
                    lines += [""] * (row + 1 - len(lines))
                lines[row] = lines[row][:column].ljust(column) + letter + lines[row][column + 1 :]
                column += 1
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


@dataclass(frozen=True)
class Shown:
    """What a program has shown on a terminal, and how it ended."""

    code: int
    """Its exit code."""
    output: str
    """Everything that it wrote, escape sequences too."""
    screen: list[str]
    """The lines that are left on the screen."""


class Terminal:
    """A program that runs on a pseudo-terminal of its own, in a session of its own: Ctrl-C reaches it alone.

    Args:
        args: the program and its arguments.
        columns: width of the terminal.
        cwd: directory to run in.
        env: variables, besides those of `environment()`; `TERM` is that of a usual terminal.
    """

    def __init__(self, args: list[str], *, columns: int = 80, cwd: Path | None = None, **env: str) -> None:
        self._columns = columns
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        variables = {"TERM": "xterm-256color", **env}
        whole = {name: value for name, value in environment(**variables).items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            args,
            cwd=cwd,
            env=whole,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=self._take_terminal,  # noqa: PLW1509 - the test starts no thread that matters to the child
        )
        os.close(theirs)
        self._output = b""

    @staticmethod
    def _take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    @property
    def input(self) -> int:
        """The descriptor on which a person types."""
        return self._ours

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._ours, b"\x03")

    def read_until(self, holds: Callable[[str], object]) -> None:
        """Read until something holds of all that was shown."""
        while not holds(self._output.decode("utf-8", "replace")):
            assert self._read(), f"it ended, having shown {self._output!r}"

    def end(self) -> Shown:
        """Wait for the end of the program."""
        while self._read():
            pass
        code = self.process.wait(timeout=60)
        os.close(self._ours)
        output = self._output.decode()
        return Shown(code, output, screen_after(output, self._columns))

    def _read(self) -> bool:
        chunk = b""
        with contextlib.suppress(OSError):  # Linux says EIO when the other side has gone
            chunk = os.read(self._ours, 65536)
        self._output += chunk
        return bool(chunk)


def run_on_terminal(args: list[str], *, columns: int = 80, cwd: Path | None = None, **env: str) -> Shown:
    """Run a program on a pseudo-terminal to its end."""
    return Terminal(args, columns=columns, cwd=cwd, **env).end()
