"""Give what a proof is made of: signed heads of one log, its manifests by number, and its batches, opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest, jump_index
from ipfs_log_handlers.reader.batch import OpenBatch
from ipfs_log_handlers.reader.chain_check import Link

__all__ = ["OpenedBatch", "ProvingSource", "SealedLog", "among", "by_jumps"]


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """One batch, open."""

    manifest: Manifest
    """Its manifest, whose block was hashed; of an encrypted batch, the revealed one."""
    batch: OpenBatch
    """Its blocks."""
    elsewhere: Callable[[Cid], bytes]
    """Gives a hashed block that it does not have; raises `StoreError`."""
    head: Head | None
    """The head block that was signed with it; `None`: it is not here."""


def _not_listed(low: int, high: int) -> None:
    """Give no CID: the source has no list."""
    del low, high


@dataclass(frozen=True, slots=True)
class SealedLog:
    """One log of a source, from which records are proved."""

    name: str
    """Name of the log."""
    head: Head | None
    """Its newest head block; `None`: the source has none that can be read."""
    manifest: Callable[[int], Manifest]
    """Reads the manifest with a number, hashed; raises `LogStoreError` or `OSError`."""
    open_batch: Callable[[int], AbstractContextManager[OpenedBatch]]
    """Opens the batch with a number; raises `LogStoreError` or `OSError`."""
    listed: Callable[[int, int], Sequence[Cid] | None] = _not_listed
    """Gives the CIDs of the manifests from a number up to another, where the source has a list of them; `None`: it has
    not. A list may be wrong: a proof that was made from it must be checked."""


@runtime_checkable
class ProvingSource(Protocol):
    """A source of records that can be proved; every source of `open_dataset` is one."""

    def sealed_log(self, name: str) -> SealedLog:
        """Return what records of a log are proved from.

        Args:
            name: name of the log, one that a part of the source has.

        Raises:
            VerificationError: no key that is trusted has signed the log.
            OSError, LogStoreError: the source cannot be read.
        """


def among(links: Sequence[Link]) -> Callable[[int], Manifest]:
    """Return a function that gives the manifests of a log by number, where all that there are were read before.

    Args:
        links: the manifests of the log that are here.
    """
    known = {link.index: link for link in links}

    def manifest(index: int) -> Manifest:
        if index not in known:
            raise VerificationError("the source does not have the manifest", where=f"batch {index}")
        return known[index].manifest()

    return manifest


def by_jumps(newest: Manifest, get: Callable[[Cid], bytes]) -> Callable[[int], Manifest]:
    """Return a function that gives the manifests of a log by number, found by their back pointers.

    From the newest manifest on, `jump` goes back where it does not go too far, else `prev`: at most 41 manifests of a
    million are read to find one. Manifests that were read are remembered.

    Args:
        newest: the newest manifest.
        get: gives a block, hashed; raises `StoreError`.

    Raises:
        VerificationError: by the function: a manifest does not have the place that its follower states, or there is
            none of that number.
    """
    read = {newest.index: newest}

    def manifest(index: int) -> Manifest:
        if not 0 <= index <= newest.index:
            raise VerificationError(
                "no manifest of this number", where=newest.log, expected=f"0 to {newest.index}", found=index
            )
        at = min(number for number in read if number >= index)
        while at != index:
            before = read[at]
            jump = jump_index(at)
            to, cid = (jump, before.jump) if jump is not None and jump >= index else (at - 1, before.prev)
            assert cid is not None  # noqa: S101 - only the first manifest has none, and `at` is above `index`
            if to not in read:
                found = Manifest.decode(get(cid))
                if (found.log, found.index) != (newest.log, to):
                    raise VerificationError(
                        "a manifest is not the one that the chain names",
                        expected=f"{newest.log} batch {to}",
                        found=f"{found.log} batch {found.index}",
                    )
                read[to] = found
            at = to
        return read[index]

    return manifest
