from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor, merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, VerifierKey, log_name
from ipfs_log_handlers.format.proof import MAX_BUNDLE, Bundle
from ipfs_log_handlers.format.tlog_proof import MAX_PROOF, TlogProof
from tests.support.bundles import CHAIN, HEADS, KEY, LEAVES, bundle
from tests.support.mutations import assert_canonical, cuts, flips, with_junk
from tests.vectors.build_chain import LINES, LOG, salt_of

FIRST = bundle(1, 0)
"""The first record of a batch on the left, beside a batch without records."""
INNER = bundle(10, 13)
LAST = bundle(16, len(LINES) - 1)
"""The last record of the newest batch."""
OTHER = SecretKey.generate(bytes(32))


def accepted(data_iter: Iterable[bytes], key: VerifierKey = KEY.verifier) -> Iterator[bytes]:
    """Yield the inputs that are proofs; another error than ours, or a second encoding of a bundle, fails the test."""
    for data in data_iter:
        try:
            made = Bundle.decode(data)
            assert made.encode() == data
            made.verify(key)
        except (FormatError, VerificationError):
            continue
        yield data


def byte_mutants(data: bytes) -> Iterator[bytes]:
    """Yield `data` with a byte inserted, deleted, doubled, or swapped with the next one, at each place."""
    for at in range(len(data)):
        yield data[:at] + data[at + 1 :]
        yield data[:at] + data[at : at + 1] + data[at:]
        for byte in {0x00, 0xFF, data[at] ^ 0x20} - {data[at]}:
            yield data[:at] + bytes([byte]) + data[at:]
        if at + 1 < len(data) and data[at] != data[at + 1]:
            yield data[:at] + data[at + 1 : at + 2] + data[at : at + 1] + data[at + 2 :]


class TestBundle:
    @pytest.mark.parametrize("index", [1, 2, 7, 8, 15, 16])
    @pytest.mark.parametrize("number", [0, 1, 15, 16, 19])
    def test_round_trip(self, index: int, number: int) -> None:
        """Each bundle is read as it was written, and proves its record, in every later tree."""
        for size in range(index + 1, len(CHAIN) + 1):
            made = bundle(index, number, size=size)
            read = Bundle.decode(made.encode())
            claim = read.verify(KEY.verifier)
            assert read == made
            assert read.encode() == made.encode()
            assert (read.line, read.cid) == (LINES[number], CHAIN[index].cid)
            assert (claim.origin, claim.size) == (LOG, size)

    def test_bytes(self) -> None:
        """A bundle is the DAG-CBOR map that docs/formats.md describes."""
        value = dagcbor.decode(FIRST.encode())
        assert value == {
            "v": 1,
            "line": LINES[0],
            "number": 0,
            "salt": FIRST.salt,
            "path": b"".join(FIRST.path),
            "manifest": CHAIN[1].encode(),
            "proof": FIRST.proof.encode(),
        }

    def test_no_other_record_is_in_it(self) -> None:
        """No bytes of another record, no other salt and not the salt of the batch are in a bundle."""
        data = INNER.encode()
        tree = merkle.RecordTree(salt_of(10))
        tree.add(LINES)
        assert salt_of(10) not in data
        for number, line in enumerate(LINES):
            assert (line in data, tree.salt(number) in data) == (number == 13, number == 13)

    def test_another_key(self) -> None:
        """A key with another name, and one with the name but other bytes, have not signed it."""
        with pytest.raises(VerificationError, match="belongs to another key"):
            FIRST.verify(OTHER.verifier)
        with pytest.raises(VerificationError, match="not signed by the expected key"):
            FIRST.verify(VerifierKey(KEY.name, OTHER.verifier.public))

    @pytest.mark.parametrize(
        "changed",
        [
            {"v": 2},
            {"more": 1},
            {"number": -1},
            {"number": 1.0},
            {"number": True},
            {"line": "text"},
            {"line": b"a\nb"},
            {"salt": bytes(15)},
            {"path": bytes(33)},
            {"path": bytes(32 * 64)},
            {"path": [bytes(32)]},
            {"manifest": b"\xa0"},
            {"manifest": CHAIN[1].cid},
            {"proof": b""},
            {"proof": bytes(MAX_PROOF + 1)},
        ],
        ids=str,
    )
    def test_malformed(self, changed: dict[str, object]) -> None:
        """A map with other keys, or with values of another kind, is no bundle."""
        value = dagcbor.decode(FIRST.encode())
        assert isinstance(value, dict)
        with pytest.raises(FormatError):
            Bundle.decode(dagcbor.encode({**value, **changed}))

    def test_too_long(self) -> None:
        """Bytes above the bound are refused unread."""
        with pytest.raises(FormatError, match="too long"):
            Bundle.decode(bytes(MAX_BUNDLE + 1))


class TestNegatives:
    """Nothing that was changed is a proof: of each kind of change, every case, and none is accepted."""

    @pytest.mark.slow
    @pytest.mark.parametrize("made", [FIRST, LAST], ids=["first", "last"])
    def test_every_bit(self, made: Bundle) -> None:
        """Each bit of a bundle, more than 20,000 in both: no flip is accepted."""
        data = made.encode()
        assert len(data) * 8 >= 10_000
        assert [] == list(accepted(flips(data)))
        assert [data] == list(accepted([data]))

    def test_every_byte(self) -> None:
        """A byte inserted, deleted, doubled, swapped; every truncation; something behind."""
        data = INNER.encode()
        changed = [*byte_mutants(data), *cuts(data), *with_junk(data)]
        assert len(changed) >= 6 * len(data)
        assert [] == list(accepted(changed))

    def test_every_bit_of_the_key(self) -> None:
        """Each bit of the verifier's text: the text is refused, or the key has not signed."""
        text = KEY.verifier.text.encode()
        for changed in flips(text):
            with pytest.raises((FormatError, VerificationError)):
                FIRST.verify(VerifierKey.parse(changed.decode("utf-8", "surrogateescape")))

    def test_crossed(self) -> None:
        """A part of another bundle, of the same log or of a sister log with the same key, makes no proof."""
        bundles = [FIRST, INNER, LAST, bundle(10, 12), bundle(11, 13), bundle(2, 0), sister()]
        names = [field.name for field in fields(Bundle)]
        tried = 0
        for one, other in itertools.permutations(bundles, 2):
            for count in range(1, len(names)):
                for chosen in itertools.combinations(names, count):
                    mixed = replace(one, **{name: getattr(other, name) for name in chosen})
                    if mixed in bundles:
                        continue  # what differs only in these parts is the other bundle itself
                    tried += 1
                    assert [] == list(accepted([mixed.encode()])), chosen
        assert tried > 1500

    def test_other_numbers(self) -> None:
        """The same record is at no other place."""
        for number in (0, 1, 12, 14, 19, 20, 45, 2**63):
            assert [] == list(accepted([replace(INNER, number=number).encode()]))
        for index in (0, 9, 11, 26):
            assert [] == list(accepted([replace(INNER, proof=replace(INNER.proof, index=index)).encode()]))

    def test_node_as_record(self) -> None:
        """An inner node of the tree of records is not taken for a record: leaves are hashed with another first byte."""
        tried = 0
        for made in (bundle(10, number) for number in range(0, 16, 2)):
            node = merkle.record_leaf(made.salt, made.line) + made.path[0]
            if b"\n" not in node[16:]:
                forged = replace(made, salt=node[:16], line=node[16:], number=made.number // 2, path=made.path[1:])
                assert [] == list(accepted([forged.encode()]))
                tried += 1
        assert tried

    def test_signed_for_another_log(self) -> None:
        """A checkpoint of another log with the same key and the same tree does not prove this log's record."""
        other = log_name(KEY.name, "audit", "89abcdef")
        note = Checkpoint(other, len(CHAIN), merkle.root(LEAVES)).signed(KEY)
        with pytest.raises(VerificationError, match="not of one log"):
            replace(INNER, proof=replace(INNER.proof, checkpoint=note)).verify(KEY.verifier)


def sister() -> Bundle:
    """Make the bundle of a record of a log with the same key, in a batch with the same records and another salt."""
    log, tree = log_name(KEY.name, "audit", "89abcdef"), merkle.RecordTree(salt_of(99))
    tree.add(LINES)
    manifest = replace(CHAIN[10], log=log, root=tree.root())
    leaves = [*LEAVES[:10], merkle.leaf_hash(manifest.cid), *LEAVES[11:]]
    note = Checkpoint(log, len(leaves), merkle.root(leaves)).signed(KEY)
    made = Bundle(
        line=LINES[13],
        number=13,
        salt=tree.salt(13),
        path=tree.proof(13),
        manifest=manifest,
        proof=TlogProof(10, merkle.inclusion_proof(leaves, 10), note),
    )
    made.verify(KEY.verifier)
    return made


class TestDecoder:
    @given(st.binary(max_size=3000))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are refused in our words, or are a bundle."""
        assert_canonical(Bundle.decode, Bundle.encode, [data])

    @pytest.mark.slow
    @given(st.data())
    def test_any_map(self, data: st.DataObject) -> None:
        """Maps with the keys of a bundle and any values are refused in our words, or are a bundle, but no proof."""
        value = dagcbor.decode(INNER.encode())
        assert isinstance(value, dict)
        anything = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(max_size=200)
        for key in data.draw(st.sets(st.sampled_from(sorted(value)), min_size=1)):
            drawn = data.draw(anything | st.lists(anything, max_size=3))
            if drawn == value[key]:
                return
            value[key] = drawn
        encoded = dagcbor.encode(value)
        assert [] == list(accepted([encoded]))

    def test_heads_and_manifests_are_no_bundles(self) -> None:
        """Other blocks of ours are refused as such."""
        for block in (HEADS[0].encode(), CHAIN[0].encode()):
            with pytest.raises(FormatError, match="not the keys of a bundle"):
                Bundle.decode(block)
