"""Key changes: one spelling, both signatures, and no bit that can be changed."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, VerifierKey, log_name, open_note
from ipfs_log_handlers.format.key_change import (
    MAX_CHANGES,
    KeyChange,
    check_order,
    is_key_change,
    join,
    leads_to,
    sign,
    split,
)
from tests.support import mutations

KEYS = [SecretKey.generate(bytes([number]) * 32) for number in range(4)]
END = Checkpoint(log_name(KEYS[0].name, "audit", "1b0e44d2"), 1234, sha256(b"root").digest())
AT = 1_767_323_045_000_006
CHANGE = sign(END, KEYS[0], KEYS[1], AT)
SECOND = sign(END, KEYS[1], KEYS[2], AT + 1)


def refused(data: bytes) -> None:
    """Assert that bytes are no list of key changes."""
    with pytest.raises((FormatError, VerificationError)):
        split(data)


def test_the_text_is_that_of_the_formats_page():
    """The text has the four lines of a checkpoint with one extension, and each key verifies it alone."""
    text = CHANGE.note.decode().partition("\n\n")[0]
    old, new = (key.verifier.text for key in KEYS[:2])
    root = b64encode(END.root).decode()
    assert text == f"{END.origin}\n1234\n{root}\nkey-change {old} {new} 2026-01-02T03:04:05.000006Z"
    for key in KEYS[:2]:
        assert open_note(CHANGE.note, key.verifier).decode() == text + "\n"
        claim = Checkpoint.open(CHANGE.note, key.verifier)
        assert (claim.origin, claim.size, claim.root) == (END.origin, END.size, END.root)
        assert is_key_change(claim)
    assert not is_key_change(END)
    assert (CHANGE.old, CHANGE.new, CHANGE.changed) == (KEYS[0].verifier, KEYS[1].verifier, AT)


def test_a_file_is_read_as_it_was_written():
    """One change, or several of which each follows the one before it."""
    for changes in ([CHANGE], [CHANGE, SECOND]):
        assert split(join(changes)) == changes
    assert leads_to([CHANGE, SECOND], KEYS[2].name) == [CHANGE, SECOND]
    assert leads_to([CHANGE, SECOND], KEYS[1].name) == [CHANGE]
    assert leads_to([CHANGE, SECOND], KEYS[3].name) == []


@pytest.mark.slow
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.soak)])
def test_every_flipped_bit_cut_and_added_byte_is_refused(stride):
    """Two notes in a file, some 8,700 bits (or each seventh): no changed file is read as changes."""
    whole = join([CHANGE, SECOND])
    for mutant in islice(mutations.mutants(whole), 0, None, stride):
        if mutant not in (CHANGE.note, CHANGE.note + SECOND.note):
            refused(mutant)


def test_every_byte_left_out_doubled_or_exchanged_is_refused():
    """Bytes that are left out, doubled, or exchanged with the next one."""
    note = CHANGE.note
    for at in range(len(note)):
        refused(note[:at] + note[at + 1 :])
        refused(note[: at + 1] + note[at:])
        swapped = note[:at] + note[at : at + 2][::-1] + note[at + 2 :]
        if swapped != note:
            refused(swapped)


@pytest.mark.parametrize("signers", [KEYS[:1], KEYS[1:2], [KEYS[0], KEYS[2]], KEYS[:3], KEYS[1::-1] * 2])
def test_both_keys_and_no_other_must_have_signed(signers):
    """One key alone, another key, or a third signature makes no key change."""
    refused(Checkpoint(END.origin, END.size, END.root, CHANGE.checkpoint.extensions).signed(*signers))


@pytest.mark.parametrize(
    "line",
    [
        "key-change",
        f"key-change {KEYS[0].verifier.text} {KEYS[1].verifier.text}",
        f"key-change {KEYS[0].verifier.text} {KEYS[1].verifier.text} 2026-01-02T03:04:05Z",
        f"key-change {KEYS[0].verifier.text} {KEYS[1].verifier.text} 2026-01-02T03:04:05.0000+6Z",
        f"key-change {KEYS[0].verifier.text} {KEYS[1].verifier.text} 1926-01-02T03:04:05.000006Z",
        f"key-change {KEYS[0].verifier.text}  {KEYS[1].verifier.text} 2026-01-02T03:04:05.000006Z",
        f"key-change {KEYS[0].verifier.text} {KEYS[0].verifier.text} 2026-01-02T03:04:05.000006Z",
        f"key-changed {KEYS[0].verifier.text} {KEYS[1].verifier.text} 2026-01-02T03:04:05.000006Z",
    ],
)
def test_another_line_is_refused_although_both_keys_signed_it(line):
    """Only one spelling is a key change."""
    refused(Checkpoint(END.origin, END.size, END.root, (line,)).signed(*KEYS[:2]))


def test_a_key_with_the_name_of_another_is_refused():
    """The name of a key must be the hash of its public half: else a stranger could take the name of a log's key."""
    impostor = SecretKey(KEYS[0].name, KEYS[3].seed)
    line = f"key-change {impostor.verifier.text} {KEYS[1].verifier.text} 2026-01-02T03:04:05.000006Z"
    refused(Checkpoint(END.origin, END.size, END.root, (line,)).signed(impostor, KEYS[1]))
    assert VerifierKey.parse(impostor.verifier.text) == impostor.verifier


def test_changes_follow_one_another_and_are_about_one_end():
    """A gap, another order, another end, none, or too many are no list."""
    other_end = Checkpoint(END.origin, END.size + 1, END.root)
    many = [sign(END, KEYS[number % 2], KEYS[1 - number % 2], AT) for number in range(MAX_CHANGES + 1)]
    for changes in ([], [SECOND], [SECOND, CHANGE], [CHANGE, sign(other_end, KEYS[1], KEYS[2], AT)], many):
        with pytest.raises(FormatError):
            check_order(changes)
    check_order(many[:-1])


@given(
    st.one_of(st.binary(max_size=600), st.builds(lambda a, b, c: CHANGE.note[:a] + b + CHANGE.note[c:],
              st.integers(0, 540), st.binary(max_size=40), st.integers(0, 540)))
)  # fmt: skip
def test_any_bytes_are_changes_or_one_of_our_errors(data):
    """Whatever the bytes are: our own errors, or changes that are written as they were read."""
    for decode in (KeyChange.decode, split):
        try:
            decoded = decode(data)
        except (FormatError, VerificationError):
            continue
        assert data == (decoded.note if isinstance(decoded, KeyChange) else join(decoded))
