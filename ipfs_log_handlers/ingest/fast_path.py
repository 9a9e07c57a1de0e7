"""The fast path of a plain record: from the attributes of a LogRecord to a line in one encode and one `write`.

Nearly all records are plain: a text with or without arguments, no exception, and `extra` fields with the same names,
and the same `event`, each time this line of the program logs. The accelerator takes them, where there is one. Otherwise
the first record of such a line compiles the function that takes its records (`call_site`). Every other record takes the
slow path, `IPFSHandler.emit`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ipfs_log_handlers.accelerator.state import ACCELERATOR
from ipfs_log_handlers.concurrency.fork import FORK_HANDLED
from ipfs_log_handlers.format.record import RecordEncoder
from ipfs_log_handlers.ingest.call_site import ELSEWHERE, CallSite, Members, Take, compile_call_site
from ipfs_log_handlers.ingest.fields import CLASHING, NOT_FIELDS, level_name, split_queued
from ipfs_log_handlers.ingest.origin import Origin
from ipfs_log_handlers.ingest.tracing import LOADED, OPENTELEMETRY, with_trace
from ipfs_log_handlers.runtime.process import HomeProcess
from ipfs_log_handlers.spool.writer import Writer
from ipfs_log_handlers.spool.writer_segments import CHECK_S, RESERVE_CHECK_BYTES

__all__ = ["FastPath", "fast_path_of"]

_MAX_CALL_SITES: Final = 4096
"""Number of call sites that one handler keeps; the records of further ones take the slow path."""

SlowPath = Callable[[logging.LogRecord], Any]


class FastPath(NamedTuple):
    """The objects that plain records of one handler need: all records go to one log, and none is redacted."""

    encoder: RecordEncoder
    """The handler's encoder."""
    writer: Writer
    """Makes the records durable."""
    max_bytes: int
    """Bytes of the longest line."""
    required: Mapping[str, tuple[str, ...]]
    """By event, its required fields; a record that lacks one is counted on the slow path."""
    origin: Origin | None = None
    """The parts of the origin that records get."""
    keeps_gil: bool = True
    """Whether the accelerator keeps the GIL while it writes, as long as the disk does not stall."""


def fast_path_of(handler: logging.Handler, fast_path: FastPath, slow_path: SlowPath) -> SlowPath:
    """Return a function that takes the place of `handler.handle`; any number of threads may call it.

    The function is a method of the accelerator, or one closure and not an object, because every record takes this path
    and the program waits for it.

    Args:
        handler: has no formatter. While it has a filter, or its class has another `emit`, every record takes the slow
            path.
        fast_path: the objects that plain records need.
        slow_path: function that takes every record.
    """
    in_python = _in_python(handler, fast_path, slow_path)
    if ACCELERATOR is None or fast_path.origin is not None or type(handler.filters) is not list:
        return in_python
    take: SlowPath = ACCELERATOR.Taker(
        writer=fast_path.writer,
        elsewhere=in_python,
        handler_class=type(handler),
        filters=handler.filters,
        record_class=logging.LogRecord,
        modules=LOADED,
        tracing_module=OPENTELEMETRY,
        own_threads=HomeProcess.own_threads,
        required={event: _own_fields(names) for event, names in fast_path.required.items()},
        level_text=_level_text,
        fork_handled=FORK_HANDLED,
        with_trace=with_trace,
        reserve=os.fsencode(fast_path.writer.reserve),
        limit_step=RESERVE_CHECK_BYTES,
        max_bytes=fast_path.max_bytes,
        check_s=CHECK_S,
        keep_gil=fast_path.keeps_gil,
    ).take
    return take


def _own_fields(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names of required fields; `None` if a record may seem to have them: as `event`, or as logging does."""
    return None if not {"event", *NOT_FIELDS}.isdisjoint(set(names) - {"message"}) else names


def _level_text(name: str, number: int) -> str:
    """Return a level as it stands in a line."""
    text: str = level_name(name, number).lower()
    return text


def _in_python(handler: logging.Handler, fast_path: FastPath, slow_path: SlowPath) -> SlowPath:
    """Return the function without the accelerator. With it, it takes the records that the accelerator leaves."""
    call_sites = _CallSites(fast_path, slow_path)
    find, by_line = call_sites.find, call_sites.by_line
    handler_class, emit, filters = type(handler), type(handler).emit, handler.filters
    modules, plain = LOADED, logging.LogRecord

    def handle(record: logging.LogRecord) -> Any:
        if filters or handler_class.emit is not emit or type(record) is not plain:
            return slow_path(record)
        try:
            members = record.__dict__
            if OPENTELEMETRY in modules:
                members = with_trace(members)
            take = by_line.get(members["lineno"])
        except Exception:  # noqa: BLE001 - unusual: the slow path takes every record
            return slow_path(record)
        if take is not None:
            taken = take(members, record, False)
            if taken is not ELSEWHERE:
                return taken
        take = find(members)
        return slow_path(record) if take is None else take(members, record, True)

    return handle


class _CallSites:
    """The call sites of one handler."""

    def __init__(self, fast_path: FastPath, slow_path: SlowPath) -> None:
        self.by_line: dict[int, Take] = {}
        """By line number, the call site that logged last on a line with this number, in any file."""
        self._fast_path = fast_path
        self._slow_path = slow_path
        self._takes: dict[tuple[str, int, int, int], Take] = {}

    def find(self, members: Members) -> Take | None:
        """Return the function of the call site of a record; `None` if the slow path must take the record.

        A call site is identified by its file, its line, the number of attributes, and the attributes that a formatter
        of another handler added. If a record has this number of attributes, and all field names of the call site, it
        has no other fields. If a field is missing, the function takes the slow path.
        """
        try:
            return self._find(members)
        except Exception:  # noqa: BLE001 - unusual: the slow path takes every record
            return None

    def _find(self, members: Members) -> Take | None:
        path, line = members["pathname"], members["lineno"]
        formatted = ("message" in members) + 2 * ("asctime" in members)
        if formatted and members["args"] is None and split_queued(members) is not None:
            return None
        key = path, line, len(members), formatted
        take = self._takes.get(key)
        if take is None:
            take = self._compiled(members) if len(self._takes) < _MAX_CALL_SITES else None
            if take is None:
                return None
            self._takes[key] = take
        if not formatted and len(self.by_line) < _MAX_CALL_SITES:
            self.by_line[line] = take
        return take

    def _compiled(self, members: Members) -> Take | None:
        site = self._site(members)
        if site is None:
            return None
        encoder, writer, max_bytes, required, *_ = self._fast_path
        return compile_call_site(
            site,
            members,
            writer,
            max_bytes=max_bytes,
            required=required,
            slow_path=self._slow_path,
            own_threads=HomeProcess.own_threads,
            second_text=encoder.second_text,
        )

    def _site(self, members: Members) -> CallSite | None:
        encoder, _, _, required, origin, _ = self._fast_path
        names = tuple(name for name in members if name not in NOT_FIELDS)
        text, level, logger = members["msg"], members["levelname"], members["name"]
        if not (type(text) is type(level) is type(logger) is str) or text[:1] == "{" or "\x1b" in logger:
            return None
        event = members.get("event")
        field_names = names
        if event is not None:
            field_names = tuple(name for name in names if name != "event")
            names = (*field_names, "message")
        event_name = text if event is None else event
        if type(event_name) is not str or not CLASHING.isdisjoint(names):
            return None
        if not set(names).issuperset(required.get(event_name, ())):
            return None
        attributes: tuple[str, ...] = ()
        computed: tuple[Callable[[], Any], ...] = ()
        if origin is not None:
            if not set(names).isdisjoint(origin.names):
                return None
            names = (*origin.names, *names)
            attributes, computed = origin.attributes, origin.computed
        shape = encoder.shape(names)
        if shape is None:
            return None
        return CallSite(
            path=members["pathname"],
            member_count=len(members),
            text=text,
            level=level,
            logger=logger,
            lower_level=level_name(level, members["levelno"]).lower(),
            event=event,
            shape=shape,
            attributes=(*attributes, *field_names),
            computed=computed,
            field_count=len(field_names),
        )
