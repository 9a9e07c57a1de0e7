"""Build the two hash trees, over the manifests of a log and over the records of a batch, and prove leaves of them.

Both are the tree of RFC 6962 §2.1 (and RFC 9162 §2.1): a leaf is SHA-256(00 || data), an inner node
SHA-256(01 || left || right), and a tree of n leaves splits at the largest power of two below n. An *edge* is what an
appender must remember of a tree: the roots of its perfect subtrees from left to right, one for each set bit of the
size. A manifest carries the edge of all manifests before it, so each proof can be made from a few manifests.

A proof is a list of ranges of leaves, largest first (`_inclusion_ranges`, `_consistency_ranges`), each replaced by its
root, then reversed. The makers of proofs differ only in the source of the roots: all leaves, or the edges of a few. The
verifiers are the loops of RFC 9162 §2.1.3.2 and §2.1.4.2 and share no code with the makers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256, shake_256
from struct import iter_unpack

from ipfs_log_handlers.errors import FormatError, VerificationError

__all__ = [
    "EMPTY_ROOT",
    "Edge",
    "RecordTree",
    "consistency_from_edges",
    "consistency_proof",
    "edge_append",
    "edge_root",
    "inclusion_from_edges",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "record_leaf",
    "record_salt",
    "root",
    "verify_consistency",
    "verify_inclusion",
]

Edge = tuple[bytes, ...]
ReadEdge = Callable[[int], tuple[Edge, bytes]]
ReadLeaves = Callable[[int, int], "Sequence[bytes] | None"]

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves, by RFC 6962."""
SALT_SIZE = 32
"""Random bytes of a batch, from which the salts of its records are made."""
RECORD_SALT_SIZE = 16
"""Bytes of the salt of one record; because of the salt, a record cannot be guessed from its leaf hash."""

_SALT_DOMAIN = b"ipfs-log/record-salt/v1\n"  # no other use of the salt gives the same bytes
_FIRST_SALTS = 1024
"""Number of record salts that are made at first; more are made when these are used up."""
_NODES_A_STEP = 128
"""Number of nodes that are hashed before `steps` yields."""


# -- hashes and roots


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf with `data`."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the inner node over two hashes."""
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over these leaf hashes; all of them are hashed."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = list(leaf_hashes)
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def _parents(level: Sequence[bytes]) -> list[bytes]:
    """Return the level above: pairs are hashed, and a last single node moves up unchanged."""
    pairs = iter(level)
    above = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
    if len(level) & 1:
        above.append(level[-1])
    return above


# -- edges


def edge_append(edge: Edge, size: int, leaf: bytes) -> Edge:
    """Return the edge of size + 1 leaves, given that of `size` leaves and the next leaf hash."""
    _check_edge(edge, size)
    kept = len(edge)
    node = leaf
    while size & 1:
        kept -= 1
        node = node_hash(edge[kept], node)
        size >>= 1
    return (*edge[:kept], node)


def edge_root(edge: Edge) -> bytes:
    """Return the root of the tree with this edge."""
    if not edge:
        return EMPTY_ROOT
    node = edge[-1]
    for left in reversed(edge[:-1]):
        node = node_hash(left, node)
    return node


def _check_edge(edge: Edge, size: int) -> None:
    if size < 0 or len(edge) != size.bit_count():
        raise VerificationError(
            "an edge has one hash for each set bit of the size of its tree",
            expected=f"{max(size, 0).bit_count()} hashes for {size} leaves",
            found=len(edge),
        )


# -- making proofs


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from leaf `index` to the root, nearest first."""
    ranges = _inclusion_ranges(index, len(leaf_hashes))
    return tuple(root(leaf_hashes[low:high]) for low, high in reversed(ranges))


def consistency_proof(leaf_hashes: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """Return the hashes that show the first `old` leaves to be a prefix of all of them."""
    ranges = _consistency_ranges(old, len(leaf_hashes))
    return tuple(root(leaf_hashes[low:high]) for low, high in reversed(ranges))


def inclusion_from_edges(index: int, size: int, read: ReadEdge, leaves: ReadLeaves | None = None) -> tuple[bytes, ...]:
    """Return the same as `inclusion_proof`, computed from the edges of a few leaves.

    No edge has a hash that is right of the leaf: an edge has roots of left subtrees only. So each of these hashes needs
    the edge of its own last leaf, and no proof can be made of fewer edges.

    Args:
        index: the leaf to prove.
        size: number of leaves in the tree.
        read: gives, for a leaf number, the edge of all leaves before it and its own leaf hash. Called once for the
            leaf itself when something is left of it, and once for each hash that is right of it.
        leaves: gives, for a range of leaf numbers, their leaf hashes, or `None` where they are not listed. Where it
            gives some, `read` is not called.
    """
    ranges = _inclusion_ranges(index, size)
    edge = _read(read, index)[0] if index else ()
    return _roots_from_edges(ranges, edge, index, read, leaves)


def consistency_from_edges(old: int, size: int, read: ReadEdge, *, edge: Edge | None = None) -> tuple[bytes, ...]:
    """Return the same as `consistency_proof`, computed from the edges of a few leaves (see `inclusion_from_edges`).

    Args:
        old: number of leaves in the older tree.
        size: number of leaves in the newer tree.
        read: as for `inclusion_from_edges`.
        edge: the edge of the older tree; `None`: it is computed from leaf `old` - 1.
    """
    ranges = _consistency_ranges(old, size)
    if not ranges:
        return ()
    if edge is None:
        before, leaf = _read(read, old - 1)
        edge = edge_append(before, old - 1, leaf)
    _check_edge(edge, old)
    return _roots_from_edges(ranges, edge, old, read)


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the siblings on the way from the root down to leaf `index`, as ranges of leaves."""
    if not 0 <= index < size:
        raise VerificationError("no leaf with this number in the tree", expected=f"0 to {size - 1}", found=index)
    ranges = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges


def _consistency_ranges(old: int, size: int) -> list[tuple[int, int]]:
    """Return SUBPROOF(old, size) of RFC 6962 §2.1.2 as ranges of leaves, the last hash of the proof first."""
    if not 0 <= old <= size:
        raise VerificationError("the older tree is not the larger one", expected=f"0 to {size}", found=old)
    if old in (0, size):
        return []
    ranges = []
    low, high = 0, size
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:  # otherwise the remaining range is the whole older tree, whose root the verifier has
        ranges.append((low, high))
    return ranges


def _split(size: int) -> int:
    """Return the largest power of two below `size`, which is 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _roots_from_edges(
    ranges: Sequence[tuple[int, int]], edge: Edge, covered: int, read: ReadEdge, leaves: ReadLeaves | None = None
) -> tuple[bytes, ...]:
    """Return the roots of `ranges`: those below `covered` are the entries of `edge`, in order."""
    entries = iter(edge)
    roots = [next(entries) if high <= covered else _range_root(low, high, read, leaves) for low, high in ranges]
    return tuple(reversed(roots))


def _range_root(low: int, high: int, read: ReadEdge, leaves: ReadLeaves | None) -> bytes:
    """Return the root of leaves low..high-1, where `low` is a multiple of a power of two not below high - low.

    The edge of leaf high - 1 ends with the subtrees of [low, high - 1): together with the leaf that is all of them.
    """
    listed = None if leaves is None else leaves(low, high)
    if listed is not None:
        if len(listed) != high - low:
            raise VerificationError("a list of leaves of another length", expected=high - low, found=len(listed))
        return root(listed)
    edge, leaf = _read(read, high - 1)
    before = high - 1 - low
    own = edge[len(edge) - before.bit_count() :]
    return edge_root(edge_append(own, before, leaf))


def _read(read: ReadEdge, index: int) -> tuple[Edge, bytes]:
    edge, leaf = read(index)
    _check_edge(edge, index)
    return edge, leaf


# -- checking proofs


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` is leaf number `index` of the tree with this size and root.

    Raises:
        VerificationError: it is not, or the proof does not show it.
    """
    if not 0 <= index < size:
        raise VerificationError("no leaf with this number in the tree", expected=f"below {size}", found=index)
    _check_hashes(leaf, root, *proof)
    node, place, last = leaf, index, size - 1
    for sibling in proof:
        if not last:
            raise VerificationError("the inclusion proof is too long", expected="fewer hashes", found=len(proof))
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        place >>= 1
        last >>= 1
    if last:
        raise VerificationError("the inclusion proof is too short", expected="more hashes", found=len(proof))
    _check_root("the leaf is not in the tree", root, node)


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the older tree is a prefix of the newer one.

    An empty older tree is a prefix of every tree, with an empty proof; so is a tree of itself.

    Raises:
        VerificationError: it is not, or the proof does not show it.
    """
    if not 0 <= old_size <= new_size:
        raise VerificationError("the older tree is not the larger one", expected=f"0 to {new_size}", found=old_size)
    _check_hashes(old_root, new_root, *proof)
    if old_size == 0:
        _check_root("the root of an empty tree is fixed", EMPTY_ROOT, old_root)
    if new_size == 0:
        _check_root("the root of an empty tree is fixed", EMPTY_ROOT, new_root)
    if old_size in (0, new_size):
        if proof:
            raise VerificationError("the consistency proof is too long", expected="no hash", found=len(proof))
        if old_size:
            _check_root("two trees of one size have two roots", old_root, new_root)
        return
    old, new = _both_roots(old_size, old_root, new_size, proof)
    _check_root("the older root does not follow from the proof", old_root, old)
    _check_root("the newer tree does not begin with the older one", new_root, new)


def _both_roots(old_size: int, old_root: bytes, new_size: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Fold a consistency proof into the root of the older and of the newer tree (RFC 9162 §2.1.4.2)."""
    hashes = iter(proof if old_size & (old_size - 1) else (old_root, *proof))
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old = new = next(hashes, b"")
    if not old:
        raise VerificationError("the consistency proof is too short", expected="more hashes", found=0)
    for sibling in hashes:
        if not last:
            raise VerificationError("the consistency proof is too long", expected="fewer hashes", found=len(proof))
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        place >>= 1
        last >>= 1
    if last:
        raise VerificationError("the consistency proof is too short", expected="more hashes", found=len(proof))
    return old, new


def _check_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != 32:
            raise VerificationError("a hash has 32 bytes", expected=32, found=len(value))


def _check_root(message: str, expected: bytes, root: bytes) -> None:
    if expected != root:
        raise VerificationError(message, expected=expected.hex(), found=root.hex())


# -- the records of a batch


def record_leaf(salt: bytes, line: bytes) -> bytes:
    """Return the leaf hash of one record: its own 16-byte salt, then its line without LF."""
    return sha256(b"\x00" + salt + line).digest()


def record_salt(salt: bytes, index: int) -> bytes:
    """Return the salt of record `index` of a batch with this 32-byte salt; no other record salt follows from it."""
    end = (index + 1) * RECORD_SALT_SIZE
    return shake_256(_SALT_DOMAIN + salt).digest(end)[-RECORD_SALT_SIZE:]


class RecordTree:
    """The tree over the records of one batch, built while the batch is built.

    `add` hashes leaves. `steps` hashes the levels above them in pieces of about 128 nodes, so that the program can run
    between two pieces. Records can still be added after the root was read.

    Args:
        salt: the 32 random bytes of the batch; the salts of its records are cut from SHAKE-256 of them.
    """

    __slots__ = ("_leaves", "_root", "_salts", "_stream")

    def __init__(self, salt: bytes) -> None:
        if len(salt) != SALT_SIZE:
            raise FormatError("a batch has a salt of 32 bytes", expected=SALT_SIZE, found=len(salt))
        self._stream = shake_256(_SALT_DOMAIN + salt)
        self._salts = self._stream.digest(_FIRST_SALTS * RECORD_SALT_SIZE)
        self._leaves: list[bytes] = []
        self._root: bytes | None = EMPTY_ROOT

    @property
    def size(self) -> int:
        """Number of added records."""
        return len(self._leaves)

    def add(self, lines: Sequence[bytes]) -> None:
        """Add records in order, each the bytes of its line without LF."""
        start = len(self._leaves) * RECORD_SALT_SIZE
        end = start + len(lines) * RECORD_SALT_SIZE
        if end > len(self._salts):
            self._salts = self._stream.digest(max(end, 2 * len(self._salts)))
        salts = iter_unpack("16s", self._salts[start:end])
        self._leaves += [sha256(b"\x00" + salt + line).digest() for (salt,), line in zip(salts, lines, strict=False)]
        self._root = None

    def steps(self) -> Iterator[None]:
        """Compute the root in pieces, and yield after each piece; afterwards `root` returns at once."""
        leaves = len(self._leaves)
        level = self._leaves
        piece = 2 * _NODES_A_STEP
        while len(level) > 1:
            above: list[bytes] = []
            for start in range(0, len(level), piece):
                above += _parents(level[start : start + piece])
                yield
            level = above
        if leaves == len(self._leaves):
            self._root = level[0] if level else EMPTY_ROOT

    def root(self) -> bytes:
        """Return the root of the records added so far."""
        while self._root is None:
            for _ in self.steps():
                pass
        return self._root

    def salt(self, index: int) -> bytes:
        """Return the salt of record `index`, which a proof of that record needs."""
        self._check_index(index)
        return self._salts[index * RECORD_SALT_SIZE : (index + 1) * RECORD_SALT_SIZE]

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the inclusion proof of record `index`."""
        self._check_index(index)
        return inclusion_proof(self._leaves, index)

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self._leaves):
            raise VerificationError("no record with this number", expected=f"below {self.size}", found=index)
