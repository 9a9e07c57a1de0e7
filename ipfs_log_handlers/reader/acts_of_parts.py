"""Apply the acts in the batches of a source outside the home: which payloads were given up, which keys destroyed.

An act counts only for logs of its own subsystem: those that its own key has signed, and those of an earlier key which
has named its key as the next one. The change is signed by both keys, and is the evidence in the first batch of a log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import ErasedError, FormatError, LogStoreError
from ipfs_log_handlers.format.act import Act
from ipfs_log_handlers.format.checkpoint import key_name_of, subsystem_of
from ipfs_log_handlers.format.key_change import KeyChange, check_order
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home.pruned import pruned_error

if TYPE_CHECKING:
    from ipfs_log_handlers.reader.chain_part import ChainPart

__all__ = ["mark_acts"]


def mark_acts(parts: Sequence[ChainPart], among: Sequence[ChainPart] = ()) -> None:
    """Note in each part whether an act in another one has given up its payload, or destroyed its key.

    Acts and key changes that cannot be read count not.

    Args:
        parts: batches of logs that are read together; their acts count.
        among: further batches whose acts count; nothing is noted in them.
    """
    every = (*parts, *among)
    acts = list(_acts_in(every))
    if not acts:
        return
    succession = _Succession(every)
    for source, act in acts:
        pruned = Pruned.of([act])
        for part in parts:
            gives_up = pruned.has(part.log, part.index) and (source.log != part.log or part.index < source.index)
            destroys = part.kid in act.keys
            if (gives_up or destroys) and succession.counts_for(source.log, part.log):
                sealed = source.manifest().sealed
                if gives_up:
                    part.pruned = pruned_error(part.log, part.index, act.reason, sealed)
                else:
                    part.erased = _erased(part, act, sealed)


def _acts_in(parts: Sequence[ChainPart]) -> Iterator[tuple[ChainPart, Act]]:
    for part in parts:
        if part.act is not None:
            with suppress(FormatError):
                act = Act.decode(part.act)[0]
                if act.batches or act.keys:
                    yield part, act


def _erased(part: ChainPart, act: Act, sealed: int) -> ErasedError:
    error = ErasedError(
        f"the records were erased by policy on {rfc3339(sealed)[:10]}: {act.reason}",
        where=f"{part.log} batch {part.index}",
    )
    error.records = part.records
    return error


class _Succession:
    """Which keys have named which other ones as the next.

    Args:
        parts: the batches, of which the first ones of logs may have key changes.
    """

    def __init__(self, parts: Sequence[ChainPart]) -> None:
        self._parts = parts
        self._next: dict[str, set[str]] | None = None

    def counts_for(self, own: str, other: str) -> bool:
        """Return whether an act in one log counts for another one; blocks are read only where the keys differ."""
        if subsystem_of(own) != subsystem_of(other):
            return False
        return own == other or self._leads(key_name_of(other), key_name_of(own))

    def _leads(self, key: str, to: str) -> bool:
        if key == to:
            return True
        if self._next is None:
            self._next = {}
            for part in self._parts:
                for change in _changes_in(part):
                    self._next.setdefault(change.old.name, set()).add(change.new.name)
        reached, due = {key}, [key]
        while due:
            due = [name for before in due for name in self._next.get(before, ()) if name not in reached]
            reached.update(due)
        return to in reached


def _changes_in(part: ChainPart) -> list[KeyChange]:
    """Read the key changes with which the log before this one ended; empty without changes that lead to its key."""
    if part.index:
        return []
    with suppress(LogStoreError, OSError):
        evidence = part.manifest().evidence
        if not evidence:
            return []
        with part.blocks() as source:
            changes = [KeyChange.decode(source.block(cid)) for cid in evidence]
        check_order(changes)
        if changes[-1].new.name == key_name_of(part.log):
            return changes
    return []
