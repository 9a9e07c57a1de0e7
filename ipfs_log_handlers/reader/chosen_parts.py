"""Choose the batches of a subsystem among those of a source outside the home, and refuse payloads that are given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipfs_log_handlers.reader.blocks_ahead import BlocksAhead
from ipfs_log_handlers.reader.parts import Reads

if TYPE_CHECKING:
    from ipfs_log_handlers.reader.chain_part import ChainPart

__all__ = ["chosen_parts", "is_given_up", "refuse_given_up"]


def chosen_parts(parts: Sequence[ChainPart], subsystem: str, reads: Reads | None) -> list[ChainPart]:
    """Choose the parts of one subsystem that have records, and count their manifests."""
    chosen = [part for part in parts if part.subsystem == subsystem and part.has_records]
    if reads is not None:
        reads.manifests += len(chosen)
    return chosen


def is_given_up(part: ChainPart) -> bool:
    """Return whether an act gave a payload up, and it is not at hand; no daemon or gateway is asked for it."""
    if part.pruned is None:
        return False
    with part.blocks() as source:
        return isinstance(source, BlocksAhead) or part.payload not in source


def refuse_given_up(part: ChainPart) -> None:
    """Raise the error about a payload that was given up, unless it is at hand all the same.

    Raises:
        PrunedError: it was given up.
    """
    if part.pruned is not None and is_given_up(part):
        raise part.pruned
