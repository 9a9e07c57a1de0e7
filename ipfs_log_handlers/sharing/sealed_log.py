"""Read the CIDs of all manifests of a log in a home, checked against the signed head, and make its snapshot of them.

The file `snapshot` beside the batches of a log holds the blocks of the newest snapshot that was made, as a CARv1. It is
a cache: it is not signed, may be deleted, and is not used if it does not agree with the log. Because of it, only the
manifests that were sealed after it are read for the next snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format import car, snapshot
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.snapshot import Snapshot
from ipfs_log_handlers.home import disk, keys
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of

__all__ = ["OnRead", "SealedLog", "sealed_logs"]

OnRead = Callable[[str, int, int], None]
"""Called with the subsystem, the number of batches that were read, and the number of all its batches."""
_FILE: Final = "snapshot"
"""Name of the file with the newest snapshot, in the directory of the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedLog:
    """A log of a home up to one of its batches; its manifests are those that the head of this batch has signed."""

    subsystem_dir: SubsystemDir
    """Directory of its subsystem."""
    log: Log
    """The log in the home."""
    head: Head
    """The head block of the newest batch."""
    manifests: tuple[Cid, ...]
    """CIDs of all manifests, oldest first."""
    before: Cid | None
    """CID of the snapshot that was made before; `None`: none is known."""
    known: frozenset[Cid]
    """CIDs of the blocks of that snapshot."""

    @property
    def subsystem(self) -> str:
        """Name of the subsystem."""
        return self.log.subsystem

    def blocks(self, given_up: Container[int] = ()) -> list[tuple[Cid, bytes]]:
        """Return the blocks of its snapshot; the last one is the root.

        Args:
            given_up: numbers of the batches whose payloads are not linked, because they were given up.
        """
        return list(snapshot.blocks_of(self.log.name, self.head.cid, self.manifests, given_up))

    def remember(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        """Write the blocks of its snapshot for the next one; an error of the disk is ignored."""
        with suppress(OSError):
            disk.replace(self.log.log_dir.path / _FILE, car.encode([blocks[-1][0]], blocks), sync=False)

    def up_to(self, index: int) -> SealedLog:
        """Return the log as it was when a batch was the newest one.

        Raises:
            FormatError, OSError: the batch cannot be read.
            VerificationError: its head has not signed these manifests.
        """
        if index == self.head.index:
            return self
        head = self.log.batches.facts(index).head
        return _checked(self.subsystem_dir, self.log, head, self.manifests[: index + 1], None)


def sealed_logs(
    home: HomeDir, subsystem_dirs: Sequence[SubsystemDir], on_read: OnRead | None = None
) -> Iterator[SealedLog]:
    """Read the sealed logs of some subsystems, the oldest log of each first.

    Args:
        home: the home.
        subsystem_dirs: the subsystems.
        on_read: called after each batch that was read.

    Raises:
        FormatError, FileNotFoundError: a manifest is damaged or missing.
        VerificationError: the manifests are not those that the head has signed.
        HomeError: the key of the home is damaged.
    """
    key = keys.load(home)
    for subsystem_dir in subsystem_dirs:
        for log in logs_of(subsystem_dir):
            newest = log.log_dir.sealed_through()
            if newest is None:
                continue
            sealed = _read(subsystem_dir, log, newest[1], on_read or _ignore)
            if key is not None and key.name == key_name_of(sealed.head.log):
                sealed.head.verify(key.verifier)
            yield sealed


def _ignore(subsystem: str, done: int, total: int) -> None:
    """Ignore the progress."""


def _read(subsystem_dir: SubsystemDir, log: Log, newest: int, on_read: OnRead) -> SealedLog:
    remembered = _remembered(log, newest)
    head = log.batches.facts(newest).head
    if remembered is not None:
        with suppress(VerificationError):  # the file is another log's, or damaged in a way that keeps its hashes
            manifests = _manifests(log, newest, remembered.manifests, on_read)
            return _checked(subsystem_dir, log, head, manifests, remembered)
    return _checked(subsystem_dir, log, head, _manifests(log, newest, (), on_read), None)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """The content of the file with the newest snapshot."""

    root: Snapshot
    blocks: dict[Cid, bytes]
    manifests: tuple[Cid, ...]


def _remembered(log: Log, newest: int) -> _Remembered | None:
    """Read the newest snapshot of a log; `None` if there is none of a beginning of this log."""
    with suppress(OSError, LogStoreError, KeyError):
        with disk.stream(log.log_dir.path / _FILE) as stream:
            reader = car.Reader(stream)
            blocks = dict(reader)
        root = Snapshot.decode(blocks[reader.roots[0]])
        manifests = snapshot.read_manifests(root, lambda cids: [blocks[cid] for cid in cids])
        if root.log == log.name and root.size <= newest + 1:
            return _Remembered(root, blocks, tuple(manifests))
    return None


def _manifests(log: Log, newest: int, known: Sequence[Cid], on_read: OnRead) -> list[Cid]:
    """Return the CIDs of all manifests, of which the first ones are known; each names the one before it."""
    cids = list(known)
    for index in range(len(cids), newest + 1):
        manifest = log.batches.manifest(index)
        if manifest.prev != (cids[-1] if cids else None):
            raise VerificationError(
                "a manifest does not continue the one before it",
                where=f"{log.name} batch {index}",
                expected=cids[-1] if cids else "none",
                found=manifest.prev,
                hint="`ipfs-logs verify` lists all problems.",
            )
        cids.append(manifest.cid)
        on_read(log.subsystem, index + 1, newest + 1)
    return cids


def _checked(
    subsystem_dir: SubsystemDir, log: Log, head: Head, manifests: Sequence[Cid], remembered: _Remembered | None
) -> SealedLog:
    """Return the log if the head has signed these manifests.

    Raises:
        VerificationError: it has signed others.
    """
    *_, (_, root) = snapshot.blocks_of(log.name, head.cid, manifests)
    try:
        snapshot.check_signed(Snapshot.decode(root), head, manifests)
    except VerificationError as error:
        error.hint = "`ipfs-logs verify` lists all problems of the log."
        raise
    return SealedLog(
        subsystem_dir=subsystem_dir,
        log=log,
        head=head,
        manifests=tuple(manifests),
        before=None if remembered is None else remembered.root.cid,
        known=frozenset(() if remembered is None else remembered.blocks),
    )
