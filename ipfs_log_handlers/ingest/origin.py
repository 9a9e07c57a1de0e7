"""Add the origin of a record, as the setting `include` says: place in the program, thread, process, task, host.

| `include` | keys of the record |
|---|---|
| `source` | `file`, `line`, `function` of the call that logged |
| `thread` | `thread`: name of the thread |
| `process` | `process`: name of the process, as multiprocessing has it |
| `task` | `task`: name of the asyncio task; `null` outside of one |
| `host` | `host`: name of this machine |

These keys come before the caller's fields; a field with such a name gets a trailing `_`. For a record that came through
a queue they describe the process that logged it, not the one that wrote it; only `host` is that of the writer.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final

from ipfs_log_handlers.config import Include

__all__ = ["Origin"]

_HAS_TASK_NAME: Final = sys.version_info >= (3, 12)
"""Whether logging itself notes the task that logs."""
_ATTRIBUTES: Final[Mapping[Include, Mapping[str, str]]] = {
    "source": {"file": "pathname", "line": "lineno", "function": "funcName"},
    "thread": {"thread": "threadName"},
    "process": {"process": "processName"},
    "task": {"task": "taskName"} if _HAS_TASK_NAME else {},
    "host": {},
}
"""For each part of the origin, the attributes of a LogRecord that contain it, by key."""
_SKIPPED_MODULES: Final = ("structlog", "ipfs_log_handlers.ingest")
"""Beginnings of the names of modules between the program's call and the processor."""


class Origin:
    """Compute the origin of records, for one handler or processor.

    Args:
        include: the parts of the origin that records get.
    """

    __slots__ = ("_attributes", "_computed", "_include", "names")

    def __init__(self, include: tuple[Include, ...]) -> None:
        self._include = include
        self._attributes = {key: name for part in include for key, name in _ATTRIBUTES[part].items()}
        self._computed: dict[str, Callable[[], Any]] = {}
        if "task" in include and not _HAS_TASK_NAME:
            self._computed["task"] = _task_name
        if "host" in include:
            host = os.uname().nodename
            self._computed["host"] = lambda: host
        self.names = (*self._attributes, *self._computed)
        """Keys of the record, in their order."""

    def of_record(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys and values of a LogRecord with these attributes."""
        given = {key: members.get(name) for key, name in self._attributes.items()}
        return given | {key: compute() for key, compute in self._computed.items()}

    def of_caller(self) -> dict[str, Any]:
        """Return the keys and values of the call into structlog that runs in this thread."""
        members: dict[str, Any] = {"threadName": threading.current_thread().name}
        if "source" in self._include:
            frame = _calling_frame()
            code = frame.f_code
            members |= {"pathname": code.co_filename, "lineno": frame.f_lineno, "funcName": code.co_name}
        if "process" in self._include:
            multiprocessing = sys.modules.get("multiprocessing.process")
            members["processName"] = multiprocessing.current_process().name if multiprocessing else "MainProcess"
        if "task" in self._include:
            members["taskName"] = _task_name()
        return self.of_record(members)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes of a LogRecord that contain the values of the first keys, in the order of `names`."""
        return tuple(self._attributes.values())

    @property
    def computed(self) -> tuple[Callable[[], Any], ...]:
        """Functions that return the values of the remaining keys, in the order of `names`."""
        return tuple(self._computed.values())


def _task_name() -> str | None:
    """Return the name of the asyncio task that runs in this thread; `None` without one."""
    asyncio = sys.modules.get("asyncio")
    try:
        task = None if asyncio is None else asyncio.current_task()
        return None if task is None else task.get_name()
    except (RuntimeError, AttributeError):  # no loop runs here, or asyncio is half imported
        return None


def _calling_frame() -> FrameType:
    """Return the frame of the program's call into structlog, also for the calls that structlog runs in an executor."""
    contextvars = sys.modules.get("structlog.contextvars")
    calling = getattr(contextvars, "_ASYNC_CALLING_STACK", None)
    frame = sys._getframe() if calling is None else calling.get(sys._getframe())  # noqa: SLF001 - as logging does
    while frame.f_globals.get("__name__", "").startswith(_SKIPPED_MODULES) and frame.f_back is not None:
        frame = frame.f_back
    return frame
