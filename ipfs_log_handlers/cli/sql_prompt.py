"""Ask for SQL at a prompt: a statement may have several lines, and the history is kept in a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.cli.output import Column, complain, put_line, remark, table
from ipfs_log_handlers.errors import LogStoreError

if TYPE_CHECKING:
    from ipfs_log_handlers.api import SqlAnswer, SqlSession

__all__ = ["run"]

_PROMPT: Final = "sql> "
_CONTINUED: Final = "...> "
_MAX_HISTORY: Final = 1000
"""Largest number of lines in the history file."""
_HELP: Final = """\
A statement ends with ; and may have several lines. Ctrl-C deletes the typed text or stops the running query.
.tables         the tables
.schema [NAME]  their columns
.quit           leave the prompt; Ctrl-D does the same"""


def run(session: SqlSession, put_answer: Callable[[SqlAnswer | None], object]) -> int:
    """Read statements from a terminal and print their answers, until `.quit` or Ctrl-D.

    Args:
        session: answers them.
        put_answer: prints an answer.

    Returns:
        The exit code.
    """
    remark("SQL of DuckDB over the records that match; .help shows the commands")
    with _history():
        pending: list[str] = []
        while True:
            try:
                line = input(_CONTINUED if pending else _PROMPT)
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print()
                pending.clear()
                continue
            if not pending and line.strip().startswith("."):
                if line.split()[0] in (".quit", ".exit"):
                    return 0
                _guarded(partial(_command, session, line.split()))
                continue
            pending.append(line)
            text = "\n".join(pending)
            if not text.strip():
                pending.clear()
            elif session.is_complete(text):
                pending.clear()
                _guarded(partial(_put, session, put_answer, text))


def _guarded(action: Callable[[], object]) -> None:
    """Call a function; an error or Ctrl-C ends the call, but not the prompt."""
    try:
        action()
    except LogStoreError as error:
        complain(str(error))
    except KeyboardInterrupt:
        remark("interrupted")
    sys.stdout.flush()


def _put(session: SqlSession, put_answer: Callable[[SqlAnswer | None], object], text: str) -> None:
    put_answer(session.answer(text))


def _command(session: SqlSession, words: list[str]) -> None:
    name, arguments = words[0], words[1:]
    if name == ".help":
        print(_HELP)
    elif name == ".tables":
        for table_name in session.names:
            put_line(table_name)
    elif name == ".schema":
        unknown = [argument for argument in arguments if argument not in session.names]
        if unknown:
            complain(f"no table {unknown[0]!r}; there are: {', '.join(session.names)}")
            return
        rows = [(of, column, kind) for of in arguments or session.names for column, kind in session.schema(of)]
        table([Column(title="TABLE"), Column(title="COLUMN", min_width=10), Column(title="TYPE")], rows)
    else:
        complain(f"no command {name!r}; there are: .help, .quit, .schema, .tables")


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Let the user edit lines and recall lines, also those of earlier runs; this needs the module `readline`."""
    try:
        import readline
    except ImportError:
        yield
        return
    file = _history_file()
    if file is not None:
        with contextlib.suppress(OSError):
            readline.read_history_file(file)
    readline.set_history_length(_MAX_HISTORY)
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.touch(0o600)  # for no other user, as the logs
                readline.write_history_file(file)


def _history_file() -> Path | None:
    """Return the path of the history file in the user's state directory; `None` when the user has no such directory."""
    from ipfs_log_handlers.config import homes_directory

    try:
        return homes_directory().with_name("ipfs-logs-sql") / "history"
    except LogStoreError:
        return None
