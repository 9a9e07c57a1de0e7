from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256, shake_256
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.merkle import RecordTree
from tests.vectors import load

LARGEST = 64
LEAVES = [merkle.leaf_hash(n.to_bytes(8, "big")) for n in range(LARGEST + 1)]
ROOTS = [merkle.root(LEAVES[:n]) for n in range(LARGEST + 1)]
SALT = bytes(range(32))


def mth(d: Sequence[bytes]) -> bytes:
    """MTH(D[n]), as RFC 6962 §2.1 defines it."""
    if len(d) < 2:
        return d[0] if d else sha256().digest()
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]), as RFC 6962 §2.1.1 defines it."""
    if len(d) == 1:
        return []
    k = split(len(d))
    return [*path(m, d[:k]), mth(d[k:])] if m < k else [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: Sequence[bytes], known: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b), as RFC 6962 §2.1.2 defines it."""
    if m == len(d):
        return [] if known else [mth(d)]
    k = split(len(d))
    return [*subproof(m, d[:k], known), mth(d[k:])] if m <= k else [*subproof(m - k, d[k:], False), mth(d[:k])]


def split(n: int) -> int:
    """Return k, the largest power of two below n."""
    return max(1 << i for i in range(n.bit_length()) if 1 << i < n)


def edge_of(size: int) -> merkle.Edge:
    """Append one leaf after the other."""
    edge: merkle.Edge = ()
    for n in range(size):
        edge = merkle.edge_append(edge, n, LEAVES[n])
    return edge


EDGES = [edge_of(size) for size in range(LARGEST + 1)]


class Reads:
    """Gives edges, and counts how many were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, index: int) -> tuple[merkle.Edge, bytes]:
        """Give the edge before leaf `index`, and the leaf."""
        self.asked.append(index)
        return EDGES[index], LEAVES[index]


def refused(verify: Callable[..., None], *arguments: object) -> bool:
    """Return whether the verifier refuses."""
    try:
        verify(*arguments)
    except VerificationError:
        return True
    return False


class TestRoot:
    def test_empty(self) -> None:
        """The root of an empty tree is SHA-256 of nothing, as RFC 6962 says."""
        known = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        assert known == merkle.EMPTY_ROOT == merkle.root([]) == merkle.edge_root(())

    def test_known(self) -> None:
        """The trees over the eight leaves that Certificate Transparency tests with have the roots that all agree on."""
        leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", bytes(range(0x60, 0x70)).hex()]
        hashes = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in leaves]
        assert [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ] == [merkle.root(hashes[:n]).hex() for n in range(1, 9)]

    @pytest.mark.parametrize("size", range(LARGEST + 1))
    def test_definition(self, size: int) -> None:
        """Folding levels, folding the edge and the definition give one root."""
        assert mth(LEAVES[:size]) == ROOTS[size] == merkle.edge_root(EDGES[size])

    def test_edge_is_popcount_long(self) -> None:
        """An edge has one hash for each set bit of the size."""
        assert [n.bit_count() for n in range(LARGEST + 1)] == [len(edge) for edge in EDGES]

    @pytest.mark.parametrize(("edge", "size"), [((), 1), (EDGES[3], 2), (EDGES[3], 4), ((), -1)])
    def test_wrong_edge(self, edge: merkle.Edge, size: int) -> None:
        """An edge of another size is refused instead of giving a wrong tree."""
        with pytest.raises(VerificationError, match="one hash for each set bit"):
            merkle.edge_append(edge, size, LEAVES[0])


class TestProofs:
    @pytest.mark.parametrize("size", range(1, LARGEST + 1))
    def test_inclusion(self, size: int) -> None:
        """Each inclusion proof is that of the definition, from leaves and from edges, and holds."""
        for index in range(size):
            expected = tuple(path(index, LEAVES[:size]))
            reads = Reads()
            assert expected == merkle.inclusion_proof(LEAVES[:size], index)
            assert expected == merkle.inclusion_from_edges(index, size, reads)
            assert len(reads.asked) == len(set(reads.asked)) <= 1 + size.bit_length()
            merkle.verify_inclusion(LEAVES[index], index, size, expected, ROOTS[size])

    @pytest.mark.parametrize("size", range(1, LARGEST + 1))
    def test_consistency(self, size: int) -> None:
        """Each consistency proof is that of the definition, from leaves and from edges, and holds."""
        for old in range(1, size + 1):
            expected = tuple(subproof(old, LEAVES[:size], known=True))
            reads = Reads()
            assert expected == merkle.consistency_proof(LEAVES[:size], old)
            assert expected == merkle.consistency_from_edges(old, size, reads)
            assert len(reads.asked) == len(set(reads.asked)) <= 1 + size.bit_length()
            merkle.verify_consistency(old, ROOTS[old], size, ROOTS[size], expected)

    def test_nothing_before(self) -> None:
        """An empty tree is the beginning of each tree, and that needs no hash."""
        for size in range(LARGEST + 1):
            assert () == merkle.consistency_proof(LEAVES[:size], 0) == merkle.consistency_from_edges(0, size, Reads())
            merkle.verify_consistency(0, merkle.EMPTY_ROOT, size, ROOTS[size], ())

    @pytest.mark.parametrize("number", [-1, 8, 9])
    def test_no_such_leaf(self, number: int) -> None:
        """A proof of a leaf that the tree has not is neither made nor believed."""
        with pytest.raises(VerificationError, match="no leaf with this number"):
            merkle.inclusion_proof(LEAVES[:8], number)
        with pytest.raises(VerificationError, match="no leaf with this number"):
            merkle.inclusion_from_edges(number, 8, Reads())
        assert refused(merkle.verify_inclusion, LEAVES[0], number, 8, merkle.inclusion_proof(LEAVES[:8], 0), ROOTS[8])

    @pytest.mark.parametrize("old", [-1, 9])
    def test_no_such_older_tree(self, old: int) -> None:
        """A proof that a larger tree is the beginning of a smaller one is neither made nor believed."""
        with pytest.raises(VerificationError, match="not the larger one"):
            merkle.consistency_proof(LEAVES[:8], old)
        with pytest.raises(VerificationError, match="not the larger one"):
            merkle.consistency_from_edges(old, 8, Reads())
        assert refused(merkle.verify_consistency, old, ROOTS[8], 8, ROOTS[8], ())

    def test_lying_edge(self) -> None:
        """A manifest whose edge has a wrong length stops the making of a proof."""
        with pytest.raises(VerificationError, match="one hash for each set bit"):
            merkle.inclusion_from_edges(5, 8, lambda index: (EDGES[index][:-1], LEAVES[index]))

    @given(data=st.data(), size=st.integers(2**20, 2**40))
    def test_large(self, data: st.DataObject, size: int) -> None:
        """In a log of a trillion batches a proof has 41 hashes at most, needs as many reads, and holds."""
        number = data.draw(st.integers(0, size - 1))
        levels = [LEAVES[0]]
        while len(levels) < 41:
            levels.append(merkle.node_hash(levels[-1], levels[-1]))
        reads = []

        def edge(n: int) -> merkle.Edge:
            return tuple(levels[bit] for bit in range(40, -1, -1) if n >> bit & 1)

        def read(n: int) -> tuple[merkle.Edge, bytes]:
            reads.append(n)
            return edge(n), LEAVES[0]

        root = merkle.edge_root(edge(size))
        proof = merkle.inclusion_from_edges(number, size, read)
        merkle.verify_inclusion(LEAVES[0], number, size, proof, root)
        older = merkle.edge_root(edge(number))
        merkle.verify_consistency(number, older, size, root, merkle.consistency_from_edges(number, size, read))
        assert len(proof) <= 41
        assert len(reads) <= 2 * 41


class TestNegatives:
    """A proof with anything changed is refused. Not the size alone: that a root is the root of its size is signed."""

    @pytest.mark.slow
    @pytest.mark.parametrize("size", range(1, LARGEST + 1))
    def test_inclusion(self, size: int) -> None:
        """No changed proof, leaf, root or number is believed."""
        for index in range(size):
            leaf, root, proof = LEAVES[index], ROOTS[size], merkle.inclusion_proof(LEAVES[:size], index)
            for changed in changed_proofs(proof, leaf, root):
                assert refused(merkle.verify_inclusion, leaf, index, size, changed, root)
            for number in {index - 1, index + 1, index ^ 1, index ^ 2, index * 2, index // 2, -index} - {index}:
                assert refused(merkle.verify_inclusion, leaf, number, size, proof, root)
            for other in {size * 2, size // 2, 0, -size}:
                assert refused(merkle.verify_inclusion, leaf, index, other, proof, root)
            for other_leaf, other_root in ((flipped(leaf), root), (leaf, flipped(root)), (root[:31], root)):
                assert refused(merkle.verify_inclusion, other_leaf, index, size, proof, other_root)

    @pytest.mark.slow
    @pytest.mark.parametrize("size", range(2, LARGEST + 1))
    def test_consistency(self, size: int) -> None:
        """No changed proof, root or number is believed."""
        for old in range(1, size):
            older, root, proof = ROOTS[old], ROOTS[size], merkle.consistency_proof(LEAVES[:size], old)
            for changed in changed_proofs(proof, older, root):
                assert refused(merkle.verify_consistency, old, older, size, root, changed)
            for other_old, other_size in (
                (old, size * 2),
                (size, old),
                (0, size),
                (old, old),
                (size, size),
                (-1, size),
            ):
                assert refused(merkle.verify_consistency, other_old, older, other_size, root, proof)
            for other_older, other_root in ((flipped(older), root), (older, flipped(root)), (root, older)):
                assert refused(merkle.verify_consistency, old, other_older, size, other_root, proof)

    def test_forked(self) -> None:
        """Of two trees that differ in one leaf, neither is shown to be the beginning of the other."""
        fork = [*LEAVES[:10], LEAVES[64], *LEAVES[11:40]]
        for old in range(11, 40):
            proof = merkle.consistency_proof(fork, old)
            assert refused(merkle.verify_consistency, old, ROOTS[old], 40, merkle.root(fork), proof)
            assert refused(merkle.verify_consistency, old, merkle.root(fork[:old]), 40, ROOTS[40], proof)

    def test_same_size(self) -> None:
        """Two roots of one size are inconsistent, and an empty tree has one root only."""
        assert refused(merkle.verify_consistency, 5, ROOTS[5], 5, ROOTS[6], ())
        assert refused(merkle.verify_consistency, 5, ROOTS[5], 5, ROOTS[5], (ROOTS[5],))
        assert refused(merkle.verify_consistency, 0, ROOTS[5], 5, ROOTS[5], ())
        assert refused(merkle.verify_consistency, 0, ROOTS[0], 5, ROOTS[5], (ROOTS[5],))
        assert refused(merkle.verify_consistency, 0, ROOTS[0], 0, ROOTS[5], ())


def flipped(value: bytes, bit: int = 0) -> bytes:
    """Change one bit."""
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


def changed_proofs(proof: tuple[bytes, ...], leaf: bytes, root: bytes) -> Iterator[tuple[bytes, ...]]:
    """Yield what can go wrong with a proof: each a class of transparency-dev's negative vectors."""
    for at, node in enumerate(proof):
        for bit in (0, 7, 100, 255):
            yield (*proof[:at], flipped(node, bit), *proof[at + 1 :])
        yield (*proof[:at], *proof[at + 1 :])
        yield (*proof[:at], node, *proof[at:])
        yield (*proof[:at], node[:-1], *proof[at + 1 :])
        yield (*proof[:at], node + b"\x00", *proof[at + 1 :])
        if at + 1 < len(proof):
            yield (*proof[:at], proof[at + 1], node, *proof[at + 2 :])
    for extra in (root, leaf, bytes(32), b""):
        yield (extra, *proof)
        yield (*proof, extra)
    if proof:
        yield ()


class TestForeign:
    """Go's `sumdb/tlog` and we say the same."""

    VECTORS = load("tlog.json")

    def leaves(self, size: int) -> list[bytes]:
        """Make the leaves as the Go program does."""
        return [merkle.leaf_hash(n.to_bytes(8, "big")) for n in range(size)]

    def test_roots(self) -> None:
        """Go's roots are ours."""
        roots = self.VECTORS["roots"]
        assert roots == [merkle.root(self.leaves(n)).hex() for n in range(len(roots))]

    def test_inclusion(self) -> None:
        """Go's inclusion proofs are ours, and we believe them."""
        for vector in self.VECTORS["inclusion"]:
            leaves, index = self.leaves(vector["size"]), vector["number"]
            proof = tuple(bytes.fromhex(node) for node in vector["hashes"])
            assert proof == merkle.inclusion_proof(leaves, index)
            merkle.verify_inclusion(leaves[index], index, len(leaves), proof, merkle.root(leaves))

    def test_consistency(self) -> None:
        """Go's consistency proofs are ours, and we believe them."""
        for vector in self.VECTORS["consistency"]:
            leaves, old = self.leaves(vector["size"]), vector["number"]
            proof = tuple(bytes.fromhex(node) for node in vector["hashes"])
            assert proof == merkle.consistency_proof(leaves, old)
            merkle.verify_consistency(old, merkle.root(leaves[:old]), len(leaves), merkle.root(leaves), proof)


class TestRecordTree:
    def test_definition(self) -> None:
        """A leaf is SHA-256(00 || salt || line), a salt 16 bytes of SHAKE-256 of the batch's salt."""
        lines = [b'{"n":%d}' % n for n in range(2500)]
        stream = shake_256(b"ipfs-log/record-salt/v1\n" + SALT).digest(16 * len(lines))
        salts = [stream[16 * n : 16 * n + 16] for n in range(len(lines))]
        leaves = [sha256(b"\x00" + salt + line).digest() for salt, line in zip(salts, lines, strict=True)]
        tree = RecordTree(SALT)
        for start in range(0, len(lines), 64):
            tree.add(lines[start : start + 64])
        assert mth(leaves) == tree.root()
        assert len(lines) == tree.size
        for n in (0, 1, 1023, 1024, 2499):
            assert salts[n] == tree.salt(n) == merkle.record_salt(SALT, n)
            assert leaves[n] == merkle.record_leaf(salts[n], lines[n])
            merkle.verify_inclusion(leaves[n], n, tree.size, tree.proof(n), tree.root())

    def test_golden(self) -> None:
        """The frozen batch has its frozen root, salts and proofs."""
        golden = load("chain.json")["records"]
        tree = RecordTree(bytes.fromhex(golden["salt"]))
        tree.add([line.encode() for line in golden["lines"]])
        assert golden["root"] == tree.root().hex()
        assert golden["salts"] == [tree.salt(n).hex() for n in range(tree.size)]
        assert golden["proofs"] == [[node.hex() for node in tree.proof(n)] for n in range(0, tree.size, 3)]

    @given(slices=st.lists(st.lists(st.binary(max_size=4), max_size=40), max_size=12))
    def test_slices(self, slices: list[list[bytes]]) -> None:
        """How the records are sliced, and whether a root was asked for in between, does not matter."""
        whole, sliced = RecordTree(SALT), RecordTree(SALT)
        whole.add([line for part in slices for line in part])
        for part in slices:
            sliced.add(part)
            sliced.root()
        leaves = [merkle.record_leaf(whole.salt(n), line) for n, line in enumerate(chain.from_iterable(slices))]
        assert mth(leaves) == whole.root() == sliced.root()

    def test_empty(self) -> None:
        """Without a record the root is that of an empty tree, and no step is needed."""
        assert [] == list(RecordTree(SALT).steps())
        assert merkle.EMPTY_ROOT == RecordTree(SALT).root()

    def test_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No step hashes more than 128 nodes, and after the last one nothing is left to do."""
        tree, nodes = RecordTree(SALT), []
        tree.add([b"{}"] * 1001)
        expected = tree.root()
        tree.add([])
        real = merkle._parents

        def counted(level: Sequence[bytes]) -> list[bytes]:
            nodes.append(len(level) // 2)
            return real(level)

        monkeypatch.setattr(merkle, "_parents", counted)
        for _ in tree.steps():
            assert len(nodes) == 1
            assert nodes.pop() <= 128
        assert expected == tree.root()
        assert [] == nodes

    def test_add_between_steps(self) -> None:
        """A record that comes while the root is computed is not lost."""
        tree, other = RecordTree(SALT), RecordTree(SALT)
        tree.add([b"1", b"2", b"3"])
        steps = tree.steps()
        next(steps)
        tree.add([b"4"])
        assert [None] == list(steps)
        other.add([b"1", b"2", b"3", b"4"])
        assert other.root() == tree.root()

    def test_salt_matters(self) -> None:
        """Equal records of two batches, or of one, have nothing in common that can be seen."""
        one, other = RecordTree(SALT), RecordTree(SALT[::-1])
        one.add([b"{}", b"{}"])
        other.add([b"{}", b"{}"])
        assert one.root() != other.root()
        assert len({one.proof(0), one.proof(1), other.proof(0), other.proof(1)}) == 4

    @pytest.mark.parametrize("size", [0, 16, 31, 33])
    def test_wrong_salt(self, size: int) -> None:
        """A salt has 32 bytes."""
        with pytest.raises(FormatError, match="32 bytes"):
            RecordTree(bytes(size))

    @pytest.mark.parametrize("index", [-1, 1])
    def test_no_such_record(self, index: int) -> None:
        """A record that is not there has neither salt nor proof."""
        tree = RecordTree(SALT)
        tree.add([b"{}"])
        with pytest.raises(VerificationError, match="no record"):
            tree.salt(index)
        with pytest.raises(VerificationError, match="no record"):
            tree.proof(index)
