from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.tlog_proof import MAX_PROOF, TlogProof
from tests.support.bundles import HEADS, KEY, LEAVES, bundle
from tests.support.mutations import assert_canonical, mutants

PROOF = bundle(6, 0).proof
TEXT = PROOF.encode()
OTHER = SecretKey.generate(bytes(32))


def test_the_text_is_that_of_the_specification():
    """Header, number, hashes in base64, an empty line, and the note as it is."""
    header, number, *hashes = TEXT.partition(b"\n\n")[0].split(b"\n")

    assert (header, number) == (b"c2sp.org/tlog-proof@v1", b"index 6")
    assert len(hashes) == len(PROOF.hashes) == 5
    assert TEXT.endswith(b"\n\n" + HEADS[-1].checkpoint)
    assert TlogProof.decode(TEXT) == PROOF


def test_a_tree_of_one_leaf_needs_no_hash():
    """Without hashes the empty line follows the number."""
    proof = bundle(1, 0, size=2).proof
    alone = TlogProof(0, (), HEADS[0].checkpoint)

    assert alone.encode().startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nipfs-logs/")
    assert TlogProof.decode(alone.encode()) == alone
    alone.check_leaf(LEAVES[0])
    proof.check_leaf(LEAVES[1])


def test_leaf_and_signature_are_checked():
    """Only the right leaf is in the tree, and only the right key opens the checkpoint."""
    PROOF.check_leaf(LEAVES[6])
    assert PROOF.open(KEY.verifier).size == len(LEAVES)
    with pytest.raises(VerificationError, match="not in the tree"):
        PROOF.check_leaf(LEAVES[7])
    with pytest.raises(VerificationError, match="not signed by the expected key"):
        PROOF.open(OTHER.verifier)


@pytest.mark.parametrize(
    "changed",
    [
        TEXT.replace(b"@v1\n", b"@v1\nextra AAAA\n"),
        TEXT.replace(b"@v1", b"@v2"),
        TEXT.replace(b"index 6", b"index 06"),
        TEXT.replace(b"index 6", b"index +6"),
        TEXT.replace(b"index 6", b"index -6"),
        TEXT.replace(b"index 6", b"index 9223372036854775807"),
        TEXT.replace(b"index 6\n", b""),
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"\n\n", b"\n\n\n", 1),
        TEXT.replace(b"index 6\n", b"index 6\n" + b"A" * 43 + b"=\n" + b"B" * 44 + b"\n"),
        TEXT.replace(b"index 6\n", b"index 6\n" + 63 * (b"A" * 43 + b"=\n")),
        TEXT + TEXT,
        b"",
        TEXT + b" " * MAX_PROOF,
    ],
)
def test_other_spellings_are_refused(changed):
    """One proof has one text; what nobody signs is refused."""
    with pytest.raises(FormatError):
        TlogProof.decode(changed)


def test_a_note_with_another_signature_is_refused():
    """Nobody who checks the proof has the key of another line, so that anybody could write one."""
    note = HEADS[-1].checkpoint
    lines = HEADS[-1].checkpoint + OTHER.sign(b"x").hex().encode()
    second = note + note.splitlines(keepends=True)[-1].replace(KEY.name.encode(), OTHER.name.encode())

    with pytest.raises(FormatError, match="one signature"):
        replace(PROOF, checkpoint=second)
    with pytest.raises(FormatError, match="one signature"):
        replace(PROOF, checkpoint=note + note.splitlines(keepends=True)[-1])
    with pytest.raises(FormatError):
        replace(PROOF, checkpoint=lines)


def test_each_accepted_text_is_canonical():
    """Whatever happens to a text: it is refused, or is exactly the text of the value that it is read as."""
    assert_canonical(TlogProof.decode, TlogProof.encode, mutants(TEXT))


@given(st.binary(max_size=2000) | st.binary(max_size=300).map(lambda data: b"c2sp.org/tlog-proof@v1\nindex 1\n" + data))
def test_any_bytes_are_refused_in_our_words(data):
    """The decoder raises `FormatError` or returns a value that encodes to the same bytes."""
    assert_canonical(TlogProof.decode, TlogProof.encode, [data])
