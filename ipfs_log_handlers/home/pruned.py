"""Say which batches of a subsystem are pruned, and which acts of pruning are done.

The acts in the chain decide (`format/act.py`). `batches/pruned` has the number of the newest batch of the log with an
act up to which every act of pruning was carried out: a cache, as text. Without it they are carried out again, which
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import PrunedError
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home import acts, disk
from ipfs_log_handlers.home.acts import SealedAct
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir

__all__ = ["note_done", "pruned_error", "pruned_of", "refuse_pruned", "unfinished"]

_FILE: Final = "pruned"
"""Name of the file in the directory of the batches."""
_MAX_BYTES: Final = 64
"""Bytes of that file: a number."""
_MAX_KNOWN: Final = 64
"""Number of subsystems whose pruned batches are remembered in this process."""

_known: dict[Path, tuple[tuple[object, ...], tuple[Pruned, tuple[SealedAct, ...]]]] = {}
"""By directory of a subsystem: the newest acts of its logs, and what all acts say."""


def pruned_of(subsystem_dir: SubsystemDir) -> Pruned:
    """Return the batches of all logs of a subsystem that are pruned.

    Raises:
        FormatError: a batch with an act is damaged.
        OSError: it cannot be read.
    """
    return _read(subsystem_dir)[0]


def _read(subsystem_dir: SubsystemDir) -> tuple[Pruned, tuple[SealedAct, ...]]:
    newest = tuple(acts.newest_in(log_dir) for log_dir in LogDir.all_of(subsystem_dir))
    known = _known.get(subsystem_dir.path)
    if known is not None and known[0] == newest:
        return known[1]
    prunes = tuple(sealed for sealed in acts.all_acts(subsystem_dir) if sealed.act.act == "prune")
    found = Pruned.of(sealed.act for sealed in prunes), prunes
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[subsystem_dir.path] = newest, found
    return found


def refuse_pruned(subsystem_dir: SubsystemDir, log: str, index: int) -> None:
    """Raise an error if a batch is pruned.

    Raises:
        PrunedError: it is; the error says when and why.
        FormatError, OSError: as `pruned_of`.
    """
    pruned, prunes = _read(subsystem_dir)
    if pruned.has(log, index):
        sealed = next(sealed for sealed in reversed(prunes) if Pruned.of([sealed.act]).has(log, index))
        raise pruned_error(log, index, sealed.act.reason, sealed.sealed)


def pruned_error(log: str, index: int, reason: str, sealed: int) -> PrunedError:
    """Return the error about a payload that was given up by an act.

    Args:
        log: name of the log.
        index: number of the batch.
        reason: the reason in the act.
        sealed: when the act was sealed, µs since 1970.
    """
    return PrunedError(f"its payload was given up on {rfc3339(sealed)[:10]}: {reason}", where=f"{log} batch {index}")


def unfinished(log_dir: LogDir) -> Iterator[SealedAct]:
    """Yield the acts of pruning of one log that were not carried out to their end, oldest first.

    Raises:
        FormatError, OSError: as `pruned_of`.
    """
    done = _done_through(log_dir)
    newest = acts.newest_in(log_dir)
    if newest is None or newest[1] <= done:
        return
    yield from (sealed for sealed in acts.acts_of(log_dir) if sealed.act.act == "prune" and sealed.index > done)


def _done_through(log_dir: LogDir) -> int:
    with suppress(OSError, ValueError):
        text = disk.read(log_dir.batches / _FILE, _MAX_BYTES)
        if text.strip().isdigit():
            return int(text)
    return -1


def note_done(log_dir: LogDir, index: int) -> None:
    """Note that every act of pruning up to the one in a batch is carried out.

    Raises:
        OSError: the disk refuses; the acts are carried out again later.
    """
    disk.replace(log_dir.batches / _FILE, b"%d\n" % index, sync=False)
