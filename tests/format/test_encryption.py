"""Encrypted payloads and manifests: what stays in clear, what opens them, and the names of what goes wrong."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import (
    CiphertextError,
    ConfigurationError,
    FormatError,
    NoIdentityError,
    ReplayedKeyError,
    SwappedCiphertextError,
    VerificationError,
    WrongIdentityError,
)
from ipfs_log_handlers.format import encryption
from ipfs_log_handlers.format.encoding import JSONL
from ipfs_log_handlers.format.encryption import EXTENSION, MINUTE, Envelope, hide, padme, reveal
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.format.manifest import MAX_BLOCK, Manifest
from ipfs_log_handlers.stats.summary import shrink_to_block
from tests.support.encrypted import (
    ALICE,
    ALICE_KEY,
    BOB,
    BOB_KEY,
    KID,
    LINES,
    SEALED,
    clear_manifest,
    encrypted_batch,
    payload_of,
)


def _with_envelope(manifest: Manifest, **changed: Any) -> Manifest:
    return replace(manifest, ext={EXTENSION: {**manifest.ext[EXTENSION], **changed}})


# -- sizes


@given(st.integers(0, 2**40))
def test_padme_is_as_its_paper_says(size: int) -> None:
    """At least the size, 12 % more at most, never smaller for a larger size, and padding again changes nothing."""
    padded = padme(size)
    assert size <= padded <= size * 1.12
    assert padme(padded) == padded
    assert padme(size + 1) >= padded
    if size > 1:
        exponent = size.bit_length() - 1
        assert padded % (1 << (exponent - exponent.bit_length())) == 0  # log2 log2 bits of it are used


def test_sizes_up_to_a_block_are_few() -> None:
    """Of a million sizes few are left; from 64 KiB on at most 4 % are added."""
    assert len({padme(size) for size in range(1 << 14)}) < 200
    assert padme((1 << 20) - (1 << 14) + 1) == 1 << 20
    assert max(padme(size) / size for size in range(1 << 16, 1 << 20, 997)) < 1.04


@given(st.binary(max_size=3000))
def test_what_is_encrypted_has_a_padme_size(data: bytes) -> None:
    """The bytes in the age file are as many as Padmé allows, and begin with what was given."""
    opened = encryption.decrypt(encryption.encrypt(data, ALICE_KEY), ALICE)
    assert opened.startswith(data)
    assert len(opened) == padme(len(opened)) == padme(len(data) + 8)


def test_growth_has_a_bound() -> None:
    """A payload of a block less this bound is one block after it was encrypted."""
    data = bytes((1 << 20) - encryption.MAX_GROWTH)
    assert len(encryption.encrypt(data, ALICE_KEY)) <= 1 << 20


# -- manifests


def test_an_encrypted_manifest_tells_minutes_and_counts() -> None:
    """Times are rounded outwards, `raw` upwards; `meta` and `stats` are empty."""
    manifest, ciphertext = encrypted_batch()
    clear = clear_manifest(ciphertext)

    assert (manifest.meta, manifest.stats) == ({}, {})
    assert manifest.first % MINUTE == manifest.last % MINUTE == manifest.sealed % MINUTE == 0
    assert manifest.first <= clear.first < manifest.first + MINUTE
    assert manifest.last - MINUTE < clear.last <= manifest.last
    assert manifest.sealed <= clear.sealed < manifest.sealed + MINUTE
    assert manifest.raw == padme(clear.raw)
    assert manifest.records == clear.records
    assert Envelope.of(manifest).kid == KID
    assert Manifest.decode(manifest.encode()) == manifest


def test_a_time_at_the_end_of_time_is_still_a_time() -> None:
    """The last minute of the year 9999 has no end that a manifest can name."""
    last = 253_402_300_799_999_999
    manifest, _ = encrypted_batch(last=last)
    assert reveal(manifest, ALICE).last == manifest.last == last


def test_exposed_members_stay_in_clear() -> None:
    """`expose` names members of the zone map; the others are hidden."""
    clear = clear_manifest(encryption.encrypt(payload_of(), ALICE_KEY))
    manifest = hide(clear, KID, ALICE_KEY, ["levels"])
    assert manifest.stats == {"levels": {"info": 20}}
    assert reveal(manifest, ALICE).stats == clear.stats


def test_the_identity_reveals_all_claims() -> None:
    """What was hidden comes back; block and CID stay those that were signed."""
    manifest, ciphertext = encrypted_batch()
    revealed = reveal(Manifest.decode(manifest.encode()), ALICE)
    clear = clear_manifest(ciphertext)

    for name in ("first", "last", "sealed", "raw", "meta", "stats", "records", "root"):
        assert getattr(revealed, name) == getattr(clear, name)
    assert revealed.cid == manifest.cid
    assert revealed.encode() == manifest.encode()
    assert ALICE not in repr(revealed)


def test_the_identity_opens_the_payload() -> None:
    """The bytes in it are a payload of zstd frames, with the padding as one more frame."""
    manifest, ciphertext = encrypted_batch()
    revealed = reveal(manifest, ALICE)
    plain = revealed.plain([ciphertext[:100], ciphertext[100:]])

    assert revealed.payload_encoding.name == JSONL
    lines = revealed.payload_encoding.lines(
        [plain], log=revealed.log, index=revealed.index, raw=revealed.raw, size=len(plain)
    )
    assert list(lines) == LINES


def test_a_long_manifest_fits_into_its_block() -> None:
    """What fits into `MAX_CLEAR_BLOCK` before fits into a block afterwards; of what does not, sets become `many`."""
    ciphertext = encryption.encrypt(payload_of(), ALICE_KEY)
    long = clear_manifest(
        ciphertext, meta={"users": [f"user-{number}" for number in range(2000)], "note": "x" * 13_000}
    )
    short = shrink_to_block(long, encryption.MAX_CLEAR_BLOCK)
    manifest = hide(short, KID, ALICE_KEY)

    assert short.meta == {"users": "many", "note": "x" * 13_000}
    assert 13_000 < len(short.encode()) <= encryption.MAX_CLEAR_BLOCK
    assert len(manifest.encode()) <= MAX_BLOCK
    assert reveal(manifest, ALICE).meta == short.meta


def test_no_claim_of_the_records_is_in_the_manifest() -> None:
    """No text of 8 characters of metadata, zone map or records is in the block."""
    manifest, ciphertext = encrypted_batch()
    block = manifest.encode() + ciphertext
    for text in (b"somebody", b"audit_log", b"actions", b"login", b"levels", b"loggers", b"shop", *LINES):
        windows = {text[at : at + 8] for at in range(max(1, len(text) - 7))}
        assert not [window for window in windows if window in block]


# -- what goes wrong


def test_another_identity_is_named() -> None:
    """The wrong identity is told from damage."""
    manifest, _ = encrypted_batch()
    with pytest.raises(WrongIdentityError, match="another key"):
        reveal(manifest, BOB)
    assert issubclass(WrongIdentityError, NoIdentityError)


@pytest.mark.parametrize("at", [3, 25, 40, 100, 170])
def test_a_damaged_age_header_is_named(at: int) -> None:
    """With the right identity, a header that does not open is damage."""
    manifest, _ = encrypted_batch()
    hidden = bytearray(manifest.ext[EXTENSION]["hidden"])
    hidden[at] ^= 1
    with pytest.raises(CiphertextError, match="age header is damaged"):
        reveal(_with_envelope(manifest, hidden=bytes(hidden)), ALICE)
    assert issubclass(CiphertextError, VerificationError)


def test_every_damaged_byte_is_found() -> None:
    """No bit of the hidden claims or of the payload can be changed."""
    manifest, ciphertext = encrypted_batch()
    hidden = manifest.ext[EXTENSION]["hidden"]
    for at in range(0, len(hidden), 7):
        changed = bytes([*hidden[:at], hidden[at] ^ 1, *hidden[at + 1 :]])
        with pytest.raises(CiphertextError):
            reveal(_with_envelope(manifest, hidden=changed), ALICE)
    revealed = reveal(manifest, ALICE)
    for at in range(0, len(ciphertext), 13):
        changed = bytes([*ciphertext[:at], ciphertext[at] ^ 1, *ciphertext[at + 1 :]])
        with pytest.raises(CiphertextError):
            revealed.plain([changed])


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b""])
def test_a_payload_of_another_size_is_refused(change: Any) -> None:
    """The manifest says how many bytes the age file has."""
    manifest, ciphertext = encrypted_batch()
    with pytest.raises(FormatError, match="bytes that the manifest says"):
        reveal(manifest, ALICE).plain([change(ciphertext)])


def test_the_payload_of_another_batch_is_named() -> None:
    """A ciphertext that was exchanged for another one of the same key is found by the place in it."""
    other = encryption.encrypt(payload_of(index=1), ALICE_KEY)
    manifest = hide(clear_manifest(other), KID, ALICE_KEY)
    with pytest.raises(SwappedCiphertextError, match="payload of another batch"):
        reveal(manifest, ALICE).plain([other])


def test_the_hidden_claims_of_another_batch_are_named() -> None:
    """Hidden claims name log, index and payload."""
    manifest, _ = encrypted_batch()
    same_payload = replace(manifest, log=manifest.log[:-1] + "1")
    with pytest.raises(SwappedCiphertextError, match="hidden claims"):
        reveal(same_payload, ALICE)
    other, _ = encrypted_batch()
    with pytest.raises(SwappedCiphertextError, match="hidden claims"):
        reveal(_with_envelope(manifest, hidden=other.ext[EXTENSION]["hidden"]), ALICE)


def test_the_key_of_another_period_is_named() -> None:
    """A batch that was sealed in March has the key of March, and the claims in it say the same."""
    manifest, ciphertext = encrypted_batch()
    for other in (Kid.at(SEALED - 40 * 86_400_000_000, "audit", "month"), Kid.at(SEALED, "wal", "month")):
        with pytest.raises(ReplayedKeyError, match="another period"):
            Envelope.of(_with_envelope(manifest, kid=other.text))
        with pytest.raises(ReplayedKeyError, match="another period"):
            hide(clear_manifest(ciphertext), other, ALICE_KEY)
    day = Kid.at(SEALED, "audit", "day")
    with pytest.raises(ReplayedKeyError, match="name another key"):
        reveal(_with_envelope(manifest, kid=day.text), ALICE)


def test_another_recipient_in_the_envelope_is_found() -> None:
    """The recipient in clear decides which identity is tried; age decides whether it is the right one."""
    manifest, _ = encrypted_batch()
    with pytest.raises(CiphertextError, match="of another key"):
        reveal(_with_envelope(manifest, recipient=BOB_KEY), BOB)


@pytest.mark.parametrize(
    "changed",
    [
        {"first": SEALED - SEALED % MINUTE - 10 * MINUTE},
        {"last": SEALED - SEALED % MINUTE + 10 * MINUTE},
        {"sealed": SEALED - SEALED % MINUTE - MINUTE},
        {"raw": 1 << 20},
        {"meta": {"type": "audit_log"}},
        {"stats": {"levels": {"info": 19}}},
        {"stats": {"rules": "x"}},
    ],
)
def test_claims_in_clear_are_those_that_are_hidden(changed: dict[str, Any]) -> None:
    """A reader without the identity is told the same as one who has it."""
    manifest, _ = encrypted_batch()
    with pytest.raises(CiphertextError, match="differs from the hidden claims"):
        reveal(replace(manifest, **changed), ALICE)


def test_a_padding_that_says_something_is_refused() -> None:
    """Each batch has one form: padding is zeros, and nothing follows it."""
    manifest, _ = encrypted_batch()
    opened = encryption.decrypt(manifest.ext[EXTENSION]["hidden"], ALICE)
    to = [pyrage.x25519.Recipient.from_str(ALICE_KEY)]
    for changed in (opened[:-1] + b"x", opened + b"\0", opened[:-1], b"", opened[:4]):
        with pytest.raises(CiphertextError, match="not the hidden claims"):
            reveal(_with_envelope(manifest, hidden=pyrage.encrypt(changed, to)), ALICE)


@pytest.mark.parametrize(
    "ext",
    [
        {},
        {EXTENSION: {}},
        {EXTENSION: {"kid": KID.text, "recipient": ALICE_KEY}},
        {EXTENSION: {"kid": KID.text, "recipient": ALICE_KEY, "hidden": "text"}},
        {EXTENSION: {"kid": KID.text, "recipient": "ssh-ed25519 AAAA", "hidden": b""}},
        {EXTENSION: {"kid": "../2026-03", "recipient": ALICE_KEY, "hidden": b""}},
        {EXTENSION: {"kid": KID.text, "recipient": ALICE_KEY, "hidden": b"", "more": 1}},
    ],
)
def test_a_malformed_envelope_is_refused(ext: dict[str, Any]) -> None:
    """An encrypted manifest names its key, and nothing else."""
    manifest, _ = encrypted_batch()
    with pytest.raises(FormatError):
        Envelope.of(replace(manifest, ext=ext))


def test_the_place_in_a_group_is_in_clear() -> None:
    """A reader without a key must know which batches were sealed in one step; without a group nothing is added."""
    ciphertext = encryption.encrypt(payload_of(), ALICE_KEY)
    manifest = hide(clear_manifest(ciphertext), KID, ALICE_KEY, group=(1, 3))
    assert Envelope.of(manifest).group == encryption.group_of(manifest) == (1, 3)
    assert reveal(manifest, ALICE).records == len(LINES)
    alone = hide(clear_manifest(ciphertext), KID, ALICE_KEY)
    assert (Envelope.of(alone).group, encryption.group_of(alone)) == (None, None)
    assert alone.ext[EXTENSION].keys() == {"kid", "recipient", "hidden"}


@pytest.mark.parametrize("group", [None, [], [1], [1, 1], [0, 2], [3, 2], [2, 3], [1, 1025], [1, 2, 3], [1.0, 2], "12"])
def test_a_malformed_place_in_a_group_is_refused(group: Any) -> None:
    """It has two numbers, of a batch that can be there: the second one of a group is not the first one of a log."""
    with pytest.raises(FormatError, match="not the place in a group"):
        Envelope.of(_with_envelope(encrypted_batch()[0], group=group))


def test_texts_that_are_no_keys_are_refused_without_showing_them() -> None:
    """A secret that was mistyped is not printed."""
    with pytest.raises(FormatError, match="not an identity") as caught:
        encryption.recipient_of(ALICE[:-1])
    assert ALICE[:-1] not in str(caught.value)
    with pytest.raises(FormatError, match="not a recipient"):
        encryption.encrypt(b"", "age1x")


def test_a_manifest_in_clear_is_not_hidden() -> None:
    """Only a payload that is encrypted gets hidden claims."""
    with pytest.raises(FormatError, match="not encrypted"):
        hide(clear_manifest(b"x" * 99, encoding=JSONL), KID, ALICE_KEY)


def test_without_the_extra_the_error_names_it() -> None:
    """The library is imported where it is first used; an error says how to install it."""
    program = (
        "import sys; sys.modules['pyrage'] = None\n"
        "from ipfs_log_handlers.format import encryption\n"
        "from ipfs_log_handlers.errors import ConfigurationError\n"
        "try:\n    encryption.age_library()\n"
        "except ConfigurationError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "pip install 'ipfs_log_handlers[encrypt]'" in done.stdout
    assert issubclass(ConfigurationError, ValueError)
