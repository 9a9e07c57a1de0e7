"""The benchmark of proofs counts what it says, on a short chain."""

from __future__ import annotations

import pytest

from benchmarks import proof
from benchmarks.proof_peers import PEERS, _act
from ipfs_log_handlers.format import merkle


def test_a_short_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests that are made again are those of the chain; reads and nodes are in their bounds."""
    monkeypatch.setattr(proof, "_PROVED", 10)
    chain = proof.Chain(300)
    assert [chain.manifest(index).cid for index in (0, 1, 17, 299)] == [chain.cids[index] for index in (0, 1, 17, 299)]
    assert merkle.edge_root(chain.edge) == merkle.root([merkle.leaf_hash(cid) for cid in chain.cids])
    assert len(chain.append_us) == 10
    assert 1 <= proof._locating(chain) <= 45
    assert [9, 1] == [max(proof._proving(chain, listed=listed)[0]) for listed in (False, True)]
    assert 0 < proof._walk(chain)
    assert 1 <= proof._new_nodes(chain) <= 3


def test_our_own_row(tmp_path) -> None:
    """The log that is attacked is verified, and the attacks change it."""
    peer = PEERS["ipfs_log_handlers"]
    directory = tmp_path / "log"
    directory.mkdir()
    assert 0 < _act(peer, "append", directory, 50)["us"]
    assert (True, 50) == peer.verify(directory)
    peer.flip(directory)
    assert not peer.verify(directory)[0]
