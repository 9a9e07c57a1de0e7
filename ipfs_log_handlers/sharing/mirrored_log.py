"""Copy the batches of one log of another home into this one, each verified before a reader sees it.

The head is compared before, by its signature and with the head that was accepted last (`mirror.py`). This module reads
the manifests that are new, compares them with the signed tree, and writes their batches piece by piece: a kill loses no
more than the piece that was being written, and the next run goes on after the last whole one. A payload that is nowhere
holds up nothing: its manifest is copied, and the next run asks for it again, unless a signed act has given it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ipfs_log_handlers.errors import FormatError, StoreError, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.absent_payloads import AbsentPayloads
from ipfs_log_handlers.home.imported_logs import MirroredDir, MirroredHead
from ipfs_log_handlers.reader.acts_of_parts import mark_acts
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.chain_check import Link, refuse_differences
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.chain_places import another_history
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.source import CarBlocks
from ipfs_log_handlers.sharing.mirror_absences import Absences
from ipfs_log_handlers.sharing.mirror_pieces import (
    add_payloads,
    merge_pieces,
    pieces_of,
    restore_absences,
    write_piece,
)
from ipfs_log_handlers.sharing.offered_logs import OfferedLog
from ipfs_log_handlers.verify.order import RecordOrder
from ipfs_log_handlers.verify.problems import Problems

__all__ = ["Copied", "OnBatch", "copy_log", "note_pruned"]

OnBatch = Callable[[str, int, int], None]
"""Called with the subsystem, the number of batches that were copied, and the number of all that are new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied of a log."""

    batches: int
    """Number of batches that are new."""
    added: tuple[int, ...] = ()
    """Batches that were here without their payload, which has come now."""
    reason: str | None = None
    """Why a payload could not be got; `None`: all could, or were given up."""


def copy_log(
    offered: OfferedLog,
    target: MirroredDir,
    imported: Sequence[Path],
    on_batch: OnBatch,
    others: Callable[[], Sequence[ChainPart]],
) -> Copied:
    """Copy what is new of a log, and the payloads that were missing before. Call this while `target` is `locked`.

    Args:
        offered: the log, whose head was accepted.
        target: its directory.
        imported: files with logs that were imported; one may have the same log.
        on_batch: called after each batch.
        others: lists the batches of the subsystem that are here, also of other logs: their acts may give payloads up.

    Raises:
        VerificationError, FormatError: a claim of the log is wrong, or its copy here is damaged.
        StoreError: the source gives no answer, or not a manifest; what was copied before stays.
        OSError: the disk refuses.
    """
    target.sweep()
    known = _known(target)
    after = -1 if known is None else known.index
    before = target.head()
    if after > offered.head.index:
        raise VerificationError(
            "more of this log is here than the source has", expected=f"at least {after + 1} batches",
            found=f"{offered.head.index + 1} batches", where=offered.head.log,
        )  # fmt: skip
    if known is not None:
        restore_absences(target)
    missing = frozenset(AbsentPayloads.load(target).all_missing(after))
    before = target.head()
    batches, reason = 0, None
    if before is None or before != MirroredHead(offered.head) or after < offered.head.index:
        if known is None and imported:
            _compare(offered, imported)
        batches, reason = _copy_new(offered, target, known, on_batch, others)
    added, older_reason = _add_missing(offered, target, missing, others) if missing else ((), None)
    return Copied(batches=batches, added=added, reason=reason or older_reason)


def _copy_new(
    offered: OfferedLog,
    target: MirroredDir,
    known: _Known | None,
    on_batch: OnBatch,
    others: Callable[[], Sequence[ChainPart]],
) -> tuple[int, str | None]:
    """Copy the batches after the newest one here; return their number, and why a payload of them could not be got."""
    after = -1 if known is None else known.index
    parts = offered.parts_after(after) if after < offered.head.index else ()
    _check_chain(offered, known, parts)
    mark_acts(parts, others() if known is None else ())  # a log gives up only batches before the act
    manifests = {part.index: (part.cid, part.block) for part in parts}
    if known is not None:
        manifests[known.index] = (known.cid, known.block)
        target.write_head(MirroredHead.leading_to(offered.head, known.index, manifests))
    absences = Absences(offered.head.manifest)
    done = 0
    for piece in pieces_of(parts):
        write_piece(target, piece, absences, partial(_count, on_batch, target.subsystem, done, len(parts)))
        done += len(piece)
        target.write_head(MirroredHead.leading_to(offered.head, piece[-1].index, manifests))
    merge_pieces(target)
    return len(parts), absences.reason


def _add_missing(
    offered: OfferedLog,
    target: MirroredDir,
    missing: frozenset[int],
    others: Callable[[], Sequence[ChainPart]],
) -> tuple[tuple[int, ...], str | None]:
    """Ask for payloads that were missing before this run; return those that are not any more, and why others are.

    A source that does not answer loses nothing of what this run has copied before.
    """
    note_pruned(target, others())
    absences = Absences(offered.head.manifest)
    reason: str | None = None
    try:
        add_payloads(target, missing, offered.part, absences)
    except StoreError as error:
        reason = str(error)
    absent, through = AbsentPayloads.load(target), max(missing)
    added = missing.difference(absent.all_missing(through), absent.all_pruned(through))
    return tuple(sorted(added)), reason or absences.reason


def _count(on_batch: OnBatch, subsystem: str, done: int, total: int, count: int) -> None:
    on_batch(subsystem, done + count, total)


def note_pruned(target: MirroredDir, parts: Sequence[ChainPart]) -> None:
    """Note which payloads that are missing were given up by an act. Call this while `target` is `locked`.

    Args:
        target: the directory of the log.
        parts: the batches of its subsystem that are here, each with what the acts say of it.
    """
    absent, pieces = AbsentPayloads.load(target), target.pieces()
    through = pieces[-1].last if pieces else -1
    missing = set(absent.all_missing(through))
    given_up = {part.index for part in parts if part.log == target.log and part.pruned is not None} & missing
    AbsentPayloads.of(given_up.union(absent.all_pruned(through)), missing).store(target)


# -- what is here


@dataclass(frozen=True, slots=True)
class _Known:
    """The newest batch that is here, as a link of the chain."""

    cid: Cid
    block: bytes

    @property
    def index(self) -> int:
        return self.manifest().index

    def manifest(self) -> Manifest:
        return Manifest.decode(self.block)


def _known(target: MirroredDir) -> _Known | None:
    """Read the manifest of the newest batch here; `None` if there is none, or the pieces do not begin with the first.

    Raises:
        FormatError, VerificationError: a piece is missing or damaged.
    """
    pieces = target.pieces()
    due = 0
    for piece in pieces:
        if piece.first > due:
            raise FormatError(
                "a piece of a mirrored log is missing",
                where=target.path, expected=f"batch {due}", found=piece.path.name,
                hint="Remove the pieces after it: they are copied again.",
            )  # fmt: skip
        due = piece.last + 1
    if not pieces:
        return None
    with disk.stream(pieces[-1].path) as stream:
        blocks = CarBlocks(stream)
        found = _Known(blocks.roots[-1], blocks.block(blocks.roots[-1]))
    if found.index != pieces[-1].last:
        raise FormatError("a piece of a mirrored log is damaged", where=pieces[-1].path)
    return found


def _compare(offered: OfferedLog, imported: Sequence[Path]) -> None:
    """Refuse a log of which an imported file has another history."""
    log = offered.head.log
    for file in imported:
        parts = CarSource([file], _ignore_gap).chains().get(log, (None, ()))[1]
        for part in [part for part in parts if part.index <= offered.head.index][-1:]:
            found = offered.manifest(part.index).cid
            if found != part.cid:  # a manifest names all before it
                raise another_history(log, part.index, expected=part.cid, found=found)


def _ignore_gap(gap: Gap) -> None:
    """Ignore damage of an imported file: readers report it."""


# -- the chain


def _check_chain(offered: OfferedLog, known: _Known | None, parts: Sequence[ChainPart]) -> None:
    """Compare the new manifests with one another, with the newest one that is here, and with the signed tree."""
    links: list[Link] = [*([] if known is None else [known]), *parts]
    if links[-1].index != offered.head.index or [link.index for link in links] != list(
        range(links[0].index, offered.head.index + 1)
    ):
        raise VerificationError(
            "the source does not give the batches that its head has signed", where=offered.head.log,
            expected=f"batch {offered.head.index}", found=f"batch {links[-1].index}",
        )  # fmt: skip
    refuse_differences(offered.head.log, links, offered.head, whole=known is None)
    problems, order = Problems(), RecordOrder()
    for part in parts:
        order.take(part.index, part.manifest(), problems)
    for problem in problems.noted:
        raise VerificationError(
            f"the log {offered.head.log} contradicts itself: batch {problem.batch}, {problem.field}",
            expected=problem.expected, found=problem.found,
        )  # fmt: skip
