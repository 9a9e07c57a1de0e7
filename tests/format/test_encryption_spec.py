"""Encrypted batches against the specification of age, and against an attacker who sees only sizes."""

from __future__ import annotations

import json
import random

import pytest

from ipfs_log_handlers.format import dagcbor, encryption
from ipfs_log_handlers.format.encryption import EXTENSION, padme, reveal
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.payload import Encoder, prefix
from tests.support import oracle
from tests.support.age_oracle import open_age
from tests.support.encrypted import ALICE, LINES, LOG, encrypted_batch, payload_of
from tests.vectors import FOLDER

DIGITS = "0123456789abcdef"


def test_a_payload_is_a_file_of_age() -> None:
    """It has one recipient; in it are zstd frames, which every decoder decompresses to JSON Lines."""
    _, ciphertext = encrypted_batch()
    opened = open_age(ciphertext, ALICE)
    assert [kind for kind in opened.recipients if not kind.endswith("-grease")] == ["X25519"]
    assert opened.data.startswith(payload_of())
    assert len(opened.data) == padme(len(opened.data))
    assert oracle.inflate(opened.data) == b"".join(line + b"\n" for line in LINES)


def test_hidden_claims_are_a_file_of_age() -> None:
    """In it are the DAG-CBOR of the claims, framed, and zeros."""
    manifest, _ = encrypted_batch()
    opened = open_age(manifest.ext[EXTENSION]["hidden"], ALICE).data
    length = int.from_bytes(opened[4:8], "little")
    assert opened[:4] == bytes.fromhex("502a4d18")
    assert opened[8 + length : 12 + length] == bytes.fromhex("512a4d18")
    padding = opened[16 + length :]
    assert len(padding) == int.from_bytes(opened[12 + length : 16 + length], "little")
    assert not any(padding)
    assert len(opened) == padme(len(opened))
    claims = dagcbor.decode(opened[8 : 8 + length])
    assert isinstance(claims, dict)
    assert (claims["log"], claims["index"], claims["kid"], claims["meta"]["type"]) == (
        LOG,
        0,
        "audit/2026-03",
        "audit_log",
    )


@pytest.mark.parametrize("size", [0, 1, 65_535 - 8, 65_536 - 8, 65_537, 200_000])
def test_large_payloads_have_chunks(size: int) -> None:
    """At the edges of a chunk of age, too."""
    data = random.Random(size).randbytes(size)
    ciphertext = encryption.encrypt(data, encryption.recipient_of(ALICE))
    assert open_age(ciphertext, ALICE).data == encryption.decrypt(ciphertext, ALICE)
    assert open_age(ciphertext, ALICE).data.startswith(data)


def test_a_batch_that_was_written_before_is_read() -> None:
    """The bytes in `tests/vectors/encrypted.json` stay readable; they were written once, for age draws its keys."""
    vector = json.loads((FOLDER / "encrypted.json").read_text())
    revealed = reveal(Manifest.decode(bytes.fromhex(vector["manifest"])), vector["identity"])
    plain = revealed.plain([bytes.fromhex(vector["payload"])])
    lines = revealed.payload_encoding.lines([plain], log=LOG, index=0, raw=revealed.raw, size=len(plain))
    assert [line.decode() for line in lines] == vector["lines"]
    assert revealed.meta == {"type": "audit_log", "actions": {"login": 20}}


# -- sizes


def _won(trials: int, *, padded: bool, others: int) -> float:
    """Play the game of an attacker who sees sizes: return the share of the digits that he finds.

    A record has a secret of 12 hex digits. The attacker knows all but one digit of its beginning, puts each possible
    beginning into a record of the same batch, and takes the digit whose batch is the smallest.
    """
    dice = random.Random(7)
    won = 0.0
    for _ in range(trials):
        secret = "".join(dice.choices(DIGITS, k=12))
        known = dice.randrange(4, 11)
        noise = [
            f'{{"event":"order {dice.randrange(10**9)} of {dice.randrange(10**6)}"}}'.encode() for _ in range(others)
        ]
        sizes = {}
        for digit in DIGITS:
            lines = [
                *noise,
                f'{{"token":"{secret}"}}'.encode(),
                f'{{"query":"token={secret[:known]}{digit}"}}'.encode(),
            ]
            encoder = Encoder(1)
            text = b"".join(line + b"\n" for line in lines)
            size = len(prefix(bytes(32), LOG, 0)) + len(encoder.add(text) + encoder.finish())
            sizes[digit] = padme(size + 8) if padded else size
        best = [digit for digit in DIGITS if sizes[digit] == min(sizes.values())]
        won += (secret[known] in best) / len(best)
    return won / trials


def test_sizes_tell_no_secret() -> None:
    """With padding, and the records of others in the batch, the attacker is as good as one who guesses: one in 16.

    600 guesses at chance have a standard deviation of 1 %; 2.6 % above chance has a probability of 0.5 %. Without
    padding the same attacker is far better, so the game can be won.
    """
    assert _won(600, padded=True, others=100) < 1 / 16 + 0.026
    assert _won(200, padded=False, others=100) > 2 / 16
