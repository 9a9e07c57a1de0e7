"""Snapshots: the tree of links to all manifests of a log, its size, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dag, merkle, snapshot
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.snapshot import Node, Snapshot
from tests.support import mutations

KEY = SecretKey.generate(b"\7" * 32)
LOG = f"{KEY.name}/audit/0123abcd"
HEAD = Cid.of(DAG_CBOR, b"head")


@cache
def manifests(count: int, salt: bytes = b"") -> tuple[Cid, ...]:
    """Return the CIDs of so many made-up manifests."""
    return tuple(Cid.of(DAG_CBOR, salt + number.to_bytes(4, "big")) for number in range(count))


def built(cids: Sequence[Cid]) -> tuple[Snapshot, dict[Cid, bytes]]:
    """Build a snapshot; return its root and its blocks."""
    blocks = dict(snapshot.blocks_of(LOG, HEAD, cids))
    return Snapshot.decode(list(blocks.values())[-1]), blocks


@pytest.mark.parametrize("size", [3, 256, 300])
def test_manifests_whose_payloads_were_given_up(size):
    """They are linked as raw blocks with the same hash, and read back as the manifests that they are."""
    blocks = dict(snapshot.blocks_of(LOG, HEAD, manifests(size), {0, size - 2}))
    root = Snapshot.decode(list(blocks.values())[-1])
    links = [link for block in blocks.values() for link in dag.links(Cid.of(DAG_CBOR, block), block)]
    assert [cid.as_codec(RAW) in links for cid in manifests(size)] == [n in (0, size - 2) for n in range(size)]
    assert snapshot.read_manifests(root, lambda cids: [blocks[cid] for cid in cids]) == list(manifests(size))


def signed(cids: Sequence[Cid]) -> Head:
    """Return a head that has signed these manifests."""
    root = merkle.root([merkle.leaf_hash(cid) for cid in cids])
    note = Checkpoint(origin=LOG, size=len(cids), root=root).signed(KEY)
    return Head(log=LOG, index=len(cids) - 1, manifest=cids[-1], checkpoint=note)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 65_537])
def test_every_manifest_is_linked_in_its_order(size):
    """The manifests are read back in their order, and a CID names each block."""
    root, blocks = built(manifests(size))
    assert all(cid.matches(block) and len(block) <= snapshot.MAX_BLOCK for cid, block in blocks.items())
    assert (root.log, root.size, root.head) == (LOG, size, HEAD)
    assert snapshot.read_manifests(root, lambda cids: [blocks[cid] for cid in cids]) == list(manifests(size))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 255, 256, 65_535, 65_536, 70_000])
def test_one_more_batch_makes_at_most_three_new_blocks(size):
    """Only the right edge is new, also where a node of each level has just become complete."""
    _, before = built(manifests(size))
    _, after = built(manifests(size + 1))
    assert 1 <= len(after.keys() - before.keys()) <= 3


def test_256_more_batches_make_two_new_blocks():
    """Among many batches nearly all blocks are those of the snapshot before."""
    _, before = built(manifests(70_000))
    _, after = built(manifests(70_256))
    assert (len(before), len(after.keys() - before.keys())) == (275, 2)


def test_the_bytes_are_frozen():
    """The same log has the same snapshot in every version."""
    assert built(manifests(3))[0].cid.text == "bafyreigenza4evkk26bxekaa7s7v3li2s5mplqkla5ao7oftbqhodgn3ui"
    assert built(manifests(300))[0].cid.text == "bafyreic2gpihbadqgrkkssn2fuxhxmg3e4wexn7opxhrmpqm7ll6t5r2mm"


@pytest.mark.slow
def test_each_flipped_bit_and_each_cut_of_a_block_is_noticed():
    """No other bytes have the CID of a root or node; the decoders raise nothing but `FormatError`."""
    root = built(manifests(130))[0]
    flips = 0
    for mutant in mutations.flips(root.encode()):
        flips += 1
        assert not root.cid.matches(mutant)
    assert flips > 42_000
    mutations.assert_canonical(Snapshot.decode, Snapshot.encode, mutations.mutants(built(manifests(3))[0].encode()))
    node = Node(level=0, links=manifests(256)).encode()
    mutations.assert_canonical(Node.decode, Node.encode, list(mutations.flips(node))[::301])
    mutations.assert_refused(Node.decode, list(mutations.cuts(node))[::101])


@given(st.binary(max_size=200))
def test_other_bytes_are_a_format_error(data):
    """Decoders raise `FormatError` for whatever is no root and no node."""
    mutations.assert_total(Snapshot.decode, [data])
    mutations.assert_total(Node.decode, [data])


class TestSigned:
    """A snapshot is compared with the checkpoint in its head."""

    def test_the_signed_manifests_are_accepted(self):
        """Exactly the manifests of the checkpoint, in their order."""
        for size in (1, 5, 257):
            root, _ = built(manifests(size))
            snapshot.check_signed(root, signed(manifests(size)), manifests(size))

    def test_each_other_list_is_refused(self):
        """Drops, duplicates, swaps, cuts, and manifests of a sister log with the same key."""
        size = 12
        good, sister = manifests(size), manifests(size, b"sister")
        lists = [good[:end] for end in range(size)]
        lists += [good[:at] + good[at + 1 :] for at in range(size)]
        lists += [good[:at] + good[at : at + 1] + good[at:] for at in range(size)]
        for one in range(size):
            lists += [(*good[:one], other, *good[one + 1 :]) for other in sister]
            for two in range(one + 1, size):
                swapped = list(good)
                swapped[one], swapped[two] = swapped[two], swapped[one]
                lists.append(tuple(swapped))
        lists.append((*good, sister[0]))
        for cids in lists:
            root = Snapshot(log=LOG, head=HEAD, size=size, links=good)
            with pytest.raises(VerificationError):
                snapshot.check_signed(root, signed(good), cids)
            if cids:
                with pytest.raises(VerificationError):
                    snapshot.check_signed(built(cids)[0], signed(good), cids)
        assert len(lists) > 240

    def test_the_head_of_another_log_or_size_is_refused(self):
        """Log and size are those of the head."""
        good = manifests(5)
        root, _ = built(good)
        for other in (replace(root, log=f"{KEY.name}/audit/76543210"), built(manifests(4))[0]):
            with pytest.raises(VerificationError, match="differs from its head"):
                snapshot.check_signed(other, signed(good), good)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"size": 0},
        {"size": 4},
        {"size": 256},
        {"size": 256**4},
        {"size": -1},
        {"size": True},
        {"log": "audit"},
        {"links": ()},
        {"links": list(manifests(3))},
        {"links": (*manifests(2), Cid.of(DAG_PB, b"x"))},
        {"size": 768, "links": (manifests(1)[0].as_codec(RAW), *manifests(2))},
        {"head": Cid.of(RAW, b"x")},
    ],
)
def test_a_wrong_root_is_refused(changes):
    """The fields of a root make a root of this version."""
    with pytest.raises(FormatError):
        replace(built(manifests(3))[0], **changes)


def test_a_wrong_node_is_refused():
    """A node has 256 links, and stands at the level of its place."""
    good = Node(level=0, links=manifests(256))
    for changes in ({"v": 3}, {"level": 3}, {"level": -1}, {"level": True}, {"links": manifests(255)}):
        with pytest.raises(FormatError):
            replace(good, **changes)
    root, blocks = built(manifests(256))
    wrong = Node(level=1, links=manifests(256)).encode()
    with pytest.raises(FormatError, match="another level"):
        snapshot.read_manifests(root, lambda cids: [wrong for _ in cids])
    with pytest.raises(FormatError, match="not the size"):
        list(snapshot.blocks_of(LOG, HEAD, ()))
    assert len(blocks) == 2
