"""Every proof of every tree of at most 256 leaves (in `make soak` 512), against the definition of RFC 6962.

A quarter of a million changed proofs are refused.

The definition is six lines long. Ranges of leaves repeat in very many proofs, so that the roots of ranges are kept.
"""

from __future__ import annotations

from functools import cache

import pytest

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import merkle

pytestmark = pytest.mark.slow

LARGEST = 512
LEAVES = tuple(merkle.leaf_hash(n.to_bytes(8, "big")) for n in range(LARGEST))


@cache
def mth(low: int, high: int) -> bytes:
    """MTH of the leaves low to high - 1."""
    k = low + (1 << max(high - low - 1, 1).bit_length() - 1)
    return LEAVES[low] if high - low == 1 else merkle.node_hash(mth(low, k), mth(k, high))


@cache
def path(m: int, low: int, high: int) -> tuple[bytes, ...]:
    """PATH(m, D[low:high]); m counts from the beginning of the log."""
    k = low + (1 << max(high - low - 1, 1).bit_length() - 1)
    if high - low == 1:
        return ()
    return (*path(m, low, k), mth(k, high)) if m < k else (*path(m, k, high), mth(low, k))


@cache
def subproof(m: int, low: int, high: int, known: bool) -> tuple[bytes, ...]:
    """SUBPROOF(m, D[low:high], known); m counts from the beginning of the log."""
    k = low + (1 << max(high - low - 1, 1).bit_length() - 1)
    if m == high:
        return () if known else (mth(low, high),)
    return (*subproof(m, low, k, known), mth(k, high)) if m <= k else (*subproof(m, k, high, False), mth(low, k))


def edges() -> list[merkle.Edge]:
    """Return the edge before each leaf, and after the last."""
    made: list[merkle.Edge] = [()]
    for n, leaf in enumerate(LEAVES):
        made.append(merkle.edge_append(made[-1], n, leaf))
    return made


EDGES = edges()


def read(index: int) -> tuple[merkle.Edge, bytes]:
    """Give the edge before a leaf, and the leaf, as a manifest does."""
    return EDGES[index], LEAVES[index]


largest = pytest.mark.parametrize("largest", [256, pytest.param(LARGEST, marks=pytest.mark.soak)])


@largest
def test_every_inclusion_proof(largest):
    """The proofs, made from edges, are those of the definition; those of every third size are also checked."""
    made = 0
    for size in range(1, largest + 1):
        root = mth(0, size)
        for index in range(size):
            proof = merkle.inclusion_from_edges(index, size, read)
            assert proof == path(index, 0, size)
            if size % 3 == 0:
                merkle.verify_inclusion(LEAVES[index], index, size, proof, root)
            made += 1
    assert made == largest * (largest + 1) // 2


@largest
def test_every_consistency_proof(largest):
    """The proofs, made from edges, are those of the definition; those of every third size are also checked."""
    made = 0
    for size in range(1, largest + 1):
        root = mth(0, size)
        for old in range(1, size + 1):
            proof = merkle.consistency_from_edges(old, size, read)
            assert proof == subproof(old, 0, size, True)
            if size % 3 == 0:
                merkle.verify_consistency(old, mth(0, old), size, root, proof)
            made += 1
    assert made == largest * (largest + 1) // 2


def test_a_quarter_of_a_million_changed_proofs():
    """Each proof with another number, another leaf, or a hash changed, doubled, missing or swapped is refused."""
    tried = 0
    for size in (2, 3, 5, 7, 8, 11, 16, 21, 29, 32, 37, 45, 53, 61, 63, 64):
        root = mth(0, size)
        for index in range(size):
            proof = path(index, 0, size)
            for number in range(size):  # at every other place, and every other leaf here
                if number != index:
                    tried += refused_inclusion(LEAVES[index], number, size, proof, root)
                    tried += refused_inclusion(LEAVES[number], index, size, proof, root)
                    tried += refused_inclusion(LEAVES[number], index, size, path(number, 0, size), root)
            for changed in changes(proof):
                tried += refused_inclusion(LEAVES[index], index, size, changed, root)
        for old in range(1, size):
            proof = subproof(old, 0, size, True)
            for changed in changes(proof):
                tried += refused_consistency(old, mth(0, old), size, root, changed)
            for other in range(1, size):
                if other != old:
                    tried += refused_consistency(other, mth(0, old), size, root, proof)
                    tried += refused_consistency(old, mth(0, other), size, root, proof)
    assert tried >= 250_000


def changes(proof: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Return a proof with a bit of a hash changed, for 32 of its bits, and with hashes doubled, left out, swapped."""
    changed: list[tuple[bytes, ...]] = [(*proof, bytes(32)), (bytes(32), *proof)]
    for at, node in enumerate(proof):
        before, after = proof[:at], proof[at + 1 :]
        value = int.from_bytes(node, "big")
        changed += [(*before, (value ^ 1 << bit).to_bytes(32, "big"), *after) for bit in range(at % 8, 256, 8)]
        changed += [(*before, *after), (*before, node, node, *after), (*before, node[:31], *after)]
        if after:
            changed.append((*before, after[0], node, *after[1:]))
    return changed


def refused_inclusion(leaf: bytes, index: int, size: int, proof: tuple[bytes, ...], root: bytes) -> int:
    """Assert that a proof is refused; return 1."""
    try:
        merkle.verify_inclusion(leaf, index, size, proof, root)
    except VerificationError:
        return 1
    raise AssertionError(f"leaf {index} of {size} was accepted")


def refused_consistency(old: int, older: bytes, size: int, root: bytes, proof: tuple[bytes, ...]) -> int:
    """Assert that a proof is refused; return 1."""
    try:
        merkle.verify_consistency(old, older, size, root, proof)
    except VerificationError:
        return 1
    raise AssertionError(f"{old} of {size} was accepted")
