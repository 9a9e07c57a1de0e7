"""Write logs as C2SP tlog-tiles: a directory that a web server can serve to clients of transparency logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import MAX_NOTE, Checkpoint
from ipfs_log_handlers.format.tiles import tile_files
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.query.export import replacing
from ipfs_log_handlers.sharing.sealed_log import OnRead, SealedLog, sealed_logs

__all__ = ["TileExport", "export_tiles"]

_CHECKPOINT: Final = "checkpoint"
"""Name of the file with the signed note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileExport:
    """The tiles of one log in a directory."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log: the origin in its checkpoint."""
    directory: str
    """Directory of the log, with `checkpoint` and `tile/`."""
    batches: int
    """Number of leaves in the tree."""
    new_files: int
    """Files that were not there before."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs export --tiles -o json`."""
        return {name: getattr(self, name) for name in self.__slots__}


def export_tiles(
    home: HomeDir, subsystem_dirs: Sequence[SubsystemDir], directory: Path, on_read: OnRead | None = None
) -> Iterator[TileExport]:
    """Write the tiles of each log of some subsystems below a directory, in one that has the name of the log.

    Only files that are missing are written. The checkpoint is written last: until then, a client sees the log as it was
    before, so that a kill at any moment leaves a whole log.

    Args:
        home: the home.
        subsystem_dirs: the subsystems.
        directory: the directory; made if it is missing.
        on_read: called after each manifest that was read.

    Raises:
        FormatError, VerificationError: a log is damaged; or the directory has another history of it, or a newer one.
        OSError: the home cannot be read, or the directory not be written.
    """
    for sealed in sealed_logs(home, subsystem_dirs, on_read):
        yield _export(sealed, directory / sealed.log.name)


def _export(sealed: SealedLog, directory: Path) -> TileExport:
    _refuse_another_history(sealed, directory / _CHECKPOINT)
    new = 0
    for name, content in tile_files(sealed.manifests):
        new += _write(directory / name, content)
    new += _write(directory / _CHECKPOINT, sealed.head.checkpoint)
    return TileExport(
        subsystem=sealed.subsystem,
        log=sealed.log.name,
        directory=str(directory),
        batches=len(sealed.manifests),
        new_files=new,
    )


def _write(file: Path, content: bytes) -> bool:
    """Write a file if it is missing or has other bytes; return whether it was missing."""
    old = None
    with suppress(FileNotFoundError):
        old = file.read_bytes()
    if old != content:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as stream:
            stream.write(content)
    return old is None


def _refuse_another_history(sealed: SealedLog, file: Path) -> None:
    """Check that the checkpoint in a directory is one of this log, and not a newer one.

    Raises:
        FormatError: it is no checkpoint.
        VerificationError: the log there has another history, or is longer.
    """
    try:
        with file.open("rb") as stream:
            note = stream.read(MAX_NOTE + 1)
    except FileNotFoundError:
        return
    try:
        claim = Checkpoint.parse(note)
    except FormatError as error:
        error.where = file
        raise
    leaves = [merkle.leaf_hash(cid) for cid in sealed.manifests[: claim.size]]
    if (claim.origin, claim.size) != (sealed.log.name, len(leaves)) or merkle.root(leaves) != claim.root:
        raise VerificationError(
            "the tiles there are those of another history of this log, or of more batches",
            where=file,
            expected=f"{sealed.log.name}, at most {len(sealed.manifests)} batches, root {merkle.root(leaves).hex()}",
            found=f"{claim.origin}, {claim.size} batches, root {claim.root.hex()}",
            hint="`ipfs-logs verify` checks the log in the home. Choose another directory to export it.",
        )
