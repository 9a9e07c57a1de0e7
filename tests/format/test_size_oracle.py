"""A game: tell a digit of a secret from the size of an encrypted batch, by text of one's own that was logged beside it.

Compression makes a batch smaller when the text repeats a part of the secret (CRIME). The player knows the beginning of
the secret, logs each digit that may follow, and sees how many bytes are stored. With a batch of the default size he
does as well as by chance; without padding he does far better, so the game can be won.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from ipfs_log_handlers.format.encryption import padme
from ipfs_log_handlers.format.payload import Encoder, prefix
from ipfs_log_handlers.subsystems import audit
from tests.support import realistic_lines

LOG = "ipfs-logs/0123456789abcdef/audit/00000000"
DIGITS = "0123456789abcdef"
ROUNDS = 96
"""By chance one in sixteen is right: 6 of 96. With probability 0.999 at most 15 are (binomial)."""
CHANCE = 15


def _stored(lines: Sequence[str], *, padded: bool) -> int:
    encoder = Encoder(11)
    text = "".join(f"{line}\n" for line in lines).encode()
    size = len(prefix(bytes(32), LOG, 0)) + len(encoder.add(text)) + len(encoder.finish())
    return padme(size + 8) if padded else size


def _won(others: int, *, padded: bool) -> int:
    """Play; return how often the digit was guessed."""
    chance = random.Random(2026)
    pool = list(realistic_lines.lines())
    won = 0
    for _ in range(ROUNDS):
        secret = "".join(chance.choices(DIGITS, k=12))
        noise = chance.sample(pool, others)
        sizes = {}
        for digit in DIGITS:
            guess = f'{{"event":"not found","path":"/?session={secret[:6]}{digit}"}}'
            lines = [*noise, f'{{"event":"signed in","path":"/?session={secret}"}}', guess]
            sizes[digit] = _stored(lines, padded=padded)
        least = [digit for digit, size in sizes.items() if size == min(sizes.values())]
        won += chance.choice(least) == secret[6]
    return won


@pytest.mark.slow
def test_with_a_batch_of_the_default_size_it_is_a_matter_of_chance() -> None:
    """So many records of others, and sizes that are rounded up, hide what one guess saves."""
    assert _won(audit.SUBSYSTEM.records - 2, padded=True) <= CHANCE


def test_without_padding_the_game_can_be_won() -> None:
    """The player is far better than by chance, also beside other records: the game above would show a leak."""
    assert _won(audit.SUBSYSTEM.records - 2, padded=False) > 2 * CHANCE
