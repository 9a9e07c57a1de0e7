"""Keep the counts of dropped records on a full disk, in a file with reserved space.

A writer that cannot append takes a small file of the reserve (`home.reserve`), locks it, and writes a segment into it:
a header, and one control line with its counts, padded with empty lines. When the counts grow, it writes the file again
in place, so they survive a SIGKILL. When the writer closes, or the disk takes lines again, the file is renamed to
`.seg` in the spool: then it is a segment like the others, and the next batch contains its counts. The keeper renames
the file of a killed writer.

    <home>/reserve-files/<subsystem>.<writer>-<n>
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, reserve, segments
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.segments import Header, Segment, SegmentName

__all__ = ["adopt", "discard", "finish", "paths", "take", "write"]

_MAX_TRIES: Final = 3
"""Number of files that are tried if other processes take or adopt them at the same moment."""


def take(home: HomeDir, header: Header, number: int) -> Segment | None:
    """Take a file of the reserve for the counts of a writer, and lock it.

    Args:
        home: the home.
        header: the header of the writer's segments.
        number: the next number of a segment.

    Returns:
        The file, without content so far; `None` if no file is left.

    Raises:
        OSError: the disk refuses.
    """
    name = SegmentName(header.writer, number)
    path = home.reserve_files / f"{header.subsystem}.{name}"
    for _ in range(_MAX_TRIES):
        if not reserve.take_file(home.reserve, path):
            return None
        with suppress(FileNotFoundError):  # the keeper treated it as the file of a killed writer
            descriptor = disk.open_locked(path, os.O_RDWR)
            if descriptor is not None:
                return Segment(name, path, descriptor, 0, os.fstat(descriptor))
    return None


def write(report: Segment, header: Header, control_line: bytes) -> None:
    """Write the counts of a writer into its file, instead of its older counts.

    Args:
        report: the file.
        header: the header of the writer's segments; its settings are left out if they are too long for the file.
        control_line: the line with the counts.

    Raises:
        OSError: the file was removed, or the disk refuses.
    """
    if not report.intact():
        raise OSError(errno.ENOENT, "the file of dropped records was removed", os.fspath(report.path))
    text = header.encode() + control_line
    if len(text) > reserve.FILE_BYTES:
        text = replace(header, settings={}).encode() + control_line
    if os.pwrite(report.descriptor, text.ljust(reserve.FILE_BYTES, b"\n"), 0) < len(text):
        raise OSError(errno.ENOSPC, "a short write", os.fspath(report.path))
    report.size = len(text)


def finish(home: HomeDir, report: Segment) -> bool:
    """Move the counts of a writer into its spool, and release the lock.

    Returns:
        Whether they were moved; if not, the next keeper moves them.
    """
    try:
        if not report.intact():
            return False
        with suppress(OSError):
            disk.truncate(report.descriptor, report.size)
        subsystem = report.path.name.partition(".")[0]
        return _move(report.path, home.subsystem_dir(subsystem), report.name)
    finally:
        report.close()


def discard(report: Segment) -> None:
    """Remove the file of a writer that could not write it, so that no record in it is counted twice."""
    with suppress(OSError):
        if report.intact():
            disk.remove(report.path)
    report.close()


def adopt(home: HomeDir) -> None:
    """Move the counts of writers that were killed into the spools. The caller holds the keeper's lock."""
    for path, subsystem_dir, name in paths(home):
        with suppress(OSError, HomeError):
            descriptor = disk.open_locked(path, os.O_RDWR)
            if descriptor is not None:
                try:
                    if disk.same_file(descriptor, path):
                        if _has_header(path):
                            _move(path, subsystem_dir, name)
                        else:
                            disk.remove(path)  # its writer was killed before it wrote
                finally:
                    disk.close_locked(descriptor)


def paths(home: HomeDir) -> Iterator[tuple[Path, SubsystemDir, SegmentName]]:
    """Yield the files with counts of dropped records, with the subsystem and the name as a segment."""
    for file_name in sorted(disk.file_names(home.reserve_files)):
        subsystem, _, rest = file_name.partition(".")
        name = SegmentName.parse(f"{rest}.seg")
        if name is not None and home.may_be_subsystem(subsystem):
            yield home.reserve_files / file_name, home.subsystem_dir(subsystem), name


def _has_header(path: Path) -> bool:
    descriptor = segments.open_segment(path)
    try:
        return segments.read(descriptor, 0, owner_gone=True).kind == "header"
    finally:
        disk.close(descriptor)


def _move(path: Path, subsystem_dir: SubsystemDir, name: SegmentName) -> bool:
    with suppress(OSError, HomeError):
        for directory in (subsystem_dir.path, subsystem_dir.spool):
            disk.ensure_directory(directory)
        disk.rename(path, subsystem_dir.spool / name.file_name)
        return True
    return False
