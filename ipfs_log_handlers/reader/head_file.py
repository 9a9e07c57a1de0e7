"""Read the file of a home head, which `ipfs-logs publish --to` writes: a name for those who have no IPNS.

The file is a small CAR: its root is the home head, and the head blocks that it links are in it, too. It is read again
at each look, so that a newer file in its place is followed. The batches are at a daemon or gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import FormatError, StoreUnavailable
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import MAX_BLOCK as MAX_HEAD_BLOCK
from ipfs_log_handlers.format.home_head import MAX_BLOCK, MAX_LOGS, HomeHead
from ipfs_log_handlers.home import disk

__all__ = ["HomeHeadFile"]

_MAX_BYTES: Final = MAX_BLOCK + MAX_LOGS * (MAX_HEAD_BLOCK + 64) + 1024
"""Bytes of a file; a longer one is another file."""


class HomeHeadFile:
    """The file of a home head.

    Args:
        path: the file; no link is followed.

    Raises:
        FormatError: it is another file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks: dict[Cid, bytes] = {}
        with disk.stream(path) as file:
            _root_of(car.Reader(file))

    def resolve(self, name: str) -> Cid:
        """Read the file again; return the CID of its home head.

        Raises:
            StoreUnavailable: it cannot be read now, or is no home head any more.
        """
        try:
            roots, blocks = car.decode(disk.read(self._path, _MAX_BYTES))
        except (OSError, FormatError) as error:
            raise StoreUnavailable("the file of a home head cannot be read", where=name, found=str(error)) from error
        self._blocks = dict(blocks)
        return roots[0]

    def get(self, cid: Cid, *, elsewhere: Callable[[Cid], bytes]) -> bytes:
        """Return a block of the file, hashed; one that is not in the file is got elsewhere."""
        block = self._blocks.get(cid)
        return elsewhere(cid) if block is None else block


def _root_of(reader: car.Reader) -> HomeHead:
    """Return the home head with which a CAR begins."""
    cid, block = next(iter(reader), (None, b""))
    if reader.roots != (cid,):
        raise FormatError("the first block of a CAR is not its only root")
    return HomeHead.decode(block)
