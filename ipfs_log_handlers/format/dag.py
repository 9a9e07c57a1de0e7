"""Follow the links of blocks, whatever their codec, in the order in which IPFS tools follow them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ipfs_log_handlers.format import dagcbor, directory
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, Cid

__all__ = ["links", "walk"]


def links(cid: Cid, block: bytes) -> list[Cid]:
    """Return the links of a block in the order in which they stand in it; a raw block has none.

    Raises:
        FormatError: the block is not what the codec in its CID says.
    """
    if cid.codec == DAG_PB:
        return [link for link, _ in directory.links(cid, block)]
    if cid.codec == DAG_CBOR:
        return list(_links_in(dagcbor.decode(block)))
    return []


def _links_in(value: object) -> Iterator[Cid]:
    if type(value) is Cid:
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _links_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _links_in(item)


def walk(roots: Sequence[Cid], get: Callable[[Cid], bytes]) -> Iterator[tuple[Cid, bytes]]:
    """Yield each block below some roots once: first a block, then what it links, depth first.

    This is the order of `ipfs dag export`. The next block is asked for when the one before it was taken.

    Args:
        roots: the roots, in their order.
        get: returns a block, hashed; its exceptions are passed on.

    Raises:
        FormatError: a block is not what the codec in its CID says.
    """
    seen: set[Cid] = set()
    due = list(reversed(roots))
    while due:
        cid = due.pop()
        if cid in seen:
            continue
        seen.add(cid)
        block = get(cid)
        yield cid, block
        due.extend(reversed(links(cid, block)))
