"""Find the damaged files in the directory of a subsystem. All files are read; none is written or locked.

`verify` checks every claim of a log. This module looks only for damage that a disk causes: `ipfs-logs doctor` names it,
and `ipfs-logs doctor --repair` repairs it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home import delivery_state, disk, segments
from ipfs_log_handlers.home.catalogue import Catalogue
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.index_pages import IndexPages
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import Log, LogDir, logs_of, titles
from ipfs_log_handlers.home.os_errors import explain
from ipfs_log_handlers.home.policy import read_settings
from ipfs_log_handlers.home.pruned import pruned_of
from ipfs_log_handlers.maintenance.index_check import page_problem
from ipfs_log_handlers.reader.batch import BatchFile, open_batch
from ipfs_log_handlers.spool.tail import spans

__all__ = ["Damage", "damaged_batches", "find", "leftovers"]

_SAMPLED_PAGES: Final = 4
"""Index pages that a sample reads: so many of the newest, and so many of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One damaged file."""

    kind: Literal["batch", "head", "mark", "settings", "segment", "leftover", "index", "catalogue", "page"]
    """Kind of the file. `mark` is a delivery state, `leftover` a temporary file of a process that was killed, `page`
    an index page."""
    log: str
    """Title of the log of the file: its subsystem, with part of the log's name if the subsystem has several logs."""
    log_dir: LogDir
    """The directory of the log."""
    path: Path
    """Path of the file."""
    found: str
    """The damage, in words."""
    index: int | None = None
    """Number of the batch, of a page that of its first batch; `None` for other files."""

    @property
    def title(self) -> str:
        """Name of the file for people: `audit batch 0`."""
        return f"{self.log} {self.kind}" + ("" if self.index is None else f" {self.index}")


def find(
    subsystem_dir: SubsystemDir,
    *,
    choose: Callable[[Log], Iterable[int]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Damage]:
    """Find the damage of a subsystem: settings, head, batches and delivery states of every log, then the spool.

    Args:
        subsystem_dir: the directory of the subsystem.
        choose: function that returns the numbers of the batches of a log to read; `None`: all of them.
        progress: function that is called with the number of batches of a log that are read, and that are to be read.

    Raises:
        OSError: the home cannot be read.
    """
    try:
        read_settings(subsystem_dir.settings)
    except FormatError as error:
        yield Damage(
            kind="settings",
            log=subsystem_dir.name,
            log_dir=LogDir.current_of(subsystem_dir),
            path=subsystem_dir.settings,
            found=str(error),
        )
    except FileNotFoundError:
        pass
    logs = logs_of(subsystem_dir)
    title_of = titles(logs)
    for log in logs:
        title = title_of[log.log_dir.path]
        trouble = log.head_problem
        if log.sealed is None and trouble is None and log.log_dir.is_former:
            trouble = "the head is missing, although the log has batches"
        if trouble is not None:
            yield Damage(kind="head", log=title, log_dir=log.log_dir, path=log.log_dir.head, found=trouble)
        yield from _caches(log, title, sample=choose is not None)
        given_up = _pruned_in(subsystem_dir)
        yield from damaged_batches(log, title, choose(log) if choose is not None else None, progress, given_up)
    for log_dir in LogDir.all_of(subsystem_dir):
        yield from _delivery_states(log_dir, title_of.get(log_dir.path, subsystem_dir.name))
    yield from _segments(subsystem_dir)


def _caches(log: Log, title: str, *, sample: bool) -> Iterator[Damage]:
    """Find damage in the caches; the keeper makes these files again from the batches.

    Args:
        log: the log.
        title: its title for people.
        sample: read the newest index pages and some of the others; else all of them.
    """
    problem = log.batches.index_problem(log.newest)
    if problem is not None:
        yield Damage(kind="index", log=title, log_dir=log.log_dir, path=problem[0], found=problem[1])
    catalogue = Catalogue(log.log_dir.batches)
    if not catalogue.is_whole():
        words = "a frame is damaged"
        yield Damage(kind="catalogue", log=title, log_dir=log.log_dir, path=catalogue.path, found=words)
    pages = IndexPages(log.log_dir.batches)
    firsts = pages.firsts() if log.name else []
    if sample and len(firsts) > 2 * _SAMPLED_PAGES:
        firsts = [*random.sample(firsts[:-_SAMPLED_PAGES], _SAMPLED_PAGES), *firsts[-_SAMPLED_PAGES:]]
    for first in firsts:
        trouble = page_problem(log, first, sample=sample)
        if trouble is not None:
            path = pages.where(first)
            yield Damage(kind="page", log=title, log_dir=log.log_dir, path=path, found=trouble, index=first)


def leftovers(subsystem_dir: SubsystemDir) -> Iterator[Damage]:
    """Find leftover temporary files. A live keeper has such files too: the caller holds the keeper's lock."""
    title_of = titles(logs_of(subsystem_dir))
    for log_dir in LogDir.all_of(subsystem_dir):
        title = title_of.get(log_dir.path, subsystem_dir.name)
        batches = [log_dir.batches, *(log_dir.batches / name for name in sorted(disk.names(log_dir.batches)))]
        places = [log_dir.path, log_dir.shipped, *batches]
        for path in (
            place / name for place in places for name in sorted(disk.file_names(place)) if name.endswith(".tmp")
        ):
            yield Damage(
                kind="leftover", log=title, log_dir=log_dir, path=path, found="left by a process that was killed"
            )


def damaged_batches(
    log: Log,
    title: str,
    indexes: Iterable[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    pruned: Pruned = Pruned(),  # noqa: B008 - a frozen value
) -> Iterator[Damage]:
    """Find the batches of one log that are missing or cut, or have a block with another hash than its CID says.

    Args:
        log: the log.
        title: its title for people.
        indexes: numbers of the batches to read; `None`: all of them.
        progress: function that is called with the number of batches that are read, and that are to be read.
        pruned: the batches whose payloads were given up.
    """
    confirmations = log.confirmations(1)
    numbers = range(log.newest + 1) if indexes is None else tuple(indexes)
    for done, index in enumerate(numbers):
        if progress is not None:
            progress(done, len(numbers))
        path = log.batches.where(index)
        try:
            with open_batch(log.batches, index) as batch:
                trouble = _trouble(batch, log, index, confirmed=confirmations.has(index) or pruned.has(log.name, index))
        except FileNotFoundError:
            trouble = "its file is missing"
        except (FormatError, VerificationError, OSError) as error:
            trouble = explain(error)
        if trouble:
            yield Damage(kind="batch", log=title, log_dir=log.log_dir, path=path, found=trouble, index=index)


def _pruned_in(subsystem_dir: SubsystemDir) -> Pruned:
    """Return the batches that are pruned; none if an act cannot be read, which is damage of its own."""
    with suppress(FormatError, FileNotFoundError):
        return pruned_of(subsystem_dir)
    return Pruned()


def _trouble(batch: BatchFile, log: Log, index: int, *, confirmed: bool) -> str | None:
    for section in batch.blocks.sections:
        batch.blocks.at(section)
    manifest = batch.manifest()
    if (manifest.log, manifest.index) != (log.name, index):
        return f"it is batch {manifest.index} of {manifest.log}"
    signed = batch.head()
    if (signed.log, signed.index, signed.manifest) != (log.name, index, batch.cid):
        return f"its head block is that of batch {signed.index} of {signed.log}"
    missing = [cid for cid in manifest.evidence if cid not in batch]
    if manifest.payload in batch:
        missing += [cid for cid in batch.below(manifest.payload) if cid not in batch]
    elif not confirmed:
        missing.append(manifest.payload)
    return f"block {missing[0]} is missing" if missing else None


def _delivery_states(log_dir: LogDir, title: str) -> Iterator[Damage]:
    for name in sorted(disk.names(log_dir.shipped)):
        if not name.endswith(".tmp"):
            try:
                DeliveryState.decode(disk.read(log_dir.shipped / name, delivery_state.MAX_BYTES))
            except (FormatError, OSError) as error:
                path = log_dir.shipped / name
                yield Damage(kind="mark", log=title, log_dir=log_dir, path=path, found=explain(error))


def _segments(subsystem_dir: SubsystemDir) -> Iterator[Damage]:
    """Find bytes that are not a line, in the part of the spool that is in no batch yet."""
    current = LogDir.current_of(subsystem_dir)
    sealed = current.head_state()
    consumed: Mapping[str, int] = sealed.consumed if sealed is not None else {}
    for name in segments.listing(subsystem_dir.spool):
        path = subsystem_dir.spool / name.file_name
        try:
            for span in spans(path, consumed.get(str(name), 0)):
                if span.kind == "damage":
                    words = f"bytes {span.start} to {span.end} of {name} are not a line"
                    yield Damage(kind="segment", log=subsystem_dir.name, log_dir=current, path=path, found=words)
        except FileNotFoundError:
            continue
        except disk.WrongFileError as error:
            yield Damage(kind="segment", log=subsystem_dir.name, log_dir=current, path=path, found=explain(error))
