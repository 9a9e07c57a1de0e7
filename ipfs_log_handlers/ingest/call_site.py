"""Compile the function that takes the plain records of one call site, a line of the program that logs.

The function goes from the attributes of a LogRecord to a line in the segment without a call into another module of this
package. It is compiled from source text, as `dataclasses` does it, because only then the checks of the values can be
written out for the types that this call site logs. Names of fields never enter the source as code.

It appends as `Writer.put` does, and each line of the one must stay true in the other.
"""

from __future__ import annotations

import errno
import linecache
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import floor
from operator import itemgetter
from types import CodeType
from typing import Any, Final, NamedTuple

from ipfs_log_handlers.concurrency.clock import monotonic
from ipfs_log_handlers.concurrency.fork import FORK_HANDLED
from ipfs_log_handlers.concurrency.threads import is_owned
from ipfs_log_handlers.format.line import crc32
from ipfs_log_handlers.format.record import Shape, split_time
from ipfs_log_handlers.format.values import LEAVES, check_value
from ipfs_log_handlers.ingest.fields import level_name
from ipfs_log_handlers.spool.writer import Writer

__all__ = ["ELSEWHERE", "CallSite", "Members", "Take", "compile_call_site"]

Members = dict[str, Any]
"""The attributes of a LogRecord by name."""
Take = Callable[..., Any]
"""Takes the attributes of a record, the record, and whether the record is known to be of this call site. Returns what
`Handler.handle` returns, or `ELSEWHERE`."""
ELSEWHERE: Final = object()
"""Returned for a record of another call site, to which nothing was done."""

_ATTRIBUTES: Final = (
    "thread", "process", "msg", "args", "exc_info", "exc_text", "stack_info", "created", "levelname", "name", "pathname"
)  # fmt: skip
_THREE_DIGITS: Final = tuple(f"{number:03}" for number in range(1000))
_MAX_CODES: Final = 512
"""Number of compiled sources that are kept; call sites with as many values of the same types share one."""
_MAX_KEYS: Final = 8
"""Number of keys up to which the check of a dict is written out."""
_MAX_KEY_CHARS: Final = 100
"""Characters of such a key, to bound the memory of the sources."""
_WRITTEN_OUT: Final = frozenset((str, int, bool))
"""Types whose check is written out as `type(value) is …`."""


class CallSite(NamedTuple):
    """The values that stay the same in all records of a line of the program that logs."""

    path: str
    """Its file."""
    member_count: int
    """Number of attributes of its records."""
    text: str
    """The message, before arguments, of its first record."""
    level: str
    """Name of the level of that record."""
    logger: str
    """Name of the logger of that record."""
    lower_level: str
    """Name of that level in lower case, as in the line."""
    event: str | None
    """The field `event`, the same in all its records; `None` if they have none, and the message is the event."""
    shape: Shape
    """Encodes records with these field names."""
    attributes: tuple[str, ...]
    """Attributes of a record with the values of the origin and of the fields, in this order, without `event`."""
    computed: tuple[Callable[[], Any], ...]
    """Functions that return further values of the origin; in a line they stand before those of the fields."""
    field_count: int
    """Number of attributes, at the end, that are fields."""


class _NotPlainError(Exception):
    """The fast path cannot take this record."""


NAMES: Final[dict[str, Any]] = {
    "ELSEWHERE": ELSEWHERE,
    "FORK_HANDLED": FORK_HANDLED,
    "LEAVES": LEAVES,
    "NotPlainError": _NotPlainError,
    "check_value": check_value,
    "crc32": crc32,
    "digits": _THREE_DIGITS,
    "errno": errno,
    "floor": floor,
    "is_owned": is_owned,
    "level_name": level_name,
    "monotonic": monotonic,
    "os": os,
    "split_time": split_time,
}
"""The global names of the compiled functions."""

_SOURCE: Final = """
def bind(site, read, writer, max_bytes, required, slow_path, own_threads, second_text):
    site_path, member_count, site_text, site_level, site_logger, site_lower_level, site_event = site[:7]
    (kind, encode), computed = site.shape, site.computed
    now = 0, second_text(0)

    def take(members, record, is_of_this_site):
        nonlocal now
        try:
            thread, process, text, args, exc_info, exc_text, stack, created, level, logger, path, {read} = read(members)
            if (path is not site_path or len(members) != member_count) and not is_of_this_site:
                return ELSEWHERE
            if exc_info or exc_text or stack or thread in own_threads:
                raise NotPlainError
            segments = writer.segments
            if process != segments.pid and process is not None:
                raise NotPlainError
            lower_level = site_lower_level
            if text is not site_text or level is not site_level or logger is not site_logger:
                if text.__class__ is not str or text[:1] == "{{":
                    raise NotPlainError
                if logger is not site_logger and (logger.__class__ is not str or "\\x1b" in logger):
                    raise NotPlainError
                if level is not site_level:
                    lower_level = level_name(level, members["levelno"]).lower()
            event = text % args if args else text
            {check_event}
            {compute}
            second, beginning = now
            micros = floor((created - second) * 1e6 + 0.5)
            if not 0 <= micros < 1_000_000:
                second, micros = split_time(created)
                beginning = second_text(second)
                now = second, beginning
            time = f"{{beginning}}{{digits[micros // 1000]}}{{digits[micros % 1000]}}Z"
            is_plain = FORK_HANDLED[0] and not writer.is_inside()
        except Exception as error:
            if not is_of_this_site and type(error) is KeyError and members.get("pathname") is not site_path:
                return ELSEWHERE  # a line with this number in another file, without the fields of this one
            is_plain = False
        if not is_plain:
            return slow_path(record)  # not inside the `except`: there, `exc_info=True` would mean our own exception
        is_taken, lock = False, writer.lock
        try:
            lock.acquire()
            segments = writer.segments
            segment = segments.current
            if (
                segment is not None
                and (segment.size < segments.limit or segments.may_grow(segment))
                and (monotonic() < segments.check_at or segments.is_ours(segment))
            ):
                seq = segments.seq + 1
                try:
                    {check_values}
                    json = encode(kind(time, lower_level, logger, {values}, segments.pid, seq))
                except Exception:
                    json = b""  # the slow path takes what this encoder cannot
                if json and len(json) <= max_bytes:
                    written, whole_line = 0, b"%08x %b\\n" % (crc32(json), json)
                    try:
                        segments.seq = seq
                        written = os.write(segment.descriptor, whole_line)
                        segment.size += written
                        if written != len(whole_line):
                            raise OSError(errno.ENOSPC, "a short write")
                        is_taken = True
                    except BaseException as error:
                        prefix = json[: json.rindex(b',"pid":')]
                        is_taken = not writer.handle_failure(
                            prefix, segments, segment, seq, len(whole_line), written, error
                        )
            while is_taken and writer.reentrant:
                writer.put(writer.reentrant.popleft())
        except BaseException:
            if is_owned(lock):
                lock.release()
            raise
        lock.release()  # no call stands between this and the `try`: there CPython raises no exception of a signal
        if not is_taken:
            return slow_path(record)
        if writer.reentrant:  # a signal came while the lock was being released
            writer.append_reentrant()
        if writer.after_append is not None:
            writer.after_append()
        return record

    return take
"""


def compile_call_site(
    site: CallSite,
    members: Members,
    writer: Writer,
    *,
    max_bytes: int,
    required: Mapping[str, tuple[str, ...]],
    slow_path: Callable[[Any], Any],
    own_threads: set[int],
    second_text: Callable[[int], str],
) -> Take:
    """Compile the function that takes the records of a call site.

    Args:
        site: the call site.
        members: the attributes of one of its records; checks are written out for the types of their values.
        writer: appends the records.
        max_bytes: bytes of the longest JSON.
        required: by event, its required fields.
        slow_path: takes a record that is not plain.
        own_threads: identifiers of threads whose records are not the program's.
        second_text: returns the RFC 3339 text of a second, up to the point.
    """
    own = site.attributes[: len(site.attributes) - site.field_count]
    fields = site.attributes[len(own) :]
    read = [f"v{number}" for number in range(len(site.attributes))]
    computed = [f"c{number}" for number in range(len(site.computed))]
    names = [*read[: len(own)], *computed, *read[len(own) :]]
    sample = [
        *(members[name] for name in own),
        *(compute() for compute in site.computed),
        *(members[f] for f in fields),
    ]
    if site.event is not None:
        check_event = "if own_event != site_event or event == site_event: raise NotPlainError"
    elif required:
        check_event = "if (args or text is not site_text) and event in required: raise NotPlainError"
    else:
        check_event = "pass"
    source = _SOURCE.format(
        read=", ".join([*read, *(["own_event"] if site.event is not None else [])]),
        check_event=check_event,
        compute="; ".join(f"{name} = computed[{number}]()" for number, name in enumerate(computed)) or "pass",
        check_values=f"\n{' ' * 20}".join(_checks(names, sample)),
        values=", ".join(["event", *names] if site.event is None else ["site_event", *names, "event"]),
    )
    bound: dict[str, Any] = {}
    exec(_code(source), NAMES, bound)  # noqa: S102 - only the text above
    attributes = (*_ATTRIBUTES, *site.attributes, "event")
    reader = itemgetter(*(attributes if site.event is not None else attributes[:-1]))
    take: Take = bound["bind"](site, reader, writer, max_bytes, required, slow_path, own_threads, second_text)
    return take


@lru_cache(maxsize=_MAX_CODES)
def _code(source: str) -> CodeType:
    """Compile a source, and let tracebacks and debuggers show its lines."""
    file_name = f"{__file__}#{crc32(source.encode()):08x}"
    linecache.cache[file_name] = len(source), None, source.splitlines(keepends=True), file_name
    return compile(source, file_name, "exec")


def _checks(names: list[str], sample: list[Any]) -> list[str]:
    """Return statements that raise for values which the encoder would change.

    They are cheap for values of the types that the call site has logged before, and right for all others.
    """
    usual: list[str] = []
    statements: list[str] = []
    for name, value in zip(names, sample, strict=True):
        kind = type(value)
        if kind in _WRITTEN_OUT:
            usual.append(f"type({name}) is {kind.__name__}")
        elif value is None:
            usual.append(f"{name} is None")
        elif kind is float:
            usual.append(f"type({name}) is float and {name} - {name} == 0.0")
        elif kind is dict and _is_simple(value):
            usual.append(f"type({name}) is dict")
            statements.append(_check_of_dict(name, value))
        else:
            statements.append(f"if type({name}) not in LEAVES: check_value({name})")
    if usual:
        every = "".join(f"{name}, " for name in names)
        statements[:0] = [
            f"if not ({' and '.join(usual)}):",
            f"    for value in ({every}):",
            "        if type(value) not in LEAVES: check_value(value)",
        ]
    return statements or ["pass"]


def _is_simple(value: dict[Any, Any]) -> bool:
    return len(value) <= _MAX_KEYS and all(
        type(key) is str and len(key) <= _MAX_KEY_CHARS and type(inner) in _WRITTEN_OUT for key, inner in value.items()
    )


def _check_of_dict(name: str, value: dict[str, Any]) -> str:
    """Return statements that check a dict with the keys of this one quickly; another one is checked whole.

    The value is a dict or was checked before. A dict with as many keys, and all of these, has no other key.
    """
    types = "".join(f" or type({name}[{key!r}]) is not {type(inner).__name__}" for key, inner in value.items())
    indent = "\n" + " " * 20
    return indent.join(
        (
            "try:",
            f"    is_known = len({name}) == {len(value)}" + (f" and not ({types[4:]})" if types else ""),
            "except (KeyError, TypeError):",
            "    is_known = False",
            f"if not is_known and type({name}) not in LEAVES: check_value({name})",
        )
    )
