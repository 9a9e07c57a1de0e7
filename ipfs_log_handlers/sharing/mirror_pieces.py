"""Write the pieces of a mirrored log: files of batches, one after the other, each verified on the disk.

The roots of a piece are the manifests of its batches. A batch whose payload was not got has only its manifest and its
evidence there; a payload that comes later is added at the end, so that the blocks before it stay at their places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format import car, dag
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.absent_payloads import AbsentPayloads
from ipfs_log_handlers.home.imported_logs import MirroredDir, Piece
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.chosen_parts import refuse_given_up
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.source import BlockSource, CarBlocks
from ipfs_log_handlers.sharing.mirror_absences import Absences
from ipfs_log_handlers.verify.chain import verify_elsewhere

__all__ = ["add_payloads", "merge_pieces", "pieces_of", "restore_absences", "write_piece"]

_PIECE_BATCHES: Final = 1024
"""Largest number of batches in a piece: a reader looks at the header of a file for all of them."""
_PIECE_BYTES: Final = 64 << 20
"""Bytes of payloads after which no further batch goes into a piece; a kill repeats at most about so many."""
_AHEAD: Final = 16
"""Payloads that are asked for before they are due."""
_SPARE_BYTES: Final = 16 << 20
"""Bytes that the blocks of a batch may have beyond twice what its manifest says: nodes of directories."""
_COPY_BYTES: Final = 1 << 20
"""Bytes that are copied at once."""


def pieces_of(parts: Sequence[ChainPart]) -> Iterator[Sequence[ChainPart]]:
    """Divide batches into runs that become one file each."""
    run: list[ChainPart] = []
    size = 0
    for part in parts:
        run.append(part)
        size += part.size
        if len(run) == _PIECE_BATCHES or size >= _PIECE_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run


def write_piece(
    target: MirroredDir, parts: Sequence[ChainPart], absences: Absences, on_batch: Callable[[int], None]
) -> None:
    """Write a piece, verify what is on the disk, note the payloads that were not got, and give the piece its name.

    Args:
        target: the directory of the log, `locked`.
        parts: the batches.
        absences: notes the payloads that are not got.
        on_batch: called after each batch with the number of those that were written.

    Raises:
        StoreError: the source gives no answer, or does not have a block that a mirror needs.
        VerificationError, FormatError: a block is another one, or a batch is not as it was signed.
        OSError: the disk refuses.
    """
    known = AbsentPayloads.load(target)
    try:
        disk.write_new(target.incoming, _sections(parts, absences, on_batch))
        _check_piece(target.incoming, absences.all)
        before = parts[0].index - 1  # a run that was killed here has noted what it did not get of these batches
        AbsentPayloads.of(
            absences.pruned.union(known.all_pruned(before)), absences.missing.union(known.all_missing(before))
        ).store(target)
        disk.rename(target.incoming, target.piece_file(parts[0].index, parts[-1].index))
        disk.sync_directory(target.path)
    except BaseException:
        disk.remove(target.incoming)
        raise


def _sections(parts: Sequence[ChainPart], absences: Absences, on_batch: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the bytes of a piece: its roots are the manifests; after each stand the blocks that it links."""
    yield car.header([part.cid for part in parts])
    written: set[Cid] = set()
    for part in parts[:_AHEAD]:
        part.prefetch()
    for number, part in enumerate(parts):
        for later in parts[number + _AHEAD : number + _AHEAD + 1]:
            later.prefetch()
        for cid, block in _manifest_of(part):
            if cid not in written:
                written.add(cid)
                yield car.section(cid, block)
        yield from _payload_of(part, absences, written)
        on_batch(number + 1)


def _manifest_of(part: ChainPart) -> Iterator[tuple[Cid, bytes]]:
    """Yield the manifest of a batch, and the blocks of its evidence."""
    yield part.cid, part.block
    evidence = part.manifest().evidence
    if evidence:
        with part.blocks() as source:
            yield from dag.walk(evidence, _bounded(part, source))


def _payload_of(part: ChainPart, absences: Absences, written: set[Cid]) -> Iterator[bytes]:
    """Yield the sections of a payload that are not written yet, its root last; note a payload that is not got.

    So a payload counts as absent, as its root is, also if only one block of a large one was not got.
    """
    nodes: list[tuple[Cid, bytes]] = []
    try:
        refuse_given_up(part)
        with part.blocks() as source:
            for cid, block in dag.walk([part.payload], _bounded(part, source)):
                if cid.codec != RAW or cid == part.payload:
                    nodes.append((cid, block))
                elif cid not in written:
                    written.add(cid)
                    yield car.section(cid, block)
    except LogStoreError as error:
        absences.note(part, error)
        return
    absences.note_copied()
    for cid, block in reversed(nodes):
        if cid not in written:
            written.add(cid)
            yield car.section(cid, block)


def _bounded(part: ChainPart, source: BlockSource) -> Callable[[Cid], bytes]:
    """Return a function that gets blocks of a batch, until they are much more than its manifest says.

    Raises:
        VerificationError: they are.
    """
    left = 2 * part.size + _SPARE_BYTES

    def get(cid: Cid) -> bytes:
        nonlocal left
        block = source.block(cid)
        left -= len(block)
        if left < 0:
            raise VerificationError(
                "the blocks of a batch have many more bytes than its manifest says",
                where=f"{part.log} batch {part.index}", expected=part.size,
            )  # fmt: skip
        return block

    return get


def _check_piece(file: Path, absent: Collection[int]) -> None:
    """Verify every block, record and count of a piece, as it is on the disk.

    Args:
        file: the piece.
        absent: the batches that need not have a payload.

    Raises:
        VerificationError: one of them is wrong.
    """
    gaps: list[Gap] = []
    for report in verify_elsewhere(CarSource([file], gaps.append), gaps=gaps, deep=True):
        for problem in report.problems:
            if (problem.field, problem.kind) == ("payload", "incomplete") and problem.batch in absent:
                continue
            raise VerificationError(
                f"the log {report.log} differs from its signed state: batch {problem.batch}, {problem.field}",
                expected=problem.expected, found=problem.found,
            )  # fmt: skip


# -- payloads that come later


def restore_absences(target: MirroredDir) -> None:
    """Note which payloads are not in the pieces, if the file that names them is lost or damaged.

    All count as missing: `note_pruned` finds those that an act has given up.

    Args:
        target: the directory of the log, `locked`.

    Raises:
        FormatError, VerificationError: a piece is damaged.
        OSError: the disk refuses.
    """
    if AbsentPayloads.read(target) is None:
        AbsentPayloads.of((), [index for piece in target.pieces() for index in _without_payload(piece)]).store(target)


def _without_payload(piece: Piece) -> Iterator[int]:
    """Yield the batches of a piece whose payload is not in it."""
    with disk.stream(piece.path) as stream:
        source = CarBlocks(stream)
        for index, root in enumerate(source.roots, piece.first):
            if Manifest.decode(source.block(root)).payload not in source:
                yield index


def add_payloads(
    target: MirroredDir,
    numbers: Collection[int],
    part_of: Callable[[Cid, bytes], ChainPart],
    absences: Absences,
) -> None:
    """Get payloads that no source had before; what is got is added to its piece, in one step for each piece.

    Args:
        target: the directory of the log, `locked`.
        numbers: the batches to ask for; those that are not noted as missing any more are left out.
        part_of: returns a batch whose blocks the source gives, from the CID and the block of its manifest.
        absences: notes the payloads that are not got now, either.

    Raises:
        StoreError, VerificationError, FormatError, OSError: as `write_piece`; the pieces before are as they are now.
    """
    pieces = target.pieces()
    for piece in pieces:
        known, through = AbsentPayloads.load(target), pieces[-1].last
        missing = {*known.all_missing(through)}
        wanted = [index for index in sorted(missing.intersection(numbers)) if piece.first <= index <= piece.last]
        if not wanted:
            continue
        _add_to_piece(target, piece, wanted, part_of, absences)
        missing -= {*wanted} - absences.all
        AbsentPayloads.of(absences.pruned.union(known.all_pruned(through)), missing).store(target)
        if not absences.all.issuperset(wanted):
            target.touch_head()


def _add_to_piece(
    target: MirroredDir,
    piece: Piece,
    wanted: Sequence[int],
    part_of: Callable[[Cid, bytes], ChainPart],
    absences: Absences,
) -> None:
    known = AbsentPayloads.load(target)
    absent = {*known.all_pruned(piece.last), *known.all_missing(piece.last)}.difference(wanted)
    with disk.stream(piece.path) as stream:
        blocks = CarBlocks(stream)
        roots = [blocks.roots[index - piece.first] for index in wanted]
        parts = [part_of(cid, blocks.block(cid)) for cid in roots]
        written = {section.cid for section in blocks.sections}
        added = (section for part in parts for section in _payload_of(part, absences, written))
        first = next(added, None)
        if first is None:
            return
        try:
            stream.seek(0)
            disk.write_new(target.incoming, chain(_copied(stream), [first], added))
            _check_piece(target.incoming, absent | absences.all)
            disk.rename(target.incoming, piece.path)
            disk.sync_directory(target.path)
        except BaseException:
            disk.remove(target.incoming)
            raise


def _copied(stream: BinaryIO) -> Iterator[bytes]:
    return iter(partial(stream.read, _COPY_BYTES), b"")


def merge_pieces(target: MirroredDir) -> None:
    """Join small pieces, so that a log that grows batch by batch has few files: as a binary counter does.

    A piece of n batches is read and written again at most log2(n) times. Readers that have listed the smaller files
    find their batches in the larger one.
    """
    pieces = target.pieces()
    while len(pieces) > 1:
        newest, before = pieces[-1], pieces[-2]
        count = newest.last - newest.first + 1
        size = sum(disk.status(piece.path).st_size for piece in (before, newest))
        if before.last + 1 != newest.first or newest.last - before.first >= _PIECE_BATCHES or size > _PIECE_BYTES:
            return
        if count < before.last - before.first + 1:
            return
        joined = Piece(before.first, newest.last, target.piece_file(before.first, newest.last))
        disk.write_new(target.incoming, _joined(before, newest))
        disk.rename(target.incoming, joined.path)
        disk.sync_directory(target.path)
        for piece in (before, newest):
            disk.remove(piece.path)
        pieces[-2:] = [joined]


def _joined(*pieces: Piece) -> Iterator[bytes]:
    """Yield the bytes of one piece with the blocks of several; each block is hashed."""
    roots: list[Cid] = []
    for piece in pieces:
        with disk.stream(piece.path) as stream:
            roots += car.Reader(stream).roots
    yield car.header(roots)
    written: set[Cid] = set()
    for piece in pieces:
        with disk.stream(piece.path) as stream:
            for cid, block in car.Reader(stream):
                if cid not in written:
                    written.add(cid)
                    yield car.section(cid, block)
