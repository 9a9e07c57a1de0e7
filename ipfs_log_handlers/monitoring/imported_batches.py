"""List the batches of other homes in a home: of imported files, and of mirrored logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.catalogue import described, line_of
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.monitoring.batch_detail import BatchDetail, detail_of
from ipfs_log_handlers.monitoring.batches import BatchInfo
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.imported_parts import ImportedSource

__all__ = [
    "imported_batch_at",
    "imported_batch_lines",
    "imported_batch_with_cid",
    "imported_batches",
    "imported_subsystems",
]


def imported_subsystems(home: HomeDir) -> tuple[str, ...]:
    """Name the subsystems of the logs of other homes that are here.

    Raises:
        OSError: the home cannot be read.
    """
    return tuple(ImportedSource(home, _ignore).subsystems())


def imported_batches(
    home: HomeDir, subsystems: Sequence[str] | None, *, on_damage: Callable[[Exception], None]
) -> Iterator[BatchInfo]:
    """List the batches by log and number; a trusted key has signed each.

    Args:
        home: the home.
        subsystems: only these; `None`: all.
        on_damage: called with an error for what cannot be read.

    Raises:
        OSError: the home cannot be read.
    """
    import msgspec

    decode = msgspec.json.Decoder(BatchInfo).decode
    return (decode(line) for line in imported_batch_lines(home, subsystems, on_damage=on_damage))


def imported_batch_lines(
    home: HomeDir, subsystems: Sequence[str] | None, *, on_damage: Callable[[Exception], None]
) -> Iterator[bytes]:
    """List the same batches as JSON lines, each ended by LF, with the keys of `ipfs-logs ls`."""

    def report(gap: Gap) -> None:
        on_damage(FormatError(gap.reason, where=gap.segment or gap.log))

    source = ImportedSource(home, report)
    if not source.is_used:
        return
    for name in source.subsystems():
        if subsystems is None or name in subsystems:
            for part in source.all_parts(name):
                facts = described(name, part.cid, part.manifest())
                yield line_of({**facts, "state": "imported", "origin": part.log}) + b"\n"


def imported_batch_with_cid(home: HomeDir, wanted: Cid) -> BatchDetail | None:
    """Find the batch whose manifest or payload has a CID; `None` when there is none that a trusted key has signed."""
    source = ImportedSource(home, _ignore)
    part = source.part_of(wanted)
    return None if part is None else _detail(source, part)


def imported_batch_at(home: HomeDir, subsystem: str, index: int) -> BatchDetail | None:
    """Find the batch with a number in the only log of a subsystem that has one; `None` when there is none.

    Raises:
        ConfigurationError: several logs have a batch of this number.
    """
    source = ImportedSource(home, _ignore)
    found = [part for part in source.all_parts(subsystem) if part.index == index]
    if len(found) > 1:
        raise ConfigurationError(
            f"{len(found)} logs of other homes have a batch {index} of {subsystem}",
            hint="Name it by its CID: `ipfs-logs ls` lists all batches.",
        )
    return _detail(source, found[0]) if found else None


def _detail(source: ImportedSource, part: ChainPart) -> BatchDetail:
    head = source.chains().get(part.log, (None, ()))[0]
    signed = head.cid if head is not None and head.manifest == part.cid else None
    return detail_of(part.subsystem, part.cid, part.manifest(), signed, origin=part.log)


def _ignore(gap: Gap) -> None:
    """Ignore what cannot be read: only names are asked for."""
