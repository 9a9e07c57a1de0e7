"""Runs what stands in a page of prose and compares what it prints with what stands there.

A page is run from top to bottom in one empty directory, which is the user's own. In it:

- a `console` block holds `$ command` lines, each followed by what a terminal shows; a command that ends with a
  backslash goes on in the next line, and a variable that one sets is known to all behind it;
- a `python` block is a program of its own; a `text` block right after it is what it prints, and without one it prints
  nothing;
- `<!-- file: NAME -->` above a block of any language saves it as NAME instead of running it;
- `<!-- not run: REASON -->` above a block leaves it alone;
- `<!-- with: kubo -->` above a block runs it only where a real daemon is given: `ipfs` speaks to it, and its address
  takes the place of http://127.0.0.1:5001. Other programs may be asked for too: `<!-- with: kubo, zstd, jq -->`.

In expected output `…` stands for anything within its line, and a line that is only `…` for any number of lines.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from tests.kubo.daemon import Daemon

RUN = {"console", "python"}
REFUSED = {"bash", "pycon", "sh", "shell", "zsh"}
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Bold and colours, which a page does not show."""
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
    """The reason, the name of the file, or what it is run with."""
    follows: bool
    """Whether nothing but blank lines lies between it and the block before."""

    @property
    def needs(self) -> frozenset[str]:
        """What it is run with: `kubo`, and the names of programs."""
        return frozenset(self.value.replace(",", " ").split()) if self.note == "with" else frozenset()

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in their order."""
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
    """Runs the blocks of a page in a directory; returns how many, and fails at the first that is not as it says."""
    ran = 0
    every = list(blocks(page))
    environment = _environment(directory, daemon)
    if daemon is not None:
        every = [replace(block, body=block.body.replace(_DAEMON, daemon.url)) for block in every]
    for block, after in zip_longest(every, every[1:]):
        if "kubo" in block.needs and daemon is None:
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
    """The commands of a console block, each with what it should print."""
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
    """Whether output is as expected, with `…` for what varies."""
    pattern = []
    for line in expected.strip("\n").splitlines():
        if line.strip() == "…":
            pattern.append(r"(?:[^\n]*\n)*")
        else:
            pattern.append("[^\n]*".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ ]*\n")
    tidy = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch("".join(pattern), tidy) is not None


def shell(command: str, directory: Path, environment: dict[str, str]) -> str:
    """What a terminal shows of a command that ends well; variables that it sets are there for the next one."""
    screen, terminal = pty.openpty()
    state = shlex.quote(_state(directory))
    whole = f"{_RESUME.format(state)}\n{command}\nended=$?; export -p > {state}; exit $ended"
    with subprocess.Popen(
        ["bash", "-c", whole],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as child:
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
    """Where the variables lie that the commands before have set."""
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
        "COLUMNS": "120",
        "HOME": str(directory),
        "PATH": os.pathsep.join([*map(str, ours), os.environ.get("PATH", os.defpath)]),
        "TERM": "dumb",
        **({"IPFS_PATH": str(daemon.repo)} if daemon is not None else {}),
    }
