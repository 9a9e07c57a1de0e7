"""List the logs that a source offers to a mirror: their signed heads first, and their batches when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from ipfs_log_handlers.errors import FormatError, LogStoreError, StoreUnavailable, VerificationError
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.home_head import LogHead
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of
from ipfs_log_handlers.reader.batch import OpenBatch
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.chain_parts import ChainSource
from ipfs_log_handlers.reader.chain_places import another_history
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.head_parts import HeadSource, check_named
from ipfs_log_handlers.reader.parts import Verify
from ipfs_log_handlers.reader.sealed import check_head, holders, verified_lines
from ipfs_log_handlers.reader.sealed_log import OpenedBatch, SealedLog, among
from ipfs_log_handlers.reader.source import BlockSource, CarBlocks, Fallback
from ipfs_log_handlers.stores import MissingBlockError

__all__ = ["OfferedLog", "Opened", "offered_by_cars", "offered_by_head", "offered_by_home"]


@dataclass(frozen=True, slots=True)
class OfferedLog:
    """One log as a source shows it: its head is signed by a trusted key; nothing else of it is believed."""

    head: Head
    """The newest head block."""
    parts_after: Callable[[int], Sequence[ChainPart]]
    """Lists the batches after one, oldest first, without a gap; raises `LogStoreError` or `OSError`."""
    manifest: Callable[[int], Manifest]
    """Reads a manifest by number; raises `LogStoreError` or `OSError`."""
    follows: Callable[[], Checkpoint | None]
    """Reads the end of the log before this one, as the first manifest proves it; `None` if there is none."""
    part: Callable[[Cid, bytes], ChainPart]
    """Returns a batch whose blocks the source gives, from the CID and the block of its manifest; raises `LogStoreError`
    or `OSError`, also if the source has another batch of this number."""


Opened = tuple[str, Callable[[], OfferedLog]]
"""The name of a log, empty if it is not known yet, and a function that asks for its head and checks it."""


def offered_by_head(source: HeadSource, gaps: list[Gap]) -> Iterator[Opened]:
    """List the logs of a home head, or the one log of another CID.

    Args:
        source: the source; it was made with the trusted keys.
        gaps: the list to which it adds what it cannot read.

    Raises:
        LogStoreError: the home head cannot be got, or no trusted key has signed it.
    """
    for named, chain in source.unread_chains():
        try:
            yield ("" if named is None else named.log), partial(_of_chain, chain, named, gaps)
        finally:
            chain.close()


def _of_chain(chain: ChainSource, named: LogHead | None, gaps: list[Gap]) -> OfferedLog:
    head = chain.signed_head()
    check_named(head, named)
    if head is None:
        raise FormatError("only a log with a signed head can be mirrored", hint="Give the CID of the head block.")

    def parts_after(index: int) -> Sequence[ChainPart]:
        gaps.clear()
        return _whole(chain.parts_after(index), head, index, gaps)

    sealed = chain.sealed_log(head.log)
    return OfferedLog(head, parts_after, sealed.manifest, partial(_before, sealed.open_batch), chain.part)


def offered_by_cars(source: CarSource, keys: Sequence[VerifierKey], gaps: list[Gap]) -> Iterator[Opened]:
    """List the logs in CAR files.

    Args:
        source: the files; opened without keys, so that a log of another key is an error of this log alone.
        keys: the trusted keys.
        gaps: the list to which the source adds what it cannot read.

    Raises:
        LogStoreError, OSError: the files cannot be read.
    """
    for log, (head, parts) in source.chains().items():
        sealed = partial(source.sealed_log, log)
        yield log, partial(_of_parts, head, parts, keys, sealed, [gap for gap in gaps if gap.log == log])


def _of_parts(
    head: Head | None,
    parts: Sequence[ChainPart],
    keys: Sequence[VerifierKey],
    sealed: Callable[[], SealedLog],
    gaps: list[Gap],
) -> OfferedLog:
    if head is None:
        raise VerificationError("the head of the newest batch is not in the files")
    check_head(head, keys)
    if head.manifest != parts[-1].cid:
        raise VerificationError("the head is not of the newest batch", expected=head.manifest, found=parts[-1].cid)

    def parts_after(index: int) -> Sequence[ChainPart]:
        return _whole([part for part in parts if part.index > index], head, index, gaps)

    known = {part.index: part for part in parts}

    def part(cid: Cid, block: bytes) -> ChainPart:
        index = Manifest.decode(block).index
        if index not in known:
            raise MissingBlockError("the manifest is not in the files", found=cid.text)
        return _same(known[index], cid)

    return OfferedLog(head, parts_after, among(parts), partial(_before, sealed().open_batch), part)


def offered_by_home(home: HomeDir, keys: Sequence[VerifierKey], fetcher: Fetcher, gaps: list[Gap]) -> Iterator[Opened]:
    """List the logs of a home: their batches, and no lines of the spool.

    Args:
        home: the home.
        keys: the trusted keys.
        fetcher: gets the payloads that have left the home.
        gaps: the list to which damage is added.

    Raises:
        OSError: it cannot be read.
    """
    for subsystem_dir in home.subsystem_dirs():
        for log in logs_of(subsystem_dir):
            if log.name:
                yield log.name, partial(_of_home, subsystem_dir, log, keys, fetcher, gaps)


def _of_home(
    subsystem_dir: SubsystemDir, log: Log, keys: Sequence[VerifierKey], fetcher: Fetcher, gaps: list[Gap]
) -> OfferedLog:
    newest = log.batches.facts(log.newest)
    check_head(newest.head, keys)
    if newest.head.manifest != newest.cid:
        raise VerificationError("the head is not of the newest batch", expected=newest.head.manifest, found=newest.cid)

    def part_at(index: int) -> ChainPart:
        manifest = log.batches.manifest(index)

        def elsewhere(cid: Cid) -> bytes:
            return fetcher.get(cid, holders(subsystem_dir, log, index))

        @contextmanager
        def blocks() -> Iterator[BlockSource]:
            with log.batches.streams(index) as streams:
                yield Fallback(CarBlocks(*streams), elsewhere)

        def lines(manifest: Manifest, verify: Verify) -> Iterator[bytes]:
            with blocks() as source:
                batch = OpenBatch(source, manifest.cid, manifest.cid)
                yield from verified_lines(batch, manifest, elsewhere, verify=verify)

        return ChainPart(manifest.cid, manifest.encode(), lines, _no_text, gaps.append, blocks=blocks)

    def parts_after(index: int) -> Sequence[ChainPart]:
        return [part_at(number) for number in range(index + 1, log.newest + 1)]

    @contextmanager
    def first_batch(_: int) -> Iterator[OpenedBatch]:
        with part_at(0).blocks() as source:
            manifest = log.batches.manifest(0)
            yield OpenedBatch(manifest, OpenBatch(source, manifest.cid, manifest.cid), source.block, None)

    def part(cid: Cid, block: bytes) -> ChainPart:
        return _same(part_at(Manifest.decode(block).index), cid)

    return OfferedLog(newest.head, parts_after, log.batches.manifest, partial(_before, first_batch), part)


def _same(part: ChainPart, cid: Cid) -> ChainPart:
    """Return a batch if it has this manifest.

    Raises:
        VerificationError: it has another one: the log has another history.
    """
    if part.cid != cid:
        raise another_history(part.log, part.index, expected=cid, found=part.cid)
    return part


def _before(open_batch: Callable[[int], AbstractContextManager[OpenedBatch]]) -> Checkpoint | None:
    with suppress(LogStoreError, OSError), open_batch(0) as first:
        if first.manifest.evidence:
            return Checkpoint.parse(first.batch.block(first.manifest.evidence[0]))
    return None


def _no_text(_: Manifest) -> None:
    """Give no text: the lines are read one by one."""


def _whole(parts: Sequence[ChainPart], head: Head, after: int, gaps: Sequence[Gap]) -> Sequence[ChainPart]:
    """Return the batches if none is missing.

    Raises:
        StoreUnavailable: some could not be got.
    """
    parts = list({part.index: part for part in parts}.values())
    due = range(after + 1, head.index + 1)
    here = {part.index for part in parts}
    missing = next((index for index in due if index not in here), None)
    if missing is not None:
        reason = next((gap.reason for gap in gaps), "it is not at the source")
        raise StoreUnavailable(
            f"the manifest of a batch cannot be got: {reason}", where=f"{subsystem_of(head.log)} batch {missing}"
        )
    return parts
