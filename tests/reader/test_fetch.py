"""Stores are asked for blocks, and nothing is begun where no store may be asked."""

from __future__ import annotations

import threading

import pytest

from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.stores import MissingBlockError

CID = Cid.of(RAW, b"x")


@pytest.mark.parametrize(
    ("addresses", "reason"), [((), "no store is configured"), (("memory:x",), "no store was asked")]
)
def test_without_a_store_to_ask_no_thread_begins(addresses, reason):
    """The error comes at once, and says why."""
    before = set(threading.enumerate())
    fetcher = Fetcher()
    for call in (fetcher.get, fetcher.ask):
        with pytest.raises(MissingBlockError, match=reason):
            call(CID, addresses)
    assert set(threading.enumerate()) == before
