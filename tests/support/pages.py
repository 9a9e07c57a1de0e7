"""Run the blocks of a page and compare their output with the page.

A page is run from top to bottom in one empty directory, which is also the home directory of the user. In it:

- a `console` block has `$ command` lines, each followed by what a terminal shows; a command that ends with a
  backslash continues in the next line, and a variable that a command sets is known to all later blocks;
- a `python` block is a program; a `text` block right after it is its output, and without one it prints nothing;
- `<!-- file: NAME -->` above a block of any language saves it as NAME instead of running it;
- `<!-- not run: REASON -->` above a block skips it;
- `<!-- with: kubo -->` above a block runs it only with a real daemon: `ipfs` uses it, and its address replaces
  http://127.0.0.1:5001.

`jq` and `zstd` are always there: `page_tools` provides them where the machine does not.

In expected output, `…` matches anything within its line, and a line that is only `…` matches any number of lines.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from tests.kubo.daemon import Daemon
from tests.support import page_tools
from tests.support.programs import killed_after_error

RUN = {"console", "python"}
REFUSED = {"bash", "pycon", "sh", "shell", "zsh"}
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Escape sequences for bold and colours, which a page does not show."""
_COLUMNS = 1000
"""Width of the terminal: a page shows whole lines."""
_NOTE = re.compile(r"<!-- (not run|file|with): *(\S.*?) *-->\s*\Z")
_DAEMON = "http://127.0.0.1:5001"
_RESUME = "set -a; [ ! -e {0} ] || . {0}"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    body: str
    note: str
    """`not run`, `file`, `with` or nothing."""
    value: str
    """The reason, the name of the file, or `kubo`."""
    follows: bool
    """Whether only blank lines are between it and the previous block."""

    @property
    def needs_daemon(self) -> bool:
        """Whether it runs only with a real daemon."""
        return self.note == "with"

    @property
    def place(self) -> str:
        """The page and the line where the block begins."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    end = 0
    for found in _FENCE.finditer(text):
        between = text[end : found.start()]
        note = _NOTE.search(between)
        indent = found["indent"]
        yield Block(
            page=page.name,
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"],
            body=re.sub(f"^{indent}", "", found["body"], flags=re.MULTILINE),
            note=note[1] if note else "",
            value=note[2] if note else "",
            follows=bool(end) and not between.strip(),
        )
        end = found.end()


def run(page: Path, directory: Path, daemon: Daemon | None = None) -> int:
    """Run the blocks of a page in a directory; return their number, and fail at the first with other output."""
    ran = 0
    every = list(blocks(page))
    environment = _environment(directory, daemon)
    if daemon is not None:
        every = [replace(block, body=block.body.replace(_DAEMON, daemon.url)) for block in every]
    for block, after in zip_longest(every, every[1:]):
        if block.needs_daemon and daemon is None:
            continue
        if block.note == "file":
            (directory / block.value).write_text(block.body, encoding="utf-8")
            continue
        if block.note == "not run":
            continue
        assert block.language not in REFUSED, f"{block.place}: write ```console, so that it is run and compared"
        if block.language == "console":
            for command, expected in steps(block):
                _compare(block, command, expected, shell(command, directory, environment))
        elif block.language == "python":
            expected = after.body if after and after.follows and after.language == "text" else ""
            _compare(block, "the program", expected, _program(block, directory, environment))
        ran += block.language in RUN
    return ran


def steps(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with its expected output."""
    found: list[tuple[str, list[str]]] = []
    open_ended = False
    for line in block.body.splitlines():
        if open_ended:
            found[-1] = (f"{found[-1][0]}\n{line.removeprefix('> ')}", [])
            open_ended = line.endswith("\\")
        elif line.startswith("$ "):
            found.append((line[2:], []))
            open_ended = line.endswith("\\")
        else:
            assert found, f"{block.place}: a console block begins with `$ command`"
            found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def agrees(expected: str, printed: str) -> bool:
    """Return whether output is as expected, where `…` matches any text."""
    pattern = []
    for line in expected.strip("\n").splitlines():
        if line.strip() == "…":
            pattern.append(r"(?:[^\n]*\n)*")
        else:
            pattern.append("[^\n]*".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ ]*\n")
    tidy = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch("".join(pattern), tidy) is not None


def shell(command: str, directory: Path, environment: dict[str, str]) -> str:
    """Run a command on a terminal, assert that it succeeds, and return what the terminal shows.

    Variables that the command sets are kept for the next one.
    """
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, _COLUMNS, 0, 0))
    state = shlex.quote(_state(directory))
    whole = f"{_RESUME.format(state)}\n{command}\nended=$?; export -p > {state}; exit $ended"
    child = subprocess.Popen(
        ["bash", "-c", whole],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    with killed_after_error(child):
        os.close(terminal)
        printed = b"".join(_until_closed(screen))
        os.close(screen)
    text = _STYLE.sub("", printed.decode().replace("\r\n", "\n"))
    assert child.returncode == 0, f"`{command}` ended with {child.returncode}:\n{text}"
    return text


def _until_closed(screen: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(screen, 1 << 16)
        except OSError:  # Linux says EIO when the other side has gone
            return
        if not data:
            return
        yield data


def _state(directory: Path) -> str:
    """Return the path of the file with the variables that earlier commands have set."""
    return f"{directory}.shell"


def _program(block: Block, directory: Path, environment: dict[str, str]) -> str:
    resume = _RESUME.format(shlex.quote(_state(directory)))
    done = subprocess.run(
        ["bash", "-c", f'{resume}\nexec "$@"', "bash", sys.executable, "-c", block.body],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{block.place}: the program ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def _compare(block: Block, what: str, expected: str, printed: str) -> None:
    assert agrees(expected, printed), f"{block.place}: {what} printed\n{printed}\nand the page says\n{expected}"


def _environment(directory: Path, daemon: Daemon | None) -> dict[str, str]:
    ours = [Path(sys.executable).parent, *([daemon.binary.parent] if daemon is not None else [])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_")}
    return {
        **kept,
        "COLUMNS": str(_COLUMNS),
        "HOME": str(directory),
        "PATH": os.pathsep.join([*map(str, ours), os.environ.get("PATH", os.defpath), str(page_tools.directory())]),
        "TERM": "dumb",
        **({"IPFS_PATH": str(daemon.repo)} if daemon is not None else {}),
    }
