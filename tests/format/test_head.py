from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.head import MAX_BLOCK, Head
from tests.support import strategies
from tests.support.mutations import assert_canonical, assert_refused, cuts, flips, mutants, with_junk
from tests.vectors import load
from tests.vectors.build_chain import KEY, LOG, heads, manifests

HEADS = heads()
HEAD = HEADS[-1]
OTHER = SecretKey.generate(bytes(32))


def fields_of(head: Head) -> dict[str, Any]:
    """Return what is in the block."""
    value = dagcbor.decode(head.encode())
    assert isinstance(value, dict)
    return value


class TestBlock:
    @pytest.mark.parametrize("head", HEADS, ids=lambda head: str(head.index))
    def test_both_ways(self, head: Head) -> None:
        """What is encoded is decoded to the same, and encoded to the same bytes again."""
        read = Head.decode(head.encode())
        assert head == read
        assert head.encode() == read.encode()
        assert Cid.of(DAG_CBOR, head.encode()) == read.cid

    def test_golden(self) -> None:
        """The frozen heads are made again byte by byte."""
        assert load("chain.json")["heads"] == [head.encode().hex() for head in HEADS]

    def test_fields(self) -> None:
        """The keys are those of the format, and the manifest is a link."""
        value = fields_of(HEAD)
        assert {"v", "log", "index", "manifest", "checkpoint"} == set(value)
        assert (Cid, bytes) == (type(value["manifest"]), type(value["checkpoint"]))
        assert manifests()[-1].cid == value["manifest"]

    def test_mutants(self) -> None:
        """Cut or with junk it is no head; with a bit flipped it is none, or another one with another CID."""
        block = HEAD.encode()
        assert_refused(Head.decode, cuts(block))
        assert_refused(Head.decode, with_junk(block))
        assert_canonical(Head.decode, Head.encode, flips(block))

    def test_every_bit(self) -> None:
        """No bit can be flipped, no byte cut or added, without the CID saying so."""
        for mutant in mutants(HEAD.encode()):
            with pytest.raises(VerificationError):
                HEAD.cid.verify(mutant)

    def test_every_signed_bit(self) -> None:
        """Even without its CID nothing but the link can be changed; the link is checked against the signed root."""
        for mutant in flips(HEAD.encode()):
            try:
                read = Head.decode(mutant)
                read.verify(KEY.verifier)
            except (FormatError, VerificationError):
                continue
            assert replace(read, manifest=HEAD.manifest) == HEAD

    @pytest.mark.slow
    @given(key=st.sampled_from(sorted(fields_of(HEAD))), value=strategies.dag_values)
    def test_any_field(self, key: str, value: object) -> None:
        """Whatever stands in a field, the answer is a FormatError or a head that encodes to the same bytes."""
        try:
            block = dagcbor.encode({**fields_of(HEAD), key: value})
        except FormatError:
            return  # nested too deep for a block, too
        assert_canonical(Head.decode, Head.encode, [block])

    @pytest.mark.slow
    @given(value=strategies.dag_values)
    def test_any_value(self, value: object) -> None:
        """Whatever DAG-CBOR can hold is a FormatError when it is not a head."""
        with pytest.raises(FormatError):
            Head.decode(dagcbor.encode(value))

    @pytest.mark.parametrize("key", sorted(fields_of(HEAD)))
    def test_missing_key(self, key: str) -> None:
        """A head without one of its keys is refused."""
        value = fields_of(HEAD)
        del value[key]
        with pytest.raises(FormatError, match="version" if key == "v" else "keys"):
            Head.decode(dagcbor.encode(value))

    def test_unknown_key(self) -> None:
        """A key that this code does not know is refused."""
        with pytest.raises(FormatError, match="keys"):
            Head.decode(dagcbor.encode({**fields_of(HEAD), "next": None}))

    @pytest.mark.parametrize("version", [0, 2, True, 1.0, None])
    def test_other_version(self, version: object) -> None:
        """Another version is refused, with the hint to upgrade."""
        with pytest.raises(FormatError, match="upgrade"):
            Head.decode(dagcbor.encode({**fields_of(HEAD), "v": version}))

    def test_too_long(self) -> None:
        """A block that is longer than any head is not read."""
        with pytest.raises(FormatError, match="too long"):
            Head.decode(bytes(MAX_BLOCK + 1))


class TestRules:
    @pytest.mark.parametrize(
        "changes",
        [
            {"v": 2},
            {"v": True},
            {"log": "audit"},
            {"log": LOG.replace("audit", "logs")},
            {"index": HEAD.index - 1},
            {"index": HEAD.index + 1},
            {"index": float(HEAD.index)},
            {"manifest": Cid.of(RAW, b"")},
            {"manifest": HEAD.manifest.text},
            {"manifest": bytes(HEAD.manifest)},
            {"checkpoint": HEADS[3].checkpoint},
            {"checkpoint": b""},
            {"checkpoint": HEAD.checkpoint.decode()},
            {"checkpoint": HEAD.checkpoint[:-1]},
        ],
    )
    def test_refused(self, changes: dict[str, Any]) -> None:
        """A head that contradicts its checkpoint, or is none, cannot be made."""
        with pytest.raises(FormatError):
            replace(HEAD, **changes)


class TestVerify:
    def test_signed(self) -> None:
        """The key of the log is believed, and the checkpoint comes out."""
        checkpoint = HEAD.verify(KEY.verifier)
        assert (LOG, len(HEADS)) == (checkpoint.origin, checkpoint.size)

    def test_other_key(self) -> None:
        """A key is not asked about the log of another one."""
        with pytest.raises(VerificationError, match="belongs to another key"):
            HEAD.verify(OTHER.verifier)

    def test_own_name_on_another_log(self) -> None:
        """Who signs with a key of his own, on a log of his own name, is refused by the readers of this one."""
        note = Checkpoint.parse(HEAD.checkpoint).signed(OTHER)
        with pytest.raises(VerificationError, match="not signed by the expected key"):
            replace(HEAD, checkpoint=note).verify(KEY.verifier)
