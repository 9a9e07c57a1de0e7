"""Answer SQL of another person in a child process in which DuckDB and the kernel refuse files and the network.

DuckDB's settings alone are no sandbox, so several things must fail before such SQL does harm. The child is a new Python
process without the environment of this one, and with limits of the kernel on memory and time. It holds no log: over two
pipes it asks this process for the records of tables, which reads and verifies them. In the child, DuckDB refuses files,
extensions, Python variables and changes of its settings, and takes one SELECT, as a subquery of another. Should SQL get
the better of DuckDB, the kernel of Linux still refuses files, network, programs and other processes
(`query/seccomp.py`, `query/landlock.py`). A child that takes too long is killed. Each query gets a child of its own.

This side does not trust the messages in the pipe: each request is checked, and an answer is read as JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from typing import Any, BinaryIO, Final

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.query import extras
from ipfs_log_handlers.query.columns import Kind, Layout
from ipfs_log_handlers.query.pipe_frames import MAX_VALUES, read_json, write_frame, write_json
from ipfs_log_handlers.query.sql_answer import SqlAnswer, SqlLimits
from ipfs_log_handlers.query.tables import Table

__all__ = ["LockedChild", "run_locked"]

_START_SECONDS: Final = 60.0
"""Seconds after which a child that has not started is killed; enough for a busy machine."""
_MAX_REQUEST_BYTES: Final = 16 << 20
"""Largest number of bytes of a request of a child: enough for the numbers of 10⁶ parts."""
_MAX_COLUMNS: Final = 2000
"""Largest number of columns of a table in a request of a child."""
_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[3:]; from ipfs_log_handlers.query.locked_child import main; main()"
)


_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""The environment of the child: NumPy and Arrow start no thread when they are imported, so that Landlock limits all."""


def run_locked(tables: Mapping[str, Table], query: str, limits: SqlLimits) -> SqlAnswer:
    """Answer one query in a child process of its own.

    Args:
        tables: what the query can read, by name.
        query: one SELECT.
        limits: the limits of the child.

    Raises:
        ConfigurationError: the query is wrong, is not a single SELECT, or exceeds a limit; or no child can be started
            on this system.
        VerificationError, StoreUnavailable: as for iteration over the dataset.
    """
    with LockedChild(limits) as child:
        return child.answer(tables, query)


class LockedChild:
    """A child process that answers SQL. A context manager, at whose end the child is killed.

    Args:
        limits: what it may use.

    Attributes:
        process: the child.
        kernel_limits: the means of the kernel that refuse it files, network, programs and other processes: `landlock`,
            `seccomp`, both, or neither where the kernel has neither.
    """

    def __init__(self, limits: SqlLimits) -> None:
        if getattr(sys, "frozen", False) or not sys.executable:
            raise ConfigurationError("this program cannot start the Python process in which SQL of others runs")
        for name in ("duckdb", "pyarrow"):
            extras.load(name, "SQL")
        self._limits = limits
        self._expired = False
        self._left = ExitStack()
        try:
            self._start()
        except BaseException:
            self._left.close()
            raise

    def _start(self) -> None:
        paths = [os.path.abspath(path) for path in sys.path]
        with ExitStack() as ends_of_child:
            try:
                child_in, out = os.pipe()
                ends_of_child.callback(disk.close, child_in)
                self._out: BinaryIO = self._left.enter_context(os.fdopen(out, "wb", buffering=0))
                own_in, child_out = os.pipe()
                ends_of_child.callback(disk.close, child_out)
                self._in: BinaryIO = self._left.enter_context(os.fdopen(own_in, "rb"))
                self.process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-I", "-c", _PROGRAM, str(child_in), str(child_out), *paths],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=_ENVIRONMENT,
                    pass_fds=(child_in, child_out),
                    start_new_session=True,
                )
            except OSError as error:
                raise ConfigurationError(
                    f"the Python process in which SQL of others runs does not start: {error}"
                ) from error
        self._left.callback(self._end)
        self._within(_START_SECONDS, self._greet)

    def __enter__(self) -> LockedChild:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _greet(self) -> None:
        write_json(self._out, asdict(self._limits))
        self.kernel_limits = frozenset(self._read()["kernel_limits"])  # it has started, and is locked

    def _within(self, seconds: float, work: Callable[[], Any]) -> Any:
        """Call a function that uses the child; kill the child when the call takes too long."""
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            return work()
        except FormatError as error:
            raise ConfigurationError(f"the query was refused: {error}", where="SQL") from error
        except (EOFError, BrokenPipeError):
            if self._expired:
                raise ConfigurationError(f"the query took longer than {seconds:g} s", where="SQL") from None
            raise ConfigurationError(
                "the query ended without an answer: it needed more memory or time than it may use", where="SQL"
            ) from None
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        self.process.kill()

    def _check_time(self) -> None:
        """Raise EOFError, as the killed child does, when the time is over."""
        if self._expired:
            raise EOFError

    def _read(self) -> dict[str, Any]:
        return read_json(self._in, max(_MAX_REQUEST_BYTES, self._limits.answer_bytes), MAX_VALUES)

    def answer(self, tables: Mapping[str, Table], query: str) -> SqlAnswer:
        """Let the child answer a query; see `run_locked`. After an error, the child answers no further query."""
        for table in tables.values():
            table.check = self._check_time
        answer: SqlAnswer = self._within(self._limits.seconds, lambda: self._answer(tables, query))
        return replace(answer, kernel_limits=self.kernel_limits)

    def _answer(self, tables: Mapping[str, Table], query: str) -> SqlAnswer:
        facts = {name: table.facts for name, table in tables.items()}
        write_json(self._out, {"query": query, "tables": facts})
        while True:
            asked = self._read()
            what = asked.get("do")
            if what == "answer":
                return _answer_of(asked, self._limits.rows)
            if what == "refuse":
                raise ConfigurationError(str(asked.get("message"))[:2000], where="SQL")
            table = tables.get(str(asked.get("table")))
            if table is None:
                raise FormatError("no such table", found=ascii(asked.get("table"))[:80])
            parts = _parts_of(asked, len(table.facts))
            if what == "names" and asked.get("key") in ("level", "logger"):
                names = table.names(asked["key"], parts)
                write_json(self._out, {"names": [None if some is None else sorted(some) for some in names]})
            elif what == "layout":
                layout = table.layout(parts)
                write_json(self._out, {"columns": [[name, kind.value] for name, kind in layout.columns.items()]})
            elif what == "batches":
                self._send(table, _layout_of(asked), parts, asked.get("only"))
            else:
                raise FormatError("no such request", found=ascii(what)[:80])

    def _send(self, table: Table, layout: Layout, parts: Sequence[int], only: Any) -> None:
        """Send the records of some parts, each batch as an Arrow stream, and an empty message at the end."""
        import pyarrow as pa

        known = {*layout.columns, "fields"}
        if not isinstance(only, list) or not all(isinstance(name, str) and name in known for name in only):
            raise FormatError("no such columns", found=ascii(only)[:80])
        for batch in table.batches(layout, parts, only):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            write_frame(self._out, sink.getvalue().to_pybytes())
        write_frame(self._out, b"")


def _parts_of(asked: Mapping[str, Any], count: int) -> list[int]:
    parts = asked.get("parts")
    if not isinstance(parts, list) or not all(type(part) is int and 0 <= part < count for part in parts):
        raise FormatError("no such parts", found=ascii(parts)[:80])
    return parts


def _layout_of(asked: Mapping[str, Any]) -> Layout:
    columns = asked.get("columns")
    if not isinstance(columns, list) or len(columns) > _MAX_COLUMNS:
        raise FormatError("no such columns", found=ascii(columns)[:80])
    with suppress(ValueError, TypeError):
        layout = Layout({name: Kind(kind) for name, kind in columns})
        if all(isinstance(name, str) for name in layout.columns):
            return layout
    raise FormatError("no such columns", found=ascii(columns)[:80])


def _answer_of(asked: Mapping[str, Any], most_rows: int) -> SqlAnswer:
    columns, rows, moments = asked.get("columns"), asked.get("rows"), asked.get("moments")
    if (
        isinstance(columns, list)
        and all(isinstance(name, str) for name in columns)
        and isinstance(rows, list)
        and len(rows) <= most_rows
        and all(isinstance(row, list) and len(row) == len(columns) for row in rows)
        and isinstance(moments, list)
        and all(type(number) is int and 0 <= number < len(columns) for number in moments)
    ):
        return SqlAnswer(tuple(columns), rows, frozenset(moments), truncated=bool(asked.get("truncated")))
    raise FormatError("the answer is malformed")
