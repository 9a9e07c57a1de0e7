"""Decide which log a keeper continues, and when it must begin a new one (docs/home.md 10).

No index is ever signed twice. So if the head is lost, copied or rolled back, the log ends: its files move to `former/`,
and a new log begins. Its first manifest contains the old checkpoint as evidence. Lines that the old log had consumed
stay consumed. If the head was set back, batches after it are still part of the old log: the old log gets a head that
names them, only for readers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, FormatError, HomeError
from ipfs_log_handlers.format import encryption
from ipfs_log_handlers.format.act import act_in
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.home import acts, disk, head, key_changes, lock, volume
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.last_seqs import LastSeqs
from ipfs_log_handlers.home.layout import HomeDir, LogPaths, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir, note_end
from ipfs_log_handlers.keeper.restored import ended_before, sort_batches
from ipfs_log_handlers.spool.scan import Spool

__all__ = [
    "COPIED",
    "EndedLog",
    "LogState",
    "UnsettledError",
    "changed_batches",
    "end_log",
    "end_on_request",
    "has_settled",
    "note_sealed",
    "reasons_to_end",
    "resume_or_end",
    "sealed_through",
]

_FIRST_BATCHES: Final = 10
"""Batches that a keeper looks at when it takes over a log: a restore that goes on after a log has begun puts others
there."""
_COPIED_HEAD: Final = "the head file is a copy: the home was copied, or a backup was copied back"
_COPIED_HOME: Final = "the home was copied"
_OTHER_MACHINE: Final = "the home came from another machine"
_OTHER_KEY: Final = "the key has changed"
_KEY_CHANGED: Final = "the key was changed, by keys rotate"
_STORE_HAS_MORE: Final = "a store has batches after the newest one in the head"
COPIED: Final = frozenset((_COPIED_HEAD, _COPIED_HOME, _OTHER_MACHINE))
"""Reasons for which the log of a home that was moved ends, too."""
_SAYS_NOTHING_OF_FILES: Final = (_OTHER_MACHINE, _OTHER_KEY, _KEY_CHANGED, _STORE_HAS_MORE)
"""Reasons for the end of a log that do not show a backup which is copied back just now: no file is waited for."""
_QUIET_S: Final = 1.0
"""Seconds for which head and batches must stay as they are before a log ends: a backup may be copied back just now."""
_sealed_here: Final[dict[str, int]] = {}
"""By log: number of the newest batch that this process has sealed."""


class UnsettledError(HomeError):
    """The log must end, but its files have changed a moment ago: others may still be on their way. Try again soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """The state of a log when a process becomes its keeper."""

    sealed: HeadState | None
    """The newest head; `None`: a new log begins with the next batch."""
    inherited: HeadState | None = None
    """The head of the log before a new one, for its offsets and counts; `None` if there is none or it is lost."""
    evidence: bytes | None = None
    """The last signed checkpoint of the log before a new one."""
    key_changes: tuple[bytes, ...] = ()
    """The notes that lead from the key of that log to the key of the new one; they have the same checkpoint."""
    sealed_through: Mapping[str, int] = field(default_factory=dict)
    """Last sequence number of each writer in the batches of a log whose head was lost."""
    archived: frozenset[str] = frozenset()
    """Names of the archives in these batches."""
    reason: str | None = None
    """The reason why a new log begins although there was another one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedLog:
    """A log that `Home.new_log` has ended."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log; empty when its head is lost."""
    path: Path
    """The directory that has its files now."""

    def as_json(self) -> dict[str, Any]:
        """Return the log with the keys of `ipfs-logs keys new-log`."""
        return {"subsystem": self.subsystem, "ended": self.log, "moved_to": str(self.path)}


def resume_or_end(subsystem_dir: SubsystemDir, key_name: str | None) -> LogState:
    """Return the state of the log of a subsystem; if it cannot be continued, first end it.

    Args:
        subsystem_dir: the subsystem's directory, which exists. The caller holds the keeper's lock.
        key_name: name of the home's key; `None` if it has none yet.

    Raises:
        UnsettledError: the log must end, and its files have changed within the last second.
        OSError: the disk refuses.
    """
    log_dir = LogDir.current_of(subsystem_dir)
    try:
        sealed = log_dir.load_head()
        reason = None if sealed is None else _reason_to_end(subsystem_dir, sealed, key_name)
        if sealed is None and not _never_began(subsystem_dir) and not log_dir.sealed_batches.is_empty():
            reason = "the head is missing, although the log has batches"
    except FormatError:
        sealed, reason = None, "the head is damaged"
    if reason is not None:
        if reason not in _SAYS_NOTHING_OF_FILES and not has_settled(subsystem_dir):
            raise UnsettledError(f"{reason}; files of the log still change", where=subsystem_dir.path)
        _end_for(subsystem_dir, sealed, reason)
        sealed = None
    disk.remove(subsystem_dir.beginning)
    former = LogDir.former_of(subsystem_dir)
    if sealed is None and former:
        key_changes.move(log_dir, former[-1], key_name)
    key_changes.forget(log_dir)
    if sealed is not None:
        return LogState(sealed=sealed)
    if not former:
        return LogState(sealed=None, reason=reason)
    changes = key_changes.between(former[-1], key_changes.end_of(former[-1]), key_name)
    return replace(_state_after(former, reason), key_changes=tuple(change.note for change in changes))


def _end_for(subsystem_dir: SubsystemDir, sealed: HeadState | None, reason: str) -> None:
    """End the log for a reason. What a backup has brought back of other logs goes to the directories of these."""
    if sealed is None:
        note_end(end_log(subsystem_dir, None), reason)
        return
    again = ended_before(subsystem_dir, sealed.log)
    if not again:
        sealed = _bring_head_forward(subsystem_dir, sealed)
    touched = sort_batches(subsystem_dir, keep=None if again else sealed.log)
    if again:
        _drop_current(subsystem_dir)
    else:
        touched.append(end_log(subsystem_dir, sealed))
    for log_dir in touched:
        if log_dir.ended() is None:
            note_end(log_dir, reason)
    if again or len(touched) > 1:
        _carry_over(subsystem_dir, sealed)


def _drop_current(subsystem_dir: SubsystemDir) -> None:
    """Remove the head of a log that had ended before and was brought back; its batches lie where it ended."""
    current = subsystem_dir.current
    for name in disk.names(current.shipped):
        disk.remove(current.shipped / name)
    disk.remove(current.head)
    disk.sync_directory(subsystem_dir.path)


def _carry_over(subsystem_dir: SubsystemDir, sealed: HeadState) -> None:
    """Let the head of the newest ended log say what of the spool is in batches, so that nothing is sealed again."""
    former = LogDir.former_of(subsystem_dir)
    through, archived = _sealed_in(former)
    offsets = Counter(Spool(subsystem_dir).offsets_after(through))
    dropped: Counter[str] = Counter()
    records = 0
    for log_dir in former:
        for manifest in log_dir.manifests():
            records += manifest.records
            dropped.update(manifest.dropped)
    newest = former[-1]
    state = newest.head_state()
    if state is not None:
        consumed = Counter(state.consumed) | Counter(sealed.consumed) | offsets
        carried = replace(
            state,
            consumed={**consumed, **dict.fromkeys(archived, 1)},
            records=max(records, state.records, sealed.records),
            dropped=dict(Counter(state.dropped) | Counter(sealed.dropped) | dropped),
            quarantined=max(state.quarantined, sealed.quarantined),
        )
        head.store(newest.head, carried, original=False)


def has_settled(subsystem_dir: SubsystemDir) -> bool:
    """Check that head and batches have not changed for a second: a backup is copied back file by file.

    The kernel sets the time of change, which no copy keeps. A time in the future, after the clock was set back, counts
    as long ago.
    """
    current = LogDir.current_of(subsystem_dir)
    changed = volume.last_change(subsystem_dir.current.batches)
    with suppress(FileNotFoundError):
        changed = max(changed, disk.status(current.head).st_ctime)
    return not 0 <= clock.wall() - changed < _QUIET_S


def end_on_request(home: HomeDir, subsystem_dir: SubsystemDir) -> EndedLog:
    """End the log of a subsystem, though it could go on; the next batch begins a new one.

    Raises:
        ConfigurationError: the subsystem has no log.
        HomeError: another process is the keeper.
    """
    held = lock.take_or_explain(home, "Stop that process first, then run this again.")
    try:
        current = LogDir.current_of(subsystem_dir)
        sealed = current.head_state()
        if sealed is None and current.sealed_batches.is_empty():
            raise ConfigurationError(f"{subsystem_dir.name} has no log that could end")
        log_dir = end_log(subsystem_dir, sealed)
        note_end(log_dir, "on request, by keys new-log")
    finally:
        held.release()
    return EndedLog(subsystem=subsystem_dir.name, log=sealed.log if sealed is not None else "", path=log_dir.path)


def _never_began(subsystem_dir: SubsystemDir) -> bool:
    """Return whether a keeper died during the first batch of a log: its lines are still in the spool."""
    batches = Batches(subsystem_dir.current.batches)
    if not disk.exists(subsystem_dir.beginning):
        return False
    written = _written_at_once(batches, 0)
    if any(index >= written for index in batches.indexes()):
        return False
    batches.remove_above(-1)
    return True


def _written_at_once(batches: Batches, first: int) -> int:
    """Return how many batches a keeper that was killed may have written from a number on: one, or a group."""
    if not disk.exists(batches.file(first)):
        return 1
    with suppress(FormatError, OSError):
        number, size = encryption.group_of(batches.facts(first).manifest) or (1, 1)
        return size if number == 1 else 1
    return 1


def _has_begun_group(current: LogDir, sealed: HeadState) -> bool:
    """Return whether the batches above a head are those of one group, which is allowed where one batch is."""
    after = sealed.index + 1 + _written_at_once(current.sealed_batches, sealed.index + 1)
    return not any(_later_batches(current, sealed, after))


def _reason_to_end(subsystem_dir: SubsystemDir, sealed: HeadState, key_name: str | None) -> str | None:
    """Return the reason why no batch may follow this head; `None` if a batch may follow."""
    return next(reasons_to_end(subsystem_dir, sealed, key_name), None)


def reasons_to_end(subsystem_dir: SubsystemDir, sealed: HeadState, key_name: str | None) -> Iterator[str]:
    """Yield the reasons why no batch may follow a head, the one that `ended` names first.

    Args:
        subsystem_dir: the subsystem's directory. The caller holds the keeper's lock.
        sealed: its head.
        key_name: name of the home's key; `None` if it has none.
    """
    current = LogDir.current_of(subsystem_dir)
    if _sealed_here.get(sealed.log, -1) > sealed.index:
        yield "the head was set back: this process has sealed later batches"
    if not head.is_original(current.head, sealed):
        yield _COPIED_HEAD
    # A crash can leave one batch, or a group, above the head: written, and never sealed. But a head that was restored
    # as a hard link, from a backup that consists of links, has the identity of the original file.
    has_second_name = head.has_second_name(current.head)
    beyond = sealed.index + (1 if has_second_name else 2)
    if any(_later_batches(current, sealed, beyond)) and (has_second_name or not _has_begun_group(current, sealed)):
        yield "there are batches after the newest one in the head"
    if _has_batches_of_others(current.sealed_batches, sealed):
        yield "a backup of another log was copied into the log"
    machine = volume.machine_id()
    if sealed.machine and machine and sealed.machine != machine:
        yield _OTHER_MACHINE
    if sealed.inode != disk.status(subsystem_dir.path).st_ino:
        yield _COPIED_HOME
    if key_name is None or key_name_of(sealed.log) != key_name:
        notes = key_changes.between(current, key_changes.end_of(current), key_name)
        yield _KEY_CHANGED if notes else _OTHER_KEY
    states = current.delivery_states(sealed.log).values()
    if any(max((state.confirmed_through, *state.confirmed_after)) > sealed.index for state in states):
        yield _STORE_HAS_MORE
    changed = changed_batches(current.sealed_batches, sealed, _FIRST_BATCHES)
    if changed is not None:
        yield changed


def _has_batches_of_others(batches: Batches, sealed: HeadState) -> bool:
    """Return whether a batch above the head belongs to another log; the keeper would delete it."""
    for index in sorted({int(path.name.partition(".")[0]) for path in batches.files_from(sealed.index + 1)}):
        with suppress(FormatError, FileNotFoundError):
            if batches.facts(index).manifest.log != sealed.log:
                return True
    return False


def changed_batches(batches: Batches, sealed: HeadState, first: int = 1) -> str | None:
    """Return why the batches are not those of a head any more; `None` when they are.

    Looks at the newest batch and at the first ones: a backup that is copied over a log has the first batches of its own
    log.

    Args:
        batches: the batches.
        sealed: the head.
        first: how many batches are looked at from the first one on.
    """
    try:
        newest = batches.facts(sealed.index)
    except FileNotFoundError:
        return "the newest batch is missing"
    except FormatError:
        return "the newest batch is damaged"
    if newest.cid != sealed.head.manifest:
        return "the newest batch is another one: a backup was copied over the log"
    for index in range(min(first, sealed.index)):
        with suppress(OSError, FormatError):
            if batches.facts(index).manifest.log != sealed.log:
                return f"batch {index} is one of another log: a backup was copied over the log"
    return None


def note_sealed(sealed: HeadState) -> None:
    """Remember the newest sealed batch of a log in this process, so that a head that was set back is noticed."""
    _sealed_here[sealed.log] = sealed.index


def _bring_head_forward(subsystem_dir: SubsystemDir, sealed: HeadState) -> HeadState:
    """Replace the head of a log that ends by one that names its newest batch; return the head.

    After a backup was copied back, the head is older than some batches in the directory. Their records are in the
    chain: readers see them, and no line of a segment from the backup is sealed again. The new head is not an original,
    so if the keeper is killed before the log has ended, the next keeper ends it.
    """
    log_dir = LogDir.current_of(subsystem_dir)
    headers = list(_later_batches(log_dir, sealed, sealed.index + 1))
    if headers and not log_dir.sealed_batches.is_whole(headers[-1]):
        headers.pop()  # a crash may have cut the newest file; its lines are still in the spool
    _drop_begun_group(Spool(subsystem_dir), headers)
    if not headers:
        return sealed
    newest = headers[-1]
    dropped = Counter(sealed.dropped)
    through, archived = _sealed_in(LogDir.all_of(subsystem_dir))
    consumed = Counter(sealed.consumed) | Counter(Spool(subsystem_dir).offsets_after(through))
    for header in headers:
        dropped.update(header.manifest.dropped)
    forward = replace(
        sealed,
        index=newest.manifest.index,
        block=newest.head.encode(),
        consumed={**consumed, **dict.fromkeys(archived, 1)},
        records=sealed.records + sum(header.manifest.records for header in headers),
        dropped=dict(dropped),
        act=head.ACT_UNKNOWN,
    )
    return head.store(log_dir.head, forward, original=False)


def _drop_begun_group(spool: Spool, headers: list[BatchHeader]) -> None:
    """Drop the last batches if they begin a group that was not sealed: its lines are still in the spool."""
    begun = len(headers)
    while begun and (group := encryption.group_of(headers[begun - 1].manifest)) and group[0] < group[1]:
        begun -= 1
    lasts = {writer: last for header in headers[begun:] for writer, _, _, last in header.manifest.sources}
    if lasts and spool.offsets_after(lasts):
        del headers[begun:]


def _later_batches(log_dir: LogDir, sealed: HeadState, first: int) -> Iterator[BatchHeader]:
    """Yield the readable batches of a log from a number after its head on."""
    batches = log_dir.sealed_batches
    present = {int(path.name.split(".")[0]) for path in batches.files_from(first)}
    for header in log_dir.batch_headers(sorted(present)):
        if header.manifest.log == sealed.log:
            yield header


def end_log(subsystem_dir: SubsystemDir, sealed: HeadState | None) -> LogDir:
    """Move the files of the current log to a directory in `former/`, and return this directory.

    The head is moved last. After a crash in between, the next keeper moves the other files into the same directory,
    which has a part of the log's name.

    Args:
        subsystem_dir: the subsystem's directory. The caller holds the keeper's lock.
        sealed: its head; `None` if it is lost.

    Raises:
        OSError: the disk refuses.
    """
    name = sealed.log if sealed is not None else LogDir.current_of(subsystem_dir).name()
    suffix = os.urandom(4).hex() if name is None else name[-8:]
    halfway = [
        log_dir
        for log_dir in LogDir.former_of(subsystem_dir)
        if log_dir.path.name.endswith(suffix) and not disk.exists(log_dir.head)
    ]
    to = halfway[-1] if halfway else LogDir(subsystem_dir.next_former(suffix).path)
    disk.ensure_directory(subsystem_dir.former)
    disk.ensure_directory(to.path)
    current = subsystem_dir.current
    for old, new in zip(_files_of(current), _files_of(to), strict=True):
        with suppress(FileNotFoundError):
            disk.rename(old, new)
        disk.sync_directory(to.path)
        disk.sync_directory(subsystem_dir.path)
    return to


def _files_of(log: LogPaths) -> tuple[Path, ...]:
    return log.batches, log.shipped, log.head


def _state_after(log_dirs: Sequence[LogDir], reason: str | None) -> LogState:
    """Return the state of a log that begins after the logs in these directories, oldest first."""
    inherited = log_dirs[-1].head_state()
    if inherited is not None:
        return LogState(sealed=None, inherited=inherited, evidence=inherited.head.checkpoint, reason=reason)
    evidence: bytes | None = None
    for log_dir in log_dirs:
        for header in log_dir.batch_headers():
            evidence = header.head.checkpoint
    through, archived = _sealed_in(log_dirs)
    return LogState(
        sealed=None,
        evidence=evidence,
        sealed_through=through,
        archived=frozenset(archived),
        reason=reason,
    )


def sealed_through(subsystem_dir: SubsystemDir) -> dict[str, int]:
    """Return the last sequence number of each writer in all batches of a subsystem; reads every manifest."""
    return _sealed_in(LogDir.all_of(subsystem_dir))[0]


def _sealed_in(log_dirs: Sequence[LogDir]) -> tuple[dict[str, int], set[str]]:
    """Return the last sequence number of each writer in these logs, and the names of their archives and acts.

    All logs count, because only an older one may have the lines of a segment.
    """
    seqs = LastSeqs()
    archived: set[str] = set()
    for log_dir in log_dirs:
        for manifest in log_dir.manifests():
            if not manifest.payload_encoding.has_records:
                archived.add(str(manifest.meta.get("archive")))
            with suppress(FormatError):
                read = act_in(manifest.ext)
                archived.update([] if read is None else [acts.consumed_name(read[0].id)])
            seqs.take(manifest)
    return seqs.through, archived
