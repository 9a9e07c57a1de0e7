"""Take in CAR files with logs of other homes: verified as they come in, and never changed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipfs_log_handlers.errors import ConfigurationError, FormatError, VerificationError
from ipfs_log_handlers.format import car, dag
from ipfs_log_handlers.format.checkpoint import VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.snapshot import Snapshot
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.imported_logs import imported_files, importing, mirrored_logs, remember_keys, trusted_keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.chain_places import another_history
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.sealed import check_head
from ipfs_log_handlers.sharing.imported_index import ImportedIndex
from ipfs_log_handlers.verify.chain import verify_elsewhere

__all__ = ["ImportedLog", "import_car"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLog:
    """The batches of a log of another home, in a file of this home."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log: its origin."""
    key: str
    """The verifier key that has signed it."""
    first: int
    """Number of the first batch."""
    batches: int
    """Number of batches."""
    records: int
    """Number of records."""
    file: str
    """Path of the CAR file that has them."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs import -o json`."""
        return {name: getattr(self, name) for name in self.__slots__}


def import_car(
    home: HomeDir, file: Path, *, given: Sequence[VerifierKey], on_bytes: Callable[[int], None] | None = None
) -> tuple[ImportedLog, ...]:
    """Copy a CAR file with logs into a home after each claim in it was verified; a missing home is made for a CAR file.

    Every block is hashed, and must be the one that is due: the roots and what they link, depth first, each block once.
    Then the chain of each log is compared with its signed head, and the records with their manifests.

    Args:
        home: the home.
        file: the file: of `export_car`, or of `ipfs dag export` of a snapshot.
        given: keys to trust from now on, beside the key of the home and those that were given before.
        on_bytes: called with the bytes of each block that was copied.

    Raises:
        FormatError, VerificationError: the file is not such a file, was changed, or has another history of a log.
        ConfigurationError: no key is known for a log, or it is a log of this home.
        HomeError, OSError: the home cannot be used, or the file not be read.
    """
    with file.open("rb") as stream:
        reader = car.Reader(stream)
        with importing(home):
            disk.sweep(home.imported)
            return _take_in(home, reader, given, on_bytes or _ignore)


def _take_in(
    home: HomeDir, reader: car.Reader, given: Sequence[VerifierKey], on_bytes: Callable[[int], None]
) -> tuple[ImportedLog, ...]:
    """Copy, verify, and only then give the copy its name; the lock of the imported logs is held."""
    incoming = home.imported / "incoming.tmp"
    try:
        disk.write_new(incoming, _checked(reader, on_bytes))
        trusted = [*given, *trusted_keys(home)]
        target = home.imported / f"{reader.roots[0].text}.car"
        found = _verified(incoming, trusted)
        covered = _compared(home, found, target)
        if given:
            remember_keys(home, given)
        disk.rename(incoming, target)
        disk.sync_directory(home.imported)
    except BaseException:
        with suppress(OSError):
            disk.remove(incoming)
        raise
    for old in covered:
        disk.remove(old)
    for log in found:
        with suppress(OSError):  # a disk that refuses index pages costs the speed of queries only
            ImportedIndex(home).of_files(log, [target])
    return tuple(
        ImportedLog(
            subsystem=subsystem_of(log),
            log=log,
            key=next(key.text for key in trusted if key.name == key_name_of(log)),
            first=min(numbers),
            batches=len(numbers),
            records=records,
            file=str(target),
        )
        for log, (numbers, records) in found.items()
    )


def _ignore(size: int) -> None:
    """Ignore the progress."""


def _checked(reader: car.Reader, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """Yield a CAR piece by piece; each block is hashed, and is the one that is due."""
    roots = frozenset(reader.roots)
    if len(roots) != len(reader.roots):
        raise FormatError("a root stands twice in the header of a CAR")
    blocks = iter(reader)

    def due(cid: Cid) -> bytes:
        found, block = next(blocks, (None, b""))
        if found is None:
            raise VerificationError("the CAR ends before its last block", expected=cid.text)
        if found != cid:
            raise VerificationError(
                "another block stands in the CAR than the one that is due",
                expected=cid.text,
                found=found.text,
                hint="`ipfs-logs export` and `ipfs dag export` write the blocks in their order.",
            )
        return block

    yield car.header(reader.roots)
    for cid, block in dag.walk(reader.roots, due):
        if cid in roots:
            _check_kind(cid, block)
        yield car.section(cid, block)
        on_bytes(len(block))
    more = next(blocks, None)
    if more is not None:
        raise VerificationError("a block stands in the CAR that nothing links", found=more[0].text)


def _check_kind(cid: Cid, block: bytes) -> None:
    """Check that a root is a snapshot, a head block or a manifest."""
    for decode in (Snapshot.decode, Head.decode, Manifest.decode):
        with suppress(FormatError):
            decode(block)
            return
    raise FormatError("a root of the CAR is no snapshot, head block or manifest of a log", found=cid.text)


_Found = dict[str, tuple[dict[int, Cid], int]]
"""By log: the manifests by their numbers, and the number of records."""


def _verified(incoming: Path, trusted: Sequence[VerifierKey]) -> _Found:
    """Verify each log of a file; return what it has."""
    gaps: list[Gap] = []
    source = CarSource([incoming], gaps.append, verify="chain")
    chains = source.chains()
    if gaps or not chains:
        raise VerificationError("the CAR has no whole log", found=gaps[0].reason if gaps else "no batch")
    for log, (head, _) in chains.items():
        if all(key.name != key_name_of(log) for key in trusted):
            raise ConfigurationError(
                "the key of this log is not known: nobody can say who has signed it",
                where=log,
                hint="Give it with --key (keys=): its owner gets it with `ipfs-logs keys show`.",
            )
        if head is None:
            raise VerificationError("the head of the newest batch is not in the CAR", where=log)
        check_head(head, trusted)
    found: _Found = {}
    for report in verify_elsewhere(source):
        if not report.ok:
            problem = report.problems[0]
            raise VerificationError(
                f"the log {report.log} differs from its signed state: batch {problem.batch}, {problem.field}",
                expected=problem.expected,
                found=problem.found,
            )
        parts = chains[report.log][1]
        found[report.log] = ({part.index: part.cid for part in parts}, report.records)
    return found


def _compared(home: HomeDir, found: _Found, target: Path) -> list[Path]:
    """Compare a file with the logs that are here; return the older files whose batches are all in it.

    Raises:
        ConfigurationError: the home has such a log itself.
        VerificationError: another file has another batch of one number.
    """
    for subsystem_dir in home.subsystem_dirs():
        for log in logs_of(subsystem_dir):
            if log.name in found:
                raise ConfigurationError("this home has this log itself", where=log.name)
    for mirrored in mirrored_logs(home):
        if mirrored.log in found:
            files = [piece.path for piece in mirrored.pieces()]
            for part in CarSource(files, _ignore_gap).chains().get(mirrored.log, (None, ()))[1]:
                _compare(mirrored.log, part, found[mirrored.log][0])
    covered = []
    for file in imported_files(home):
        if file == target:
            continue
        is_covered = True
        for name_of_log, (_, parts) in CarSource([file], _ignore_gap).chains().items():
            numbers = found[name_of_log][0] if name_of_log in found else {}
            for part in parts:
                is_covered &= part.index in numbers
                _compare(name_of_log, part, numbers)
        if is_covered:
            covered.append(file)
    return covered


def _compare(log: str, part: ChainPart, numbers: Mapping[int, Cid]) -> None:
    """Refuse a file that has another batch of one number than a file that is here."""
    if part.index in numbers and numbers[part.index] != part.cid:
        raise another_history(log, part.index, expected=part.cid, found=numbers[part.index])


def _ignore_gap(gap: Gap) -> None:
    """Ignore damage of a file that is here."""
