"""A store that a handler of this process names is the user's own, for as long as the handler is open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipfs_log_handlers import IPFSHandler, open_home
from ipfs_log_handlers.errors import StoreUnavailable
from ipfs_log_handlers.runtime.process import configured_stores
from ipfs_log_handlers.testing import FakeKubo
from tests.support import sample_homes


@pytest.fixture
def own() -> Iterator[FakeKubo]:
    """Start a store of the user."""
    with FakeKubo() as daemon:
        yield daemon


@pytest.fixture
def other() -> Iterator[FakeKubo]:
    """Another store of the user's, with another token."""
    with FakeKubo() as daemon:
        yield daemon


@pytest.fixture
def stripped(home, own, other):
    """Make a home with two batches whose payloads were at both stores, and are no more in the home."""
    sample_homes.make(home, 20)
    sample_homes.ship(home, own.url, other.url)
    sample_homes.strip(home, 0)
    sample_homes.strip(home, 1)
    for daemon in (own, other):
        daemon.requests.clear()
    return home


def authorizations(daemon: FakeKubo) -> set[str]:
    """Return the credentials that a store was sent."""
    return {request.headers["authorization"] for request in daemon.requests if "authorization" in request.headers}


def test_a_program_reads_back_what_left_its_home(stripped, own, other):
    """Its store is asked, with the token of the handler; a store that only the home names is not."""
    handler = IPFSHandler("audit", home=stripped, kubo=own.url, token="bearer:own", keeper="none")
    handler.handle(sample_homes.record(20))
    with open_home(stripped).dataset() as dataset:
        assert 21 == len(list(dataset.records("audit")))

    assert {"Bearer own"} == authorizations(own)
    assert [] == other.requests
    checks = {(check.check, check.state) for check in open_home(stripped).health() if own.url in check.found}
    assert {("store", "ok"), ("privacy", "ok"), ("batches", "ok")} == checks
    handler.close()
    own.requests.clear()
    with open_home(stripped).dataset() as dataset, pytest.raises(StoreUnavailable, match="no store was asked"):
        list(dataset.records("audit"))
    assert [] == own.requests


def test_each_store_gets_its_own_token(tmp_path, stripped, own, other):
    """Handlers of two homes, and of two stores: neither token reaches the store of the other."""
    handlers = [
        IPFSHandler("audit", home=stripped, kubo=own.url, token="bearer:own", keeper="none"),
        IPFSHandler("audit", home=tmp_path / "second", kubo=other.url, token="bearer:other", keeper="none"),
    ]
    assert {own.url: "bearer:own", other.url: "bearer:other"} == configured_stores()
    own.store.blocks.clear()  # so that the other one is asked, too
    with open_home(stripped).dataset() as dataset:
        assert 20 == len(list(dataset.records("audit")))
    for handler in handlers:
        handler.close()

    assert authorizations(own) <= {"Bearer own"}
    assert {"Bearer other"} == authorizations(other)
    assert {} == configured_stores()


def test_the_token_of_the_environment_does_not_follow(stripped, own, monkeypatch):
    """A handler with a store of its own does not take the token of the store in the environment along."""
    monkeypatch.setenv("IPFS_LOGS_KUBO", "http://127.0.0.1:9")
    monkeypatch.setenv("IPFS_LOGS_TOKEN", "bearer:environment")
    handler = IPFSHandler("audit", home=stripped, kubo=own.url, keeper="none")
    with open_home(stripped).dataset() as dataset:
        assert 20 == len(list(dataset.records("audit")))
    handler.close()

    assert set() == authorizations(own)
