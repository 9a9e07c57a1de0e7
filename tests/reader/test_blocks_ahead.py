"""Blocks that were asked for ahead come when they are used; a closed source is named."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from ipfs_log_handlers.errors import StoreUnavailable
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.reader.blocks_ahead import BlocksAhead, wait_for_block

CID = Cid.of(RAW, b"x")


def test_a_block_that_was_asked_for_ahead_is_not_asked_for_again():
    """It is used once, as a block or as a future; the next time, the source is asked again."""
    asked: list[Cid] = []

    def get(cid: Cid) -> bytes:
        asked.append(cid)
        return b"x"

    def ask(cid: Cid) -> Future[bytes]:
        coming: Future[bytes] = Future()
        coming.set_result(get(cid))
        return coming

    blocks = BlocksAhead(get, ask)
    blocks.prefetch(CID)
    blocks.prefetch(CID)
    assert (blocks.block(CID), len(asked)) == (b"x", 1)
    assert (blocks.block(CID), len(asked)) == (b"x", 2)
    blocks.prefetch(CID)
    assert (blocks.future(CID).result(), len(asked)) == (b"x", 3)
    assert (blocks.future(CID).result(), len(asked)) == (b"x", 4)


def test_a_source_that_is_closed_meanwhile_is_named():
    """An error of ours, not `CancelledError`, reaches the program."""
    coming: Future[bytes] = Future()
    coming.cancel()
    with pytest.raises(StoreUnavailable, match="closed while a block was read"):
        wait_for_block(CID, coming)


def test_a_block_that_was_given_up_is_asked_for_again():
    """Whoever needs it later does not get the request that nobody waits for."""
    requests: list[Future[bytes]] = []

    def ask(_: Cid) -> Future[bytes]:
        requests.append(Future())
        return requests[-1]

    blocks = BlocksAhead(lambda _: b"x", ask)
    assert blocks.prefetch(CID).cancel()
    assert blocks.prefetch(CID) is requests[1]
    assert blocks.prefetch(CID) is requests[1]
    assert requests[1].cancel()
    assert blocks.block(CID) == b"x"
    assert blocks.prefetch(CID).cancel()
    assert blocks.future(CID) is requests[3]
