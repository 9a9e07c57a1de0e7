"""Answer the SQL that `query/locked_sql.py` sends, in a child process that reads only the records from its pipe.

The process is started as `python -I -c … IN OUT`, with the numbers of two pipes. First it gives up rights that it does
not need to start; then it imports DuckDB; then it lets the kernel refuse it everything but computing and its open
descriptors, and reads the first query. For each query it configures and locks a new database.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO, Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query import landlock, seccomp
from ipfs_log_handlers.query.columns import Kind, Layout
from ipfs_log_handlers.query.pipe_frames import MAX_VALUES, count_values, read_frame, read_json, write_json
from ipfs_log_handlers.query.tables import PartFacts, Table

__all__ = ["main"]

_MAX_MESSAGE_BYTES: Final = (1 << 32) - 1
_MAX_FILES: Final = 256
"""Largest number of open descriptors of the process."""
_PR_SET_DUMPABLE: Final = 4
"""Of `prctl` of Linux; with 0, no other process of the user reads the memory of this one."""
_PR_SET_NO_NEW_PRIVS: Final = 38
"""The same; with 1, no program that this process starts gives it further rights."""
_SETTINGS: Final = (
    "SET threads = {threads}",
    "SET memory_limit = '{memory_bytes}B'",
    "SET TimeZone = 'UTC'",
    "SET temp_directory = ''",
    "SET enable_progress_bar = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
"""The settings of DuckDB, in this order: after the last one, no SQL can change a setting."""

_REFUSED_WORDS: Final = frozenset({"arrow_scan", "arrow_scan_dumb", "pandas_scan", "pointer", "python_map_function"})
"""Functions that read memory at an address that the query chooses, and the type of an address."""
_REFUSED_CALLS: Final = frozenset({"json_execute_serialized_sql", "query"})
"""Functions that run SQL out of a text, in which a query could hide the refused words."""


def main() -> None:
    """Answer queries, each in a database of its own, until the pipe ends."""
    pipe_in, pipe_out = (int(number) for number in sys.argv[1:3])
    with os.fdopen(pipe_in, "rb") as incoming, os.fdopen(pipe_out, "wb") as outgoing:
        limits = read_json(incoming, _MAX_MESSAGE_BYTES)
        _give_up(limits)
        _load()
        write_json(outgoing, {"do": "start", "kernel_limits": _refuse_the_rest()})
        while True:
            try:
                job = read_json(incoming, _MAX_MESSAGE_BYTES)
            except EOFError:
                return
            write_json(outgoing, _answer(job, limits, incoming, outgoing))


def _give_up(limits: dict[str, Any]) -> None:
    """Lower the limits that the kernel sets for this process; the process cannot raise them again."""
    seconds = int(limits["seconds"]) + 2
    for what, most in (
        (resource.RLIMIT_AS, limits["address_space_bytes"]),
        (resource.RLIMIT_CPU, seconds * limits["threads"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
    ):
        _, hard = resource.getrlimit(what)
        lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (lowest, lowest))
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
            library.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))


def _load() -> None:
    """Import, and read from files, all that answers need; afterwards the kernel refuses it."""
    import duckdb
    import pyarrow as pa

    from ipfs_log_handlers.query import sql  # noqa: F401

    duckdb.close()  # DuckDB 1 opens a database when it is imported; its threads would not be limited by Landlock
    pa.scalar(0, pa.timestamp("us", "UTC")).as_py()  # the files of the timezone in which DuckDB gives times


def _refuse_the_rest() -> list[str]:
    """Let the kernel refuse files, network, programs and other processes; return the names of its means that hold."""
    os.chdir("/")  # DuckDB 1 asks for the working directory, which then says nothing
    means = {"landlock": landlock.refuse_files_and_ports, "seccomp": seccomp.refuse_system_calls}
    return [name for name, refuse in means.items() if refuse()]


def _answer(job: dict[str, Any], limits: dict[str, Any], incoming: BinaryIO, outgoing: BinaryIO) -> dict[str, Any]:
    import duckdb

    from ipfs_log_handlers.query.sql import Session, refusal_of
    from ipfs_log_handlers.query.sql_answer import answer_of

    tables = {name: _PipeTable(name, facts, incoming, outgoing) for name, facts in job["tables"].items()}
    try:
        with duckdb.connect() as connection:
            for setting in _SETTINGS:
                connection.execute(setting.format(**limits))
            wrapped = _wrapped(connection, job["query"], limits["rows"] + 1)
            answer = Session(tables, connection=connection).run(wrapped, answer_of)
            if answer is None:
                raise ConfigurationError("only a SELECT has an answer")
            truncated = len(answer.rows) > limits["rows"]
            found = {
                "do": "answer",
                "columns": answer.columns,
                "rows": answer.rows[: limits["rows"]],
                "moments": sorted(answer.moments),
                "truncated": truncated,
            }
    except MemoryError:
        return {"do": "refuse", "message": "the query needed more memory than its limit"}
    except Exception as error:  # noqa: BLE001 - whatever it was, the other process says it
        refused = refusal_of(error) if isinstance(error, duckdb.Error) else error
        return {"do": "refuse", "message": getattr(refused, "message", None) or f"{type(error).__name__}: {error}"}
    data = json.dumps(found).encode()
    if len(data) > limits["answer_bytes"]:
        return {"do": "refuse", "message": f"the answer is too large: more than {limits['answer_bytes']} bytes"}
    if count_values(data) > MAX_VALUES:
        return {"do": "refuse", "message": f"the answer is too large: more than {MAX_VALUES} values"}
    return found


def _wrapped(connection: Any, query: str, rows: int) -> str:
    """Return a query as the subquery of another query; a subquery can only be a SELECT.

    Raises:
        ConfigurationError: the query is not one SELECT, or uses a function or type that is refused.
    """
    import duckdb

    def only_select(text: str) -> Any:
        statements = connection.extract_statements(text)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise ConfigurationError("only one SELECT is allowed")
        return statements[0]

    from ipfs_log_handlers.query.sql_words import called_words, without_end, words

    hidden = next((char for char in query if not char.isascii() and not char.isprintable()), None)
    if hidden is not None:  # DuckDB reads some of them as a space, and the search for words does not
        raise ConfigurationError(f"SQL of another person may not contain {hidden!a}: write chr({ord(hidden)})")
    refused = (_REFUSED_WORDS & words(query)) | (_REFUSED_CALLS & called_words(query))
    if refused:
        raise ConfigurationError(f"SQL of another person may not use {', '.join(sorted(refused))}")
    inner = without_end(only_select(query).query)
    wrapped = f"SELECT * FROM (\n{inner}\n) LIMIT {rows}"  # noqa: S608 - it is meant to be run
    only_select(wrapped)
    return wrapped


class _PipeTable(Table):
    """A table whose records the other process reads; the methods are those of `Table`, over the pipe."""

    def __init__(self, name: str, facts: Sequence[Sequence[Any]], incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self.facts = [PartFacts(*some) for some in facts]
        self._name = name
        self._in, self._out = incoming, outgoing

    def _ask(self, what: str, parts: Collection[int], **more: Any) -> None:
        write_json(self._out, {"do": what, "table": self._name, "parts": list(parts), **more})

    def names(self, key: str, parts: Sequence[int]) -> list[frozenset[str] | None]:
        self._ask("names", parts, key=key)
        names = read_json(self._in, _MAX_MESSAGE_BYTES)["names"]
        return [None if some is None else frozenset(some) for some in names]

    def layout(self, parts: Collection[int]) -> Layout:
        self._ask("layout", parts)
        return Layout({name: Kind(kind) for name, kind in read_json(self._in, _MAX_MESSAGE_BYTES)["columns"]})

    def batches(self, layout: Layout, parts: Sequence[int], only: Collection[str]) -> Iterator[Any]:
        import pyarrow as pa

        columns = [[name, kind.value] for name, kind in layout.columns.items()]
        self._ask("batches", parts, columns=columns, only=list(only))
        batches = []  # all of them: DuckDB may read another table meanwhile, over the same pipe
        while data := read_frame(self._in, _MAX_MESSAGE_BYTES):
            batches += pa.ipc.open_stream(data).read_all().to_batches()
        yield from batches
