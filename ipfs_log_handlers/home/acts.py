"""Keep acts that wait for their batch, read the acts of a log, and say which holds stand.

An act (`format/act.py`) is written to `<subsystem>/acts/<id>`, synced, before it is sealed: from then on it survives a
crash, and whichever process is the keeper seals it as a batch of its own. The head file names it as consumed until its
file is deleted, so that it is sealed once. A hold counts from the moment its file is there; a release only once it is
sealed.

The head names the newest batch with an act, and each act the one before it: reading them takes no other manifest.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import FormatError, HeldError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.act import Act, act_in, bounds_in_words
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.head import ACT_UNKNOWN, NO_ACT
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir

__all__ = [
    "Hold",
    "SealedAct",
    "acts_of",
    "all_acts",
    "consumed_name",
    "draw",
    "find",
    "holds_of",
    "names",
    "newest_act",
    "newest_in",
    "oldest",
    "pending",
    "put",
    "refuse_under_hold",
    "retire",
    "sweep",
]

_NAME: Final = re.compile("[0-9a-f]{16}")
_MAX_BYTES: Final = 64 << 10
"""Bytes of the file of an act that waits."""
_STALE_S: Final = 3600.0
"""Seconds after which the process that wrote a temporary file has died."""
_MAX_READINGS: Final = 3
"""Largest number of readings of the acts of a subsystem, if its log ends and moves in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold that stands."""

    subsystem: str
    """Its subsystem."""
    id: str
    """Sixteen hex digits, by which it is released."""
    since: int | None
    """Time from which records are held, µs since 1970; `None`: no bound."""
    until: int | None
    """Time up to which records are held, µs since 1970; `None`: no bound."""
    reason: str
    """Why it was set."""
    by: str
    """Who set it."""
    set: int
    """When it was set, µs since 1970."""
    log: str | None
    """Log of the batch in which it is sealed; `None`: it waits for its batch, and stands already."""
    index: int | None
    """Number of this batch."""

    def covers(self, first: int, last: int) -> bool:
        """Return whether a record from `first` to `last`, µs since 1970, may be held."""
        return (self.since is None or last >= self.since) and (self.until is None or first <= self.until)

    @property
    def words(self) -> str:
        """The hold in words: `hold 1f2e…: records of any time: lawsuit 12`."""
        return f"hold {self.id}: records {bounds_in_words(self.since, self.until)}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """Return the hold with the keys of `ipfs-logs hold list`; times are RFC 3339."""
        members = {name: getattr(self, name) for name in self.__slots__}
        for name in ("since", "until", "set"):
            if members[name] is not None:
                members[name] = rfc3339(members[name])
        return members


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAct:
    """An act in a batch."""

    act: Act
    """The act."""
    log: str
    """Name of the log."""
    index: int
    """Number of the batch."""
    cid: str
    """CID of its manifest."""
    sealed: int
    """When it was sealed, µs since 1970."""


def draw(act: str, *, reason: str, by: str | None = None, **members: Any) -> Act:
    """Make a new act, with an id that no other has, and the time of now.

    Args:
        act: its kind.
        reason: why.
        by: who asks for it; `None`: the user and the host of this process.
        members: the members of its kind.

    Raises:
        FormatError: a member is malformed.
    """
    now = int(time.time() * 1_000_000)
    who = _user_at_host() if by is None else by
    return Act(act=act, id=os.urandom(8).hex(), time=now, by=who, reason=reason, **members)  # type: ignore[arg-type]


def _user_at_host() -> str:
    import getpass
    import socket

    user = str(os.getuid())
    with suppress(KeyError, OSError, ImportError):  # this user has no name
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"[:200]


# -- acts that wait


def consumed_name(act_id: str) -> str:
    """Return the name under which the head file says that an act is in a batch."""
    return f"act-{act_id}"


def put(subsystem_dir: SubsystemDir, act: Act) -> None:
    """Write an act; on return it survives a crash and a power cut, and the keeper will seal it.

    Raises:
        OSError: the disk refuses; the act is not written.
    """
    directory = subsystem_dir.acts
    existed = disk.is_directory(directory)
    disk.ensure_directory(directory)
    if not existed:
        disk.sync_directory(directory.parent)
    members = act.encode(None)
    disk.replace(directory / act.id, line.record(json.dumps(members, separators=(",", ":")).encode()))


def _ids(subsystem_dir: SubsystemDir) -> list[str]:
    return sorted(name for name in disk.names(subsystem_dir.acts) if _NAME.fullmatch(name))


def _load(path: Path) -> Act:
    try:
        data = disk.read(path, _MAX_BYTES)
        act, _ = Act.decode(json.loads(line.decode(data.removesuffix(b"\n")).json))
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError, disk.WrongFileError) as error:
        raise FormatError(f"an act that waits for its batch cannot be read: {error}", where=path) from error
    if act.id != path.name:
        raise FormatError("an act under a wrong name", where=path, expected=path.name, found=act.id)
    return act


def pending(subsystem_dir: SubsystemDir, consumed: Container[str] = ()) -> list[Act]:
    """Read the acts that wait for their batch, in the order in which they were asked for.

    Args:
        subsystem_dir: the directory of the subsystem.
        consumed: names of those that are in a batch already.

    Raises:
        FormatError: one of them is damaged.
        OSError: one of them cannot be read.
    """
    acts = []
    for name in _ids(subsystem_dir):
        if consumed_name(name) not in consumed:
            with suppress(FileNotFoundError):
                acts.append(_load(subsystem_dir.acts / name))
    return sorted(acts, key=lambda act: (act.time, act.id))


def names(subsystem_dir: SubsystemDir) -> list[str]:
    """Name the acts whose files exist, as the head file names them."""
    return list(map(consumed_name, _ids(subsystem_dir)))


def oldest(subsystem_dir: SubsystemDir, consumed: Container[str]) -> Act | None:
    """Return the oldest act that waits; damaged ones are moved to the quarantine. Only for the keeper.

    Raises:
        OSError: an act cannot be read.
    """
    while True:
        try:
            return next(iter(pending(subsystem_dir, consumed)), None)
        except FormatError:
            if not _quarantine_damaged(subsystem_dir, consumed):
                raise


def _quarantine_damaged(subsystem_dir: SubsystemDir, consumed: Container[str]) -> bool:
    moved = False
    for name in _ids(subsystem_dir):
        if consumed_name(name) in consumed:
            continue
        try:
            _load(subsystem_dir.acts / name)
        except FileNotFoundError:
            continue
        except FormatError:
            disk.ensure_directory(subsystem_dir.quarantine)
            disk.rename(subsystem_dir.acts / name, subsystem_dir.quarantine / consumed_name(name))
            disk.sync_directory(subsystem_dir.quarantine)
            disk.sync_directory(subsystem_dir.acts)
            moved = True
    return moved


def retire(subsystem_dir: SubsystemDir, consumed: Container[str]) -> None:
    """Delete the files of acts that are in a batch; the head must be on the disk already. Synced."""
    gone = [name for name in _ids(subsystem_dir) if consumed_name(name) in consumed]
    for name in gone:
        disk.remove(subsystem_dir.acts / name)
    if gone:
        disk.sync_directory(subsystem_dir.acts)


def sweep(subsystem_dir: SubsystemDir) -> None:
    """Remove files that a process left when it died while it wrote an act; a younger file may be one of a live one."""
    for name in disk.names(subsystem_dir.acts):
        path = subsystem_dir.acts / name
        with suppress(FileNotFoundError):
            if name.endswith(".tmp") and clock.wall() - disk.status(path).st_mtime > _STALE_S:
                disk.remove(path)


# -- acts in batches


def acts_of(log_dir: LogDir) -> list[SealedAct]:
    """Read the acts of one log, oldest first; they are not verified here.

    Raises:
        FormatError: a batch with an act is damaged.
        OSError: it cannot be read.
    """
    return list(reversed(list(_backwards(log_dir))))


def _backwards(log_dir: LogDir) -> Iterator[SealedAct]:
    newest = newest_in(log_dir)
    index = None if newest is None else newest[1]
    while index is not None:
        header = log_dir.sealed_batches.facts(index)
        read = act_in(header.manifest.ext)
        if read is None:
            raise FormatError("a batch has no act, although the one after it says so", where=log_dir.path, found=index)
        act, before = read
        yield SealedAct(
            act=act, log=header.manifest.log, index=index, cid=header.cid.text, sealed=header.manifest.sealed
        )
        if before is not None and before >= index:
            raise FormatError("an act names a later one as the one before it", where=log_dir.path, found=before)
        index = before


def newest_act(log_dir: LogDir) -> int:
    """Find the newest batch with an act by its manifest, from the newest on; `NO_ACT` if there is none.

    This reads every manifest, and is only for a log whose head does not say it.
    """
    state = log_dir.head_state()
    newest = max(log_dir.sealed_batches.credible_indexes(), default=-1) if state is None else state.index
    for index in range(newest, -1, -1):
        with suppress(FormatError, OSError):
            if act_in(log_dir.sealed_batches.manifest(index).ext) is not None:
                return index
    return NO_ACT


def newest_in(log_dir: LogDir) -> tuple[str, int] | None:
    """Return the name of a log and the number of its newest batch with an act; `None` if it has none.

    Raises:
        OSError: the head cannot be read.
    """
    state = log_dir.head_state()
    index = newest_act(log_dir) if state is None or state.act == ACT_UNKNOWN else state.act
    if index < 0:
        return None
    return (state.log if state is not None else str(log_dir.name())), index


def all_acts(subsystem_dir: SubsystemDir) -> list[SealedAct]:
    """Read the acts of all logs of a subsystem, oldest first; raises as `acts_of`."""
    for _ in range(_MAX_READINGS):
        log_dirs = LogDir.all_of(subsystem_dir)
        try:
            acts = [act for log_dir in log_dirs for act in acts_of(log_dir)]
        except FileNotFoundError:
            if log_dirs == LogDir.all_of(subsystem_dir):
                raise
            continue
        if log_dirs == LogDir.all_of(subsystem_dir):  # otherwise the current log ended and moved during the reading
            return acts
    return [act for log_dir in LogDir.all_of(subsystem_dir) for act in acts_of(log_dir)]


def find(subsystem_dir: SubsystemDir, act_id: str) -> SealedAct | None:
    """Find the batch with an act; `None` if there is none. Raises as `acts_of`."""
    for log_dir in reversed(LogDir.all_of(subsystem_dir)):
        for sealed in _backwards(log_dir):
            if sealed.act.id == act_id:
                return sealed
    return None


# -- holds


def holds_of(subsystem_dir: SubsystemDir) -> tuple[Hold, ...]:
    """List the holds of a subsystem that stand now, oldest first: in any of its logs, or waiting for their batch.

    Raises:
        FormatError: a batch with an act, or an act that waits, is damaged: then it is not known what is held.
        OSError: it cannot be read.
    """
    waiting = pending(subsystem_dir)  # before the batches: an act is in a batch before its file is deleted
    acts = all_acts(subsystem_dir)
    released = {hold for sealed in acts for hold in sealed.act.holds}
    found: dict[str, Hold] = {}
    places: Sequence[tuple[Act, str | None, int | None]] = [
        *((sealed.act, sealed.log, sealed.index) for sealed in acts),
        *((act, None, None) for act in waiting),
    ]
    for act, log, index in places:
        if act.act == "hold" and act.id not in released and act.id not in found:
            found[act.id] = Hold(
                subsystem=subsystem_dir.name,
                id=act.id,
                since=act.since,
                until=act.until,
                reason=act.reason,
                by=act.by,
                set=act.time,
                log=log,
                index=index,
            )
    return tuple(found.values())


def refuse_under_hold(
    subsystem_dir: SubsystemDir, what: str, *, first: int | None = None, last: int | None = None
) -> None:
    """Raise an error if a hold stands over records of a subsystem.

    Args:
        subsystem_dir: the directory of the subsystem.
        what: what is refused then, for the error: `shred of audit/2026-03`.
        first: time of the first record that is concerned, µs since 1970; `None`: no bound.
        last: time of the last one; `None`: no bound.

    Raises:
        HeldError: a hold stands.
        FormatError, OSError: as `holds_of`.
    """
    bounds = (0 if first is None else first, 2**63 - 1 if last is None else last)
    for hold in holds_of(subsystem_dir):
        if hold.covers(*bounds):
            raise HeldError(
                f"{what} is refused: a legal hold stands",
                where=subsystem_dir.name,
                found=f"hold {hold.id}: {hold.reason}",
                hint=f"`ipfs-logs hold release {subsystem_dir.name} {hold.id}` ends it.",
            )
