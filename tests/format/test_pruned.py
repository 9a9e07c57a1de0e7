"""The batches that are pruned, as acts name them."""

from __future__ import annotations

from ipfs_log_handlers.format.pruned import Pruned

LOG = "ipfs-logs/0123456789abcdef/audit/89abcdef"


def test_the_numbers_between_two_batches():
    """They are those that the runs have, with both bounds; of another log there are none."""
    pruned = Pruned({LOG: ((0, 1), (3, 3), (5, 6))})
    for first in range(8):
        for last in range(8):
            expected = {index for index in range(first, last + 1) if pruned.has(LOG, index)}
            assert pruned.numbers(LOG, first, last) == expected
    assert pruned.numbers("another", 0, 7) == frozenset()
