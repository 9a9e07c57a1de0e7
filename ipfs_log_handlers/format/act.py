"""Encode and decode an act: a signed statement in a log about the log itself, such as a legal hold.

An act is the key `ipfs-logs/act` in `ext` of the manifest of a batch without records. So the chain proves who signed
it, and what was sealed before and after it. Its value is a map:

    act       `hold`, `release`, `prune` or `shred`
    id        16 hex digits, drawn when the act was asked for
    before    number of the batch with the act before it in this log; null: there is none
    time      when it was asked for, µs since 1970
    by        who asked for it, text
    reason    why, text

and the keys of its kind, beside these:

    hold      since, until   bounds of the times of records, µs since 1970; null: no bound
    release   holds          ids of the holds that end
    prune     batches        [log, [[first, last], …]] for each log: numbers of the batches whose payloads are given up
    shred     keys           names of the keys that are destroyed

A reader that knows a later kind of act reads it by its own rules; this one refuses the value, and nothing else of the
batch. docs/formats.md has the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.format.moment import rfc3339

__all__ = [
    "EXT_KEY",
    "MAX_LOGS",
    "MAX_RANGES",
    "MAX_REASON_CHARACTERS",
    "Act",
    "ActKind",
    "Ranges",
    "act_in",
    "bounds_in_words",
    "ranges_of",
]

EXT_KEY: Final = "ipfs-logs/act"
"""Key of an act in `ext` of a manifest."""
ActKind = Literal["hold", "release", "prune", "shred"]
"""What an act says."""
Ranges = tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
"""Batches by log: its name, and first and last number of each run."""
MAX_REASON_CHARACTERS: Final = 500
"""Characters of a reason; the manifest has 16 KiB in all."""
_MAX_BY_CHARACTERS: Final = 200
"""Characters of the name of the person or program."""
MAX_RANGES: Final = 256
"""Runs of batches in one act; further ones are in another act."""
MAX_LOGS: Final = 32
"""Logs in one act."""
_MAX_NAMES: Final = 32
"""Largest number of holds or keys in one act."""
_MAX_NAMES_IN_WORDS: Final = 3
"""Number of these that `words` names."""
_MAX_KEY_CHARACTERS: Final = 160
"""Characters of the name of a key."""
_MAX_NUMBER: Final = 2**63 - 1
"""Largest number in an act: other languages read it as a signed integer of 64 bits."""
_ID: Final = re.compile("[0-9a-f]{16}")
_COMMON: Final = ("act", "id", "before", "time", "by", "reason")
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "hold": ("since", "until"),
    "release": ("holds",),
    "prune": ("batches",),
    "shred": ("keys",),
}
"""The keys of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A statement about a log.

    Raises:
        FormatError: a field is malformed, or is one of another kind.
    """

    act: ActKind
    """Its kind."""
    id: str
    """Sixteen hex digits."""
    time: int
    """When it was asked for, µs since 1970."""
    by: str
    """Who asked for it."""
    reason: str
    """Why."""
    since: int | None = None
    """Of a hold: the time from which records are held, µs since 1970; `None`: no bound."""
    until: int | None = None
    """Of a hold: the time up to which records are held, µs since 1970; `None`: no bound."""
    holds: tuple[str, ...] = ()
    """Of a release: ids of the holds that end."""
    batches: Ranges = ()
    """Of a prune: the batches whose payloads are given up."""
    keys: tuple[str, ...] = ()
    """Of a shred: names of the keys that are destroyed."""

    def __post_init__(self) -> None:
        if self.act not in get_args(ActKind):
            raise FormatError("not an act that this code knows", found=ascii(self.act)[:80])
        if type(self.id) is not str or _ID.fullmatch(self.id) is None:
            raise FormatError("not the id of an act", expected="16 hex digits", found=ascii(self.id)[:80])
        if not _is_number(self.time):
            raise FormatError("not the time of an act", found=ascii(self.time)[:80])
        _check_text("by", self.by, _MAX_BY_CHARACTERS)
        _check_text("reason", self.reason, MAX_REASON_CHARACTERS)
        for bound in (self.since, self.until):
            if bound is not None and not _is_number(bound):
                raise FormatError("not a bound of a hold", found=ascii(bound)[:80])
        if self.since is not None and self.until is not None and self.since > self.until:
            raise FormatError("a hold ends before it begins", expected=rfc3339(self.since), found=rfc3339(self.until))
        _check_names("holds", self.holds, self.act == "release", _ID.fullmatch)
        _check_names("keys", self.keys, self.act == "shred", _is_key)
        if self.act != "hold" and (self.since, self.until) != (None, None):
            raise FormatError("only a hold has bounds", found=self.act)
        if bool(self.batches) != (self.act == "prune"):
            raise FormatError("an act that gives up payloads, and no other, names batches", found=self.act)
        _check_ranges(self.batches)

    def encode(self, before: int | None) -> dict[str, Any]:
        """Return the value for `ext`.

        Args:
            before: number of the batch with the act before it in the same log; `None`: there is none.
        """
        value: dict[str, Any] = {"before": before}
        value |= {name: getattr(self, name) for name in (*_COMMON, *_OWN[self.act]) if name != "before"}
        for name in ("holds", "keys"):
            if name in value:
                value[name] = list(value[name])
        if "batches" in value:
            value["batches"] = [[log, [list(run) for run in runs]] for log, runs in self.batches]
        return value

    @classmethod
    def decode(cls, value: object) -> tuple[Act, int | None]:
        """Read a value of `ext`: the act, and the number of the batch with the act before it.

        Raises:
            FormatError: it is malformed, or an act that this code does not know.
        """
        if not isinstance(value, Mapping) or value.get("act") not in _OWN:
            raise FormatError("not an act that this code knows", found=ascii(value)[:80])
        expected = {*_COMMON, *_OWN[value["act"]]}
        if set(value) != expected:
            raise FormatError("not the keys of an act", expected=sorted(expected), found=ascii(sorted(value))[:200])
        before = value["before"]
        if before is not None and not _is_number(before):
            raise FormatError("not the number of a batch", found=ascii(before)[:80])
        members = {name: value[name] for name in expected if name != "before"}
        for name in ("holds", "keys"):
            if name in members:
                members[name] = _tuple(members[name])
        if "batches" in members:
            members["batches"] = tuple(_runs(entry) for entry in _tuple(members["batches"]))
        return cls(**members), before

    @property
    def words(self) -> str:
        """What it says, in words."""
        if self.act == "hold":
            return f"hold {self.id}: records {bounds_in_words(self.since, self.until)}: {self.reason}"
        if self.act == "release":
            return f"release of hold {_listed(self.holds)}: {self.reason}"
        if self.act == "shred":
            return f"shred of {_listed(self.keys)}: {self.reason}"
        count = sum(last - first + 1 for _, runs in self.batches for first, last in runs)
        return f"prune of {count} {'batch' if count == 1 else 'batches'}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """Return the act as JSON values; times are RFC 3339."""
        value = self.encode(None)
        del value["before"]
        for name in ("time", "since", "until"):
            if value.get(name) is not None:
                value[name] = rfc3339(value[name])
        return value


def act_in(ext: Mapping[str, Any]) -> tuple[Act, int | None] | None:
    """Read the act in `ext` of a manifest, and the number of the one before it; `None` if there is none.

    Raises:
        FormatError: it is malformed, or of a kind that this code does not know.
    """
    value = ext.get(EXT_KEY)
    return None if value is None else Act.decode(value)


def ranges_of(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Join ascending numbers to runs: the first and the last number of each."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return tuple(runs)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES_IN_WORDS
    return ", ".join(names[:_MAX_NAMES_IN_WORDS]) + (f" and {more} more" if more > 0 else "")


def bounds_in_words(since: int | None, until: int | None) -> str:
    """Say from when to when records are held; both bounds in µs since 1970."""
    bounds = [f"since {rfc3339(since)}"] if since is not None else []
    bounds += [f"until {rfc3339(until)}"] if until is not None else []
    return " ".join(bounds) or "of any time"


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def _check_text(name: str, value: object, most: int) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        expected = f"printable text of 1 to {most} characters"
        raise FormatError(f"not the {name!r} of an act", expected=expected, found=ascii(value)[:80])


def _is_key(name: str) -> bool:
    return 1 <= len(name) <= _MAX_KEY_CHARACTERS and name.isprintable()


def _check_names(name: str, values: Sequence[object], wanted: bool, is_right: Any) -> None:  # noqa: FBT001
    right = all(isinstance(value, str) and is_right(value) for value in values)
    if type(values) is not tuple or bool(values) != wanted or len(values) > _MAX_NAMES or not right:
        raise FormatError(f"not the {name!r} of an act", found=ascii(values)[:200])


def _tuple(value: object) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise FormatError("not a list", found=ascii(value)[:80])
    return tuple(value)


def _runs(entry: object) -> tuple[str, tuple[tuple[int, int], ...]]:
    members = _tuple(entry)
    if len(members) != 2:
        raise FormatError("not a log and its batches", found=ascii(entry)[:80])
    return members[0], tuple(_run(run) for run in _tuple(members[1]))


def _run(value: object) -> tuple[int, int]:
    members = _tuple(value)
    if len(members) != 2:
        raise FormatError("not a run of batches", found=ascii(value)[:80])
    return members[0], members[1]


def _check_ranges(batches: Ranges) -> None:
    """Check that each log is named once, and its runs ascend without touching each other."""
    if type(batches) is not tuple or sum(len(runs) for _, runs in batches) > MAX_RANGES:
        raise FormatError("too many runs of batches in one act", expected=f"at most {MAX_RANGES}")
    if len(batches) > MAX_LOGS or len({log for log, _ in batches}) != len(batches):
        raise FormatError("an act names a log twice, or too many logs", expected=f"at most {MAX_LOGS}")
    for log, runs in batches:
        if not isinstance(log, str):
            raise FormatError("not the name of a log", found=ascii(log)[:80])
        key_name_of(log)
        reached = -2
        for first, last in runs:
            if not (_is_number(first) and _is_number(last) and reached + 1 < first <= last):
                raise FormatError("not a run of batches", found=ascii((first, last))[:80], where=log)
            reached = last
        if not runs:
            raise FormatError("a log without a run of batches", where=log)
