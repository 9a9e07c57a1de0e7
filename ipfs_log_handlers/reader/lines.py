"""Turn the line of a record into a mapping, or into the JSON that is printed, each with its subsystem.

Where a home has logs of other homes, each record has its origin, too: the name of its log.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

import msgspec

__all__ = ["NO_SEQ", "record_of", "seq_of", "with_subsystem"]

NO_SEQ: Final = 1 << 63
"""Greater than every sequence number, so that a line without a number never counts as shown already."""
_check_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def record_of(line: bytes, subsystem: str, origin: str | None = None) -> dict[str, Any]:
    """Return a record as a mapping, with its `subsystem`; a logged field of that name becomes `subsystem_`.

    With an `origin`, the same is done for that name. A line that is not a JSON object, or that Python cannot read,
    becomes `{"!": reason, "repr": text}`.
    """
    try:
        record = _decode(line)
    except (
        msgspec.MsgspecError,
        ValueError,
        RecursionError,
    ):  # a number too large for a float, half a surrogate
        try:
            return _labelled(line, subsystem, origin)
        except (ValueError, RecursionError, TypeError, AttributeError):
            reason = "too deep or too long for Python" if _is_object(line) else "not JSON"
            return _label({**_marked(line, reason)}, subsystem, origin)
    return _label(record, subsystem, origin)


def seq_of(line: bytes) -> int:
    """Read the sequence number, which is the last key of every line; `NO_SEQ` for a line without one."""
    with suppress(ValueError):
        return int(line[line.rindex(b'"seq":') + 6 : -1])
    return NO_SEQ


def with_subsystem(line: bytes, subsystem: str, origin: str | None = None) -> bytes:
    """Add `subsystem` to the JSON of a record; a logged field of that name becomes `subsystem_`.

    With an `origin`, the same is done for that name. A line that Python cannot read (nested too deep, a number too
    long) only gets these last keys. A line that is not a JSON object, which only a foreign writer can have signed,
    becomes `{"!": "not JSON", "repr": …}`, like other values that JSON cannot represent.
    """
    if not _is_object(line):
        line = json.dumps(_marked(line, "not JSON"), separators=(",", ":")).encode()
    labels = b'"subsystem":"%b"' % subsystem.encode("ascii")
    if origin is not None:
        labels += b',"origin":"%b"' % origin.encode("ascii")
    if b'"' not in line:  # an empty object
        return b"{%b}" % labels
    if b'"subsystem"' in line or (origin is not None and b'"origin"' in line):
        with suppress(ValueError, RecursionError, TypeError, AttributeError):
            return json.dumps(_labelled(line, subsystem, origin), separators=(",", ":"), ensure_ascii=False).encode()
    return b"%b,%b}" % (line[:-1], labels)


def _is_object(line: bytes) -> bool:
    """Return whether a line is a JSON object, or too deeply nested to decide it."""
    if line[:1] != b"{" or line[-1:] != b"}":
        return False
    try:
        _check_json(line)
    except msgspec.DecodeError:
        try:
            json.loads(line, parse_constant=_refuse)  # the decoder accepts a lone surrogate
        except RecursionError:
            return True
        except ValueError:
            return False
    except RecursionError:
        return True
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _marked(line: bytes, reason: str) -> dict[str, str]:
    return {"!": reason, "repr": ascii(line.decode("utf-8", "backslashreplace"))}


def _labelled(line: bytes, subsystem: str, origin: str | None) -> dict[str, Any]:
    return _label(json.loads(line.decode("utf-8", "surrogateescape")), subsystem, origin)


def _label(record: dict[str, Any], subsystem: str, origin: str | None) -> dict[str, Any]:
    if "subsystem" in record:
        record["subsystem_"] = record.pop("subsystem")
    record["subsystem"] = subsystem
    if origin is not None:
        if "origin" in record:
            record["origin_"] = record.pop("origin")
        record["origin"] = origin
    return record
