"""Make the JSON of one record for a list, bounded in size, and the id by which it is asked for again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.server.answers import Refusal, as_text

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Match, Step

__all__ = ["MAX_ITEM_BYTES", "RecordId", "item", "item_text"]

MAX_ITEM_BYTES: Final = 16 * 1024
"""Bytes of a stored record above which a list shows a shortened one."""
_MAX_TEXT: Final = 1000
"""Characters of a text in a shortened record."""
_MAX_NESTED: Final = 2000
"""Characters of the JSON of a list or object in a shortened record."""
_MAX_FIELDS: Final = 40
"""Fields of a shortened record beside the usual ones."""
_MAX_NAME: Final = 200
"""Characters of the name of a field in a shortened record; a field with a longer name is left out."""
_USUAL: Final = frozenset(
    {"time", "level", "logger", "event", "message", "exception", "stack", "subsystem", "origin", "pid", "seq"}
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecordId:
    """The name of a record, which is the same in the spool and in a batch."""

    subsystem: str
    """Its subsystem."""
    time: str
    """Its time, RFC 3339."""
    pid: int
    """Its process."""
    seq: int
    """Its number among the records of that process in the subsystem."""

    def __str__(self) -> str:
        return f"{self.subsystem}~{self.time}~{self.pid}~{self.seq}"

    @classmethod
    def parse(cls, text: str) -> RecordId:
        """Read an id.

        Raises:
            Refusal: it is not an id.
        """
        parts = text.rsplit("~", 3)
        if len(parts) != 4 or not parts[0] or not _TIME.fullmatch(parts[1]):
            raise _no_id(text)
        if not _NUMBER.fullmatch(parts[2]) or not _NUMBER.fullmatch(parts[3]):
            raise _no_id(text)
        return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))

    @classmethod
    def of(cls, record: dict[str, Any]) -> RecordId | None:
        """Return the id of a record; `None` for a record that another program has written in another form."""
        time, pid, seq = (record.get(name) for name in ("time", "pid", "seq"))
        if type(time) is not str or type(pid) is not int or type(seq) is not int or pid < 0 or seq < 0:
            return None
        return cls(record["subsystem"], time, pid, seq) if _TIME.fullmatch(time) else None


def _no_id(text: str) -> Refusal:
    return Refusal(
        400, "not the id of a record", where="id", expected="the `id` that a record of /api/records has", found=text
    )


def item(match: Match, step: Step, *, is_placed: bool = True) -> dict[str, Any]:
    """Return a record as a list shows it.

    Args:
        match: the record.
        step: how far it has come.
        is_placed: whether the match says in which batch it stands.
    """
    record = match.record
    sealed = is_placed and step != "spool"
    shortened = len(match.line) > MAX_ITEM_BYTES
    own = RecordId.of(record)
    return {
        "id": None if own is None else str(own),
        "state": step,
        "log": match.log,
        "batch": match.batch if sealed else None,
        "number": match.number if sealed else None,
        "record": _shortened(record) if shortened else record,
        "shortened": shortened,
    }


def item_text(match: Match, step: Step, *, is_placed: bool = True) -> str:
    """Return the JSON text of the same; a record that is nested too deeply to be written is shown without fields."""
    made = item(match, step, is_placed=is_placed)
    try:
        return as_text(made)
    except RecursionError:
        record = {name: value for name, value in made["record"].items() if isinstance(value, (str, int))}
        return as_text({**made, "record": record, "shortened": True})


def _shortened(record: dict[str, Any]) -> dict[str, Any]:
    """Return the usual fields and the first other ones; long texts are cut, long lists and objects become text."""
    kept: dict[str, Any] = {}
    others = 0
    for name, value in record.items():
        if name not in _USUAL:
            others += 1
            if others > _MAX_FIELDS or len(name) > _MAX_NAME:
                continue
        kept[name] = _short(value)
    return kept


def _short(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        try:
            text = as_text(value)
        except RecursionError:
            return "…"
        return value if len(text) <= _MAX_NESTED else text[:_MAX_TEXT] + "…"
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return value[:_MAX_TEXT] + "…"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > _MAX_TEXT:
        return "…"
    return value
