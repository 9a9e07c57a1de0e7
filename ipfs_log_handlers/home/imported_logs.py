"""Find the logs of other homes in a home: imported CAR files, mirrored logs, and the keys to trust for them.

    imported-logs/
      keys  lock                       verifier keys that were given; the lock of an import
      <CID>.car                        an imported file
      index/<16 hex>.<subsystem>.<8 hex>/pages/    index pages of a log, as those of a log of this home: a cache
      known-logs/                      the heads that were accepted of mirrored logs (verify/known_logs.py)
      <16 hex>.<subsystem>.<8 hex>/    a mirrored log
        lock                           held by the process that mirrors it
        head.car                       its newest head block, and the manifests that lead to the newest batch here
        <first>-<last>.car             a piece: batches of the log, one after the other
        absent                         the batches that are here without their payload (absent_payloads.py)
        shipped/<store>                the batches that a store has pinned

A piece gets its name when its records were verified. Then `head.car` is replaced: a batch after the newest one to which
it leads does not count yet. So a kill after any step leaves whole batches that a signed head proves.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.checkpoint import VerifierKey, key_name_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest, jump_index
from ipfs_log_handlers.home import disk, keys
from ipfs_log_handlers.home.layout import HomeDir

__all__ = [
    "MirroredDir",
    "MirroredHead",
    "Piece",
    "imported_files",
    "importing",
    "index_directory",
    "mirrored_logs",
    "remember_keys",
    "trusted_keys",
]

_KEYS: Final = "keys"
"""Name of the file with the verifier keys that were given, one on a line."""
_INDEX: Final = "index"
"""Name of the directory with the index pages of all logs."""
_LOCK: Final = "lock"
"""Name of the file that is locked while logs come in."""
_LOCK_POLL_S: Final = 0.05
"""Seconds between two tries to get the lock."""
_MAX_KEYS_BYTES: Final = 1 << 20
"""Bytes of the file of keys that are read."""
_MAX_HEAD_BYTES: Final = 4 << 20
"""Bytes of `head.car` that are read: a head block and some 130 manifests have less."""
_PIECE: Final = re.compile(r"([0-9]{6,18})-([0-9]{6,18})\.car")
_LOG: Final = re.compile(r"[0-9a-f]{16}\.[a-z0-9_]{1,64}\.[0-9a-f]{8}")


# -- keys


def trusted_keys(home: HomeDir) -> list[VerifierKey]:
    """Return the keys that may sign logs which come in: the home's own, and those that were given before.

    Raises:
        FormatError: the file of keys is damaged.
        HomeError, OSError: a file cannot be read.
    """
    with suppress(FileNotFoundError):
        lines = disk.read(home.imported / _KEYS, _MAX_KEYS_BYTES).decode("utf-8", "replace").split("\n")
        return [*_own(home), *(VerifierKey.parse(line) for line in lines if line)]
    return _own(home)


def remember_keys(home: HomeDir, given: Sequence[VerifierKey]) -> None:
    """Trust more keys from now on; call this within `importing`. Raises as `trusted_keys`."""
    before = trusted_keys(home)
    if all(key in before for key in given):
        return
    lines = dict.fromkeys(key.text for key in (*before, *given) if key not in _own(home))
    disk.replace(home.imported / _KEYS, "".join(f"{line}\n" for line in lines).encode())


def _own(home: HomeDir) -> list[VerifierKey]:
    key = keys.load(home)
    return [] if key is None else [key.verifier]


@contextlib.contextmanager
def importing(home: HomeDir, *, wait_s: float = 0.0) -> Iterator[None]:
    """Let no other process change what is imported meanwhile; a missing home is made.

    Args:
        home: the home.
        wait_s: seconds to wait for another process that imports.

    Raises:
        HomeError: another process imports, or the directory cannot be a home.
        OSError: it cannot be made.
    """
    home.make(sync=True)
    disk.ensure_directory(home.imported, sync=True)
    until = clock.monotonic() + wait_s
    while (lock := disk.take_lock(home.imported / _LOCK)) is None:
        if clock.monotonic() >= until:
            raise HomeError(
                "another process imports into this home", where=home.imported, hint="Run this when it has ended."
            )
        clock.pause(_LOCK_POLL_S)
    try:
        yield
    finally:
        disk.close_locked(lock)


# -- what is here


def imported_files(home: HomeDir) -> list[Path]:
    """List the imported CAR files.

    Raises:
        OSError: the directory cannot be read.
    """
    return [home.imported / name for name in sorted(disk.names(home.imported)) if name.endswith(".car")]


def index_directory(home: HomeDir, log: str) -> Path:
    """Return the directory of the index pages of a log of another home, whether it exists or not.

    Raises:
        FormatError: not the name of a log.
    """
    return home.imported / _INDEX / MirroredDir.of(home, log).path.name


def mirrored_logs(home: HomeDir) -> list[MirroredDir]:
    """List the mirrored logs, by name.

    Raises:
        OSError: the directory cannot be read.
    """
    names = [name for name in sorted(disk.names(home.imported)) if _LOG.fullmatch(name)]
    return [MirroredDir(home.imported / name) for name in names if disk.is_directory(home.imported / name)]


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """A file with batches of a mirrored log."""

    first: int
    """Number of the first batch in it."""
    last: int
    """Number of the last batch in it."""
    path: Path
    """The CAR file; its roots are the manifests of the batches."""


@dataclass(frozen=True, slots=True)
class MirroredHead:
    """The newest head of a mirrored log, and what leads from it to the batches that are here."""

    head: Head
    """The newest head block that was accepted."""
    path: tuple[tuple[Cid, bytes], ...] = ()
    """Manifests, from the newest one of the log by their back pointers to the newest one that is here; empty if all
    batches are here."""

    @property
    def through(self) -> int:
        """Number of the newest batch that is here; -1 if there is none."""
        if not self.path:
            return self.head.index
        return Manifest.decode(self.path[-1][1]).index

    @classmethod
    def leading_to(cls, head: Head, index: int, manifests: dict[int, tuple[Cid, bytes]]) -> MirroredHead:
        """Find the way from a head to a batch.

        Args:
            head: the head.
            index: number of the batch.
            manifests: the manifests from this batch on, each with its CID, by number.
        """
        path: list[tuple[Cid, bytes]] = []
        at = head.index
        while at != index:
            path.append(manifests[at])
            jump = jump_index(at)
            at = jump if jump is not None and jump >= index else at - 1
        return cls(head, (*path, manifests[index]) if path else ())

    def encode(self) -> bytes:
        """Return the bytes of `head.car`: a CARv1 whose roots are all of its blocks, the head block first."""
        blocks = [(self.head.cid, self.head.encode()), *self.path]
        return car.encode([cid for cid, _ in blocks], blocks)

    @classmethod
    def decode(cls, data: bytes) -> MirroredHead:
        """Read the file; each block is hashed. The signature is not checked.

        Raises:
            FormatError: it is damaged, or something else.
        """
        roots, blocks = car.decode(data)
        if list(roots) != [cid for cid, _ in blocks]:
            raise FormatError("the blocks of the head of a mirrored log are not its roots")
        return cls(Head.decode(blocks[0][1]), tuple(blocks[1:]))


class MirroredDir:
    """The directory of one mirrored log.

    Args:
        path: its path; `of` finds it for a log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """The directory."""

    @classmethod
    def of(cls, home: HomeDir, log: str) -> MirroredDir:
        """Return the directory of a log, whether it exists or not.

        Raises:
            FormatError: not the name of a log.
        """
        key_name_of(log)  # so that the name of a log is never a path
        return cls(home.imported / log.removeprefix("ipfs-logs/").replace("/", "."))

    @property
    def log(self) -> str:
        """Name of the log."""
        return "ipfs-logs/{}/{}/{}".format(*self.path.name.split("."))

    @property
    def subsystem(self) -> str:
        """Name of its subsystem."""
        return self.path.name.split(".")[1]

    @property
    def head_file(self) -> Path:
        """Path of `head.car`."""
        return self.path / "head.car"

    @property
    def shipped(self) -> Path:
        """Directory of the delivery states of stores."""
        return self.path / "shipped"

    @property
    def incoming(self) -> Path:
        """Path of the piece that is written at this moment."""
        return self.path / "incoming.tmp"

    def piece_file(self, first: int, last: int) -> Path:
        """Return the path of a piece."""
        return self.path / f"{first:06}-{last:06}.car"

    def head(self) -> MirroredHead | None:
        """Read the newest head; `None` before the first piece.

        Raises:
            FormatError: the file is damaged, or that of another log.
            OSError: it cannot be read.
        """
        try:
            found = MirroredHead.decode(disk.read(self.head_file, _MAX_HEAD_BYTES))
        except FileNotFoundError:
            return None
        except FormatError as error:
            error.where = self.head_file
            raise
        if found.head.log != self.log:
            raise FormatError("the head of another log", where=self.head_file, expected=self.log, found=found.head.log)
        return found

    def write_head(self, head: MirroredHead) -> None:
        """Replace the newest head in one step, synced; call this only while the log is `locked`."""
        data = head.encode()
        try:
            if disk.read(self.head_file, _MAX_HEAD_BYTES) == data:
                return
        except (FileNotFoundError, disk.WrongFileError):
            pass
        disk.replace(self.head_file, data)

    def touch_head(self) -> None:
        """Write the newest head again, so that readers which follow it look at the pieces again.

        Call this only while the log is `locked`.
        """
        with contextlib.suppress(FileNotFoundError):
            disk.replace(self.head_file, disk.read(self.head_file, _MAX_HEAD_BYTES))

    def pieces(self) -> list[Piece]:
        """List the pieces, oldest batches first; one whose batches are all in a larger one is left out.

        Raises:
            OSError: the directory cannot be read.
        """
        pieces: list[Piece] = []
        for piece in sorted(self._all(), key=lambda piece: (piece.first, -piece.last)):
            if not pieces or piece.last > pieces[-1].last:
                pieces.append(piece)
        return pieces

    def _all(self) -> list[Piece]:
        found = [(name, _PIECE.fullmatch(name)) for name in disk.names(self.path)]
        return [
            Piece(int(match[1]), int(match[2]), self.path / name)
            for name, match in found
            if match is not None and int(match[1]) <= int(match[2])
        ]

    def shown_pieces(self, through: int) -> list[Piece]:
        """List the pieces with batches up to a number, as `pieces` does."""
        return [piece for piece in self.pieces() if piece.first <= through]

    def sweep(self) -> None:
        """Remove what a killed process has left: an unfinished file, and pieces whose batches are in a larger one.

        Call this only while the log is `locked`.
        """
        disk.sweep(self.path)
        kept = set(self.pieces())
        for piece in self._all():
            if piece not in kept:
                disk.remove(piece.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process mirror this log meanwhile; the directory is made.

        Raises:
            HomeError: another process mirrors it.
            OSError: the directory cannot be made.
        """
        disk.ensure_directory(self.path, sync=True)
        lock = disk.take_lock(self.path / _LOCK)
        if lock is None:
            raise HomeError("another process mirrors this log", where=self.path, hint="Wait until it has ended.")
        try:
            yield
        finally:
            disk.close_locked(lock)
