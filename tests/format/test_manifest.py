from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor, merkle
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from ipfs_log_handlers.format.manifest import MAX_BLOCK, MAX_SOURCES, UNIXFS, Manifest, jump_index
from tests.support import strategies
from tests.support.mutations import assert_canonical, assert_refused, cuts, flips, mutants, with_junk
from tests.vectors import load
from tests.vectors.build_chain import manifests

CHAIN = manifests()
EMPTY, SECOND, FILE, LAST = CHAIN[0], CHAIN[1], CHAIN[5], CHAIN[16]
TYPICAL = CHAIN[12]
MIB = 1 << 20
OTHER = Cid.of(DAG_CBOR, b"other")
PLAIN = Cid.of(RAW, b"plain")


def fields_of(manifest: Manifest) -> dict[str, Any]:
    """Return what is in the block."""
    value = dagcbor.decode(manifest.encode())
    assert isinstance(value, dict)
    return value


class TestJump:
    def test_first(self) -> None:
        """The first jumps of the skew-binary numbers."""
        assert [None, 0, 1, 0, 3, 4, 3, 0, 7, 8, 7, 10, 11, 10, 7, 0, 15] == [jump_index(n) for n in range(17)]

    def test_myers(self) -> None:
        """The jump of each index is the one that Myers' rule gives: over two jumps of one length at once, or by one."""
        jumps = [0]
        for n in range(1, 5000):
            one, two = jumps[n - 1], jumps[jumps[n - 1]]
            jumps.append(two if n - 1 - one == one - two else n - 1)
            assert jumps[n] == jump_index(n)

    @given(st.integers(1, 2**62), st.data())
    def test_logarithmic(self, newest: int, data: st.DataObject) -> None:
        """Any index is reached in a number of hops that grows with the logarithm only."""
        wanted = data.draw(st.integers(0, newest))
        hops, at = 0, newest
        while at != wanted:
            jump = jump_index(at)
            assert jump is not None
            at = jump if jump >= wanted else at - 1
            hops += 1
        assert hops <= 3 * newest.bit_length()


class TestBlock:
    @pytest.mark.parametrize("manifest", CHAIN, ids=lambda manifest: str(manifest.index))
    def test_both_ways(self, manifest: Manifest) -> None:
        """What is encoded is decoded to the same, and encoded to the same bytes again."""
        block = manifest.encode()
        read = Manifest.decode(block)
        assert manifest == read
        assert block == read.encode() == replace(read).encode()
        assert manifest.cid == read.cid == Cid.of(DAG_CBOR, block)

    def test_golden(self) -> None:
        """The frozen manifests are made again byte by byte, and have their frozen CIDs."""
        golden = load("chain.json")
        assert golden["manifests"] == [manifest.encode().hex() for manifest in CHAIN]
        assert golden["cids"] == [manifest.cid.text for manifest in CHAIN]

    def test_fields(self) -> None:
        """The keys are those of the format, `payload` and `evidence` are links, `prev` and `jump` are text."""
        value = fields_of(LAST)
        names = "v log index prev jump edge sealed first last records dropped payload size raw encoding root meta stats"
        assert set(value) == {*names.split(), "sources", "evidence"}
        assert value["prev"] == CHAIN[15].cid.text
        assert value["jump"] == CHAIN[15].cid.text
        assert (type(value["prev"]), type(value["payload"])) == (str, Cid)
        assert [type(cid) for cid in value["evidence"]] == [Cid]
        assert value["sources"] == [["0123456789abcdef", 4711, 321, 340]]

    def test_chain(self) -> None:
        """Each manifest holds the edge over those before it, from which all roots follow."""
        leaves = [merkle.leaf_hash(manifest.cid) for manifest in CHAIN]
        for manifest in CHAIN:
            assert merkle.root(leaves[: manifest.index]) == merkle.edge_root(manifest.edge_hashes)
            assert merkle.root(leaves[: manifest.index + 1]) == merkle.edge_root(manifest.edge_after())

    @pytest.mark.slow
    @pytest.mark.parametrize("manifest", [EMPTY, FILE, TYPICAL], ids=["empty", "file", "typical"])
    def test_mutants(self, manifest: Manifest) -> None:
        """Cut or with junk it is no manifest; with a bit flipped it is none, or another one with another CID."""
        block = manifest.encode()
        assert_refused(Manifest.decode, cuts(block))
        assert_refused(Manifest.decode, with_junk(block))
        assert_canonical(Manifest.decode, lambda read: replace(read).encode(), flips(block))

    def test_every_bit(self) -> None:
        """No bit can be flipped, no byte cut or added, without the CID saying so."""
        block = TYPICAL.encode()
        for mutant in mutants(block):
            with pytest.raises(VerificationError):
                TYPICAL.cid.verify(mutant)

    @pytest.mark.slow
    @given(value=strategies.dag_values)
    def test_any_value(self, value: object) -> None:
        """Whatever DAG-CBOR can hold is a FormatError when it is not a manifest."""
        with pytest.raises(FormatError):
            Manifest.decode(dagcbor.encode(value))

    @pytest.mark.slow
    @given(key=st.sampled_from(sorted(fields_of(TYPICAL))), value=strategies.dag_values)
    def test_any_field(self, key: str, value: object) -> None:
        """Whatever stands in a field, the answer is a FormatError or a manifest that encodes to the same bytes."""
        try:
            block = dagcbor.encode({**fields_of(TYPICAL), key: value})
        except FormatError:
            return  # nested too deep for a block, too
        assert_canonical(Manifest.decode, lambda read: replace(read).encode(), [block])

    @pytest.mark.slow
    @given(meta=st.dictionaries(strategies.texts, strategies.dag_values, max_size=4))
    def test_any_meta(self, meta: dict[str, object]) -> None:
        """Whatever `meta` is, the manifest is refused or comes back the same."""
        try:
            manifest = replace(TYPICAL, meta=meta)
            block = manifest.encode()
        except FormatError:
            return
        assert manifest == Manifest.decode(block)

    @pytest.mark.parametrize("key", sorted(fields_of(TYPICAL)))
    def test_missing_key(self, key: str) -> None:
        """A manifest without one of its keys is refused."""
        value = fields_of(TYPICAL)
        del value[key]
        with pytest.raises(FormatError, match="version" if key == "v" else f"missing \\['{key}'\\]"):
            Manifest.decode(dagcbor.encode(value))

    def test_each_attribute_is_a_key_of_version_1_or_ext(self) -> None:
        """An attribute that is in no block would be lost when a manifest is encoded."""
        attributes = {attribute.name for attribute in fields(Manifest) if not attribute.name.startswith("_")}

        assert attributes == {*fields_of(TYPICAL), "ext"}

    def test_unknown_key(self) -> None:
        """A key that this code does not know is refused: it may change what the others mean."""
        with pytest.raises(FormatError, match=r"unknown \['kid'\]"):
            Manifest.decode(dagcbor.encode({**fields_of(TYPICAL), "kid": None}))

    @pytest.mark.parametrize("version", [0, 2, True, 1.0, "1", None])
    def test_other_version(self, version: object) -> None:
        """Another version is refused, with the hint to upgrade, whatever keys it has."""
        with pytest.raises(FormatError, match="version") as caught:
            Manifest.decode(dagcbor.encode({"v": version, "new": 1}))
        assert "upgrade" in str(caught.value)

    def test_prev_as_link(self) -> None:
        """A manifest that links to the one before it is refused: pinning it would pin the whole log."""
        with pytest.raises(FormatError, match="as text"):
            Manifest.decode(dagcbor.encode({**fields_of(TYPICAL), "prev": TYPICAL.prev}))

    def test_payload_as_text(self) -> None:
        """A manifest that only tells the CID of its payload is refused: pinning it would not pin the payload."""
        with pytest.raises(FormatError, match="links"):
            Manifest.decode(dagcbor.encode({**fields_of(TYPICAL), "payload": TYPICAL.payload.text}))

    def test_too_long(self) -> None:
        """Over 16 KiB nothing is written and nothing is read."""
        subsystem_dir = MAX_BLOCK - len(replace(TYPICAL, meta={"x": "a" * 300}).encode()) + 300
        assert len(replace(TYPICAL, meta={"x": "a" * subsystem_dir}).encode()) == MAX_BLOCK
        with pytest.raises(FormatError, match="too long") as caught:
            replace(TYPICAL, meta={"x": "a" * (subsystem_dir + 1)}).encode()
        assert "many" in str(caught.value)
        with pytest.raises(FormatError, match="too long"):
            Manifest.decode(dagcbor.encode({**fields_of(TYPICAL), "meta": {"x": "a" * (subsystem_dir + 1)}}))


class TestRules:
    @pytest.mark.parametrize(
        ("base", "changes"),
        [
            (TYPICAL, {"v": 2}),
            (TYPICAL, {"v": True}),
            (TYPICAL, {"log": "audit"}),
            (TYPICAL, {"log": None}),
            (TYPICAL, {"log": TYPICAL.log + "\n"}),
            (TYPICAL, {"index": -1}),
            (TYPICAL, {"index": True}),
            (TYPICAL, {"index": 12.0}),
            (TYPICAL, {"index": 2**63, "edge": bytes(32)}),
            (TYPICAL, {"index": 13}),
            (EMPTY, {"prev": OTHER}),
            (EMPTY, {"jump": OTHER}),
            (TYPICAL, {"prev": None}),
            (TYPICAL, {"jump": None}),
            (TYPICAL, {"prev": OTHER.text}),
            (TYPICAL, {"prev": PLAIN, "jump": PLAIN}),
            (TYPICAL, {"prev": OTHER}),
            (LAST, {"jump": OTHER}),
            (TYPICAL, {"edge": b""}),
            (TYPICAL, {"edge": bytes(63)}),
            (TYPICAL, {"edge": bytes(96)}),
            (TYPICAL, {"edge": "e" * 64}),
            (TYPICAL, {"sealed": -1}),
            (TYPICAL, {"sealed": 253_402_300_800_000_000}),
            (TYPICAL, {"sealed": 1.0}),
            (TYPICAL, {"first": TYPICAL.last + 1}),
            (EMPTY, {"first": EMPTY.sealed - 1}),
            (EMPTY, {"last": EMPTY.sealed + 1}),
            (TYPICAL, {"records": 0}),
            (TYPICAL, {"records": -1}),
            (TYPICAL, {"records": True}),
            (TYPICAL, {"records": TYPICAL.raw // 3 + 1}),
            (EMPTY, {"records": 1}),
            (EMPTY, {"raw": 1}),
            (TYPICAL, {"dropped": {"x": -1}}),
            (TYPICAL, {"dropped": {"x": True}}),
            (TYPICAL, {"dropped": {1: 1}}),
            (TYPICAL, {"dropped": 3}),
            (TYPICAL, {"payload": OTHER}),
            (TYPICAL, {"payload": bytes(PLAIN)}),
            (TYPICAL, {"payload": Cid.of(DAG_PB, b"")}),
            (TYPICAL, {"size": MIB + 1}),
            (FILE, {"payload": PLAIN}),
            (TYPICAL, {"size": -1}),
            (TYPICAL, {"raw": 2**63}),
            (FILE, {"raw": FILE.size + 1}),
            (FILE, {"records": 1, "root": bytes(32)}),
            (TYPICAL, {"encoding": "zstd"}),
            (TYPICAL, {"encoding": None}),
            (TYPICAL, {"encoding": UNIXFS}),
            (TYPICAL, {"root": bytes(31)}),
            (TYPICAL, {"root": merkle.EMPTY_ROOT}),
            (EMPTY, {"root": bytes(32)}),
            (TYPICAL, {"root": None}),
            (TYPICAL, {"meta": None}),
            (TYPICAL, {"meta": [("a", 1)]}),
            (TYPICAL, {"meta": {"cid": PLAIN}}),
            (TYPICAL, {"stats": {"a": [{"b": (1, PLAIN)}]}}),
            (TYPICAL, {"sources": [("0123456789abcdef", 1, 1, 1)]}),
            (TYPICAL, {"sources": (("0123456789abcdef", 1, 1, 1),) * (MAX_SOURCES + 1)}),
            (TYPICAL, {"sources": (("0123456789abcdeg", 1, 1, 1),)}),
            (TYPICAL, {"sources": (("0123456789abcdef", -1, 1, 1),)}),
            (TYPICAL, {"sources": (("0123456789abcdef", 1, 0, 1),)}),
            (TYPICAL, {"sources": (("0123456789abcdef", 1, 2, 1),)}),
            (TYPICAL, {"sources": (("0123456789abcdef", 1, 1),)}),
            (TYPICAL, {"sources": (["0123456789abcdef", 1, 1, 1],)}),
            (TYPICAL, {"evidence": [PLAIN]}),
            (TYPICAL, {"evidence": (PLAIN.text,)}),
        ],
    )
    def test_refused(self, base: Manifest, changes: dict[str, Any]) -> None:
        """A manifest that breaks a rule cannot be made, so none is ever signed."""
        with pytest.raises(FormatError):
            replace(base, **changes)

    @pytest.mark.parametrize(
        ("base", "changes"),
        [
            (EMPTY, {"sealed": 0, "first": 0, "last": 0}),
            (TYPICAL, {"first": TYPICAL.last}),
            (TYPICAL, {"sealed": TYPICAL.first - 1}),
            (TYPICAL, {"dropped": {}}),
            (TYPICAL, {"dropped": {"x": 0}}),
            (TYPICAL, {"size": MIB}),
            (TYPICAL, {"size": MIB + 1, "payload": Cid.of(DAG_PB, b"")}),
            (TYPICAL, {"records": TYPICAL.raw // 3}),
            (TYPICAL, {"sources": (("0123456789abcdef", 1, 1, 1),) * MAX_SOURCES}),
            (TYPICAL, {"evidence": (PLAIN, OTHER)}),
            (FILE, {"size": 3, "raw": 3, "payload": PLAIN}),
            (TYPICAL, {"meta": {"cid": PLAIN.text, "f": 1.5, "n": None, "l": [1, (2, b"3")]}}),
        ],
    )
    def test_allowed(self, base: Manifest, changes: dict[str, Any]) -> None:
        """Just inside the rules it is a manifest, and comes back."""
        read = Manifest.decode(replace(base, **changes).encode())
        assert replace(base, **changes).cid == read.cid

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: 2}, "\ud800", 2**64])
    def test_what_cbor_cannot_hold(self, value: object) -> None:
        """What DAG-CBOR cannot hold is refused before it is signed."""
        with pytest.raises(FormatError):
            replace(TYPICAL, stats={"x": value}).encode()

    def test_cycle(self) -> None:
        """A `meta` that holds itself is refused, not followed for ever."""
        meta: dict[str, object] = {}
        meta["self"] = meta
        with pytest.raises(FormatError, match="too deep"):
            replace(TYPICAL, meta=meta)

    def test_change_after_reading(self) -> None:
        """A manifest made from another one has a block of its own."""
        read = Manifest.decode(TYPICAL.encode())
        assert replace(read, sealed=read.sealed + 1).cid != read.cid


class TestExtensions:
    """`ext` is where a later version adds what an earlier one may ignore."""

    def test_without_extensions_the_block_has_no_such_key(self) -> None:
        """The bytes of version 1 are those of before `ext` was read."""
        assert "ext" not in fields_of(TYPICAL)
        assert replace(TYPICAL, ext={}).encode() == TYPICAL.encode()

    def test_unknown_extensions_are_read_and_kept(self) -> None:
        """A reader that knows none of the keys still has the manifest, its CID, and what stands there."""
        ext = {"example.org/colour": {"name": "red", "shades": [1, 2]}, "other-project/key_epoch": 3}
        manifest = replace(TYPICAL, ext=ext)
        read = Manifest.decode(manifest.encode())

        assert read == manifest
        assert read.ext == ext
        assert read.cid != TYPICAL.cid

    @pytest.mark.parametrize(
        "ext",
        [
            {"colour": 1},
            {"/colour": 1},
            {"example.org/": 1},
            {"Example.org/colour": 1},
            {"a/b/c": 1},
            {"example.org/link": PLAIN},
            {"example.org/deep": [{"link": PLAIN}]},
            [("example.org/colour", 1)],
            None,
        ],
        ids=ascii,
    )
    def test_other_extensions_are_refused(self, ext: Any) -> None:
        """Keys need a name in front, links would make a daemon search at each pin."""
        with pytest.raises(FormatError):
            replace(TYPICAL, ext=ext)
        with pytest.raises(FormatError):
            Manifest.decode(dagcbor.encode({**fields_of(TYPICAL), "ext": ext}))

    def test_an_empty_map_is_refused(self) -> None:
        """A manifest has one encoding."""
        with pytest.raises(FormatError, match="empty `ext`"):
            Manifest.decode(dagcbor.encode({**fields_of(TYPICAL), "ext": {}}))

    def test_a_key_outside_of_ext_is_refused(self) -> None:
        """A field that must not be ignored needs a new version."""
        with pytest.raises(FormatError, match="unknown"):
            Manifest.decode(dagcbor.encode({**fields_of(TYPICAL), "colour": 1}))
