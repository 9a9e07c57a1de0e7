"""Sort batches that a restored backup has mixed: move each batch to the directory of its log (docs/home.md 10).

A backup that is copied over a home restores old batches under their file names, even when another log now uses these
names. Overwritten batches are lost; the other batches of the two logs lie in one directory. So before a log ends, the
keeper moves the batches of other logs to `former/`. It removes a batch that the directory of its log already has.

After a crash between two steps, some batches are moved and the head is in its place: the next keeper does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import disk, head, packs
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir

__all__ = ["ended_before", "sort_batches"]


def ended_before(subsystem_dir: SubsystemDir, log: str) -> bool:
    """Return whether a log that has ended has a directory with a head."""
    return any(_has_ended(log_dir, log) for log_dir in LogDir.former_of(subsystem_dir))


def _has_ended(log_dir: LogDir, log: str) -> bool:
    state = log_dir.head_state() if log_dir.path.name.endswith(log[-8:]) else None
    return state is not None and state.log == log


def sort_batches(subsystem_dir: SubsystemDir, keep: str | None) -> list[LogDir]:
    """Move the batches of other logs out of the current directory; damaged ones stay.

    Args:
        subsystem_dir: the subsystem's directory. The caller holds the keeper's lock.
        keep: name of the log whose batches stay; `None`: those of no log.

    Returns:
        The directories that got a batch, or that already had a restored batch.

    Raises:
        OSError: the disk refuses.
    """
    current = LogDir.current_of(subsystem_dir)
    batches = current.sealed_batches
    touched: dict[Path, LogDir] = {}
    for index in batches.own_files():
        header = _header(batches, index)
        if header is not None and header.manifest.log != keep:
            target = _move(subsystem_dir, batches, header)
            touched[target.path] = target
    for pack, log in _packs_of_others(batches, keep):
        target = _move_pack(subsystem_dir, batches, pack, log)
        touched[target.path] = target
    if touched:
        _forget_index(current)
    for log_dir in touched.values():
        _forget_index(log_dir)
        _name_newest(log_dir)
    return list(touched.values())


def _move(subsystem_dir: SubsystemDir, batches: Batches, header: BatchHeader) -> LogDir:
    """Move one batch to its log; remove the batch if the log already has it."""
    index = header.manifest.index
    target, there = _directory_for(subsystem_dir, header)
    files = [path for path in (batches.payload_file(index), batches.file(index)) if disk.exists(path)]
    ours = target.sealed_batches
    if there and _is_needless(batches, ours, header):
        for path in files:
            disk.remove(path)
    else:
        _make_directory(ours, index)
        for path in files:
            disk.rename(path, ours.directory(index) / path.name)
        disk.sync_directory(ours.directory(index))
    return target


def _header(batches: Batches, index: int) -> BatchHeader | None:
    """Read the header of a batch; `None` if the batch is missing, or damaged there."""
    with suppress(FormatError, FileNotFoundError):
        return batches.facts(index)
    return None


def _is_needless(batches: Batches, ours: Batches, header: BatchHeader) -> bool:
    """Return whether a restored batch adds nothing to ours: ours is whole, or the restored one is no better."""
    if ours.is_whole(header):
        return True
    return not batches.is_whole(header) and (_has_payload(ours, header) or not _has_payload(batches, header))


def _has_payload(batches: Batches, header: BatchHeader) -> bool:
    with suppress(FormatError):  # its file is cut
        return batches.has_payload(header.manifest.index, header.manifest.payload)
    return False


def _directory_for(subsystem_dir: SubsystemDir, header: BatchHeader) -> tuple[LogDir, bool]:
    """Return the directory for a batch of another log, and whether the directory already has the batch.

    Two directories can have one log: a machine that was set back to a snapshot has signed its numbers again.
    """
    for log_dir in _directories_of(subsystem_dir, header.manifest.log):
        batches = log_dir.sealed_batches
        found = _header(batches, header.manifest.index)
        if found is not None and found.cid == header.cid:
            return log_dir, True
        if found is None and _follows(batches, header):
            return log_dir, False
    return LogDir(subsystem_dir.next_former(header.manifest.log[-8:]).path), False


def _directories_of(subsystem_dir: SubsystemDir, log: str) -> list[LogDir]:
    candidates = [log_dir for log_dir in LogDir.former_of(subsystem_dir) if log_dir.path.name.endswith(log[-8:])]
    return [log_dir for log_dir in candidates if log_dir.name() in (None, log)]


def _follows(batches: Batches, header: BatchHeader) -> bool:
    """Return whether the batches before and after a missing one, where they can be read, are linked to it."""
    index = header.manifest.index
    before, after = (_header(batches, index - 1) if index else None), _header(batches, index + 1)
    return (before is None or before.cid == header.manifest.prev) and (
        after is None or after.manifest.prev == header.cid
    )


def _packs_of_others(batches: Batches, keep: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the packs that hold the batches of one other log, and its name."""
    for directory in batches.directories():
        for number in batches.packs(directory):
            path = batches.path / directory / f"pack-{number}.car"
            with suppress(OSError):
                logs = packs.logs_in(path)
                if len(logs) == 1 and keep not in logs:
                    yield path, logs.pop()


def _move_pack(subsystem_dir: SubsystemDir, batches: Batches, path: Path, log: str) -> LogDir:
    """Move a pack to its log; remove the pack if the log already has all its batches."""
    indexes = sorted(packs.read(path).batches)
    read = [header for index in indexes if (header := _header(batches, index)) is not None]
    headers = [header for header in read if header.manifest.log == log]  # a file beside the pack can hide a batch
    found = [log_dir for log_dir in _directories_of(subsystem_dir, log) if _can_take(log_dir.sealed_batches, headers)]
    target = found[0] if found else LogDir(subsystem_dir.next_former(log[-8:]).path)
    ours = target.sealed_batches
    if found and len(headers) == len(indexes) and all(_is_there(batches, ours, header) for header in headers):
        disk.remove(path)
        return target
    _make_directory(ours, indexes[0])
    number = max(ours.packs(path.parent.name), default=-1) + 1
    disk.rename(path, ours.pack_file(indexes[0], number))
    disk.sync_directory(ours.directory(indexes[0]))
    return target


def _can_take(ours: Batches, headers: Sequence[BatchHeader]) -> bool:
    """Return whether no batch of a pack contradicts the batches of a directory."""
    for header in headers:
        found = _header(ours, header.manifest.index)
        if (found.cid != header.cid) if found is not None else not _follows(ours, header):
            return False
    return True


def _is_there(batches: Batches, ours: Batches, header: BatchHeader) -> bool:
    return _header(ours, header.manifest.index) is not None and _is_needless(batches, ours, header)


def _make_directory(batches: Batches, index: int) -> None:
    log_dir = batches.path.parent
    for directory in (log_dir.parent, log_dir, batches.path, batches.directory(index)):
        existed = disk.is_directory(directory)
        disk.ensure_directory(directory)
        if not existed:
            disk.sync_directory(directory.parent)


def _forget_index(log_dir: LogDir) -> None:
    """Remove index and catalogue, which may describe other batches; the keeper makes them again."""
    for name in ("index", "catalogue"):
        disk.remove(log_dir.batches / name)


def _name_newest(log_dir: LogDir) -> None:
    """Let the head of an ended log name its newest batch; it is for readers alone."""
    state, newest = log_dir.head_state(), log_dir.newest_batch()
    if newest is None or (state is not None and state.index >= newest.manifest.index):
        return
    block, index = newest.head.encode(), newest.manifest.index
    records = sum(manifest.records for manifest in log_dir.manifests())
    if state is None:
        state = HeadState(log=newest.manifest.log, index=index, block=block)
    head.store(
        log_dir.head, replace(state, index=index, block=block, records=records, act=head.ACT_UNKNOWN), original=False
    )
