"""Batches are read by their numbers; damage is a FormatError and nothing else."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home.batches import Batches
from tests.support.mutations import cuts, flips


def test_the_header_comes_first_and_says_which_batch_it_is(batches: Batches) -> None:
    """Manifest and head block come first, and say which batch it is."""
    facts = batches.facts(1)
    assert (1, 1) == (facts.manifest.index, facts.head.index)
    assert facts.cid == facts.head.manifest == facts.manifest.cid
    assert [facts.cid, facts.head_cid, facts.manifest.payload] == [cid for cid, _ in batches.blocks(1)]
    assert batches.has_payload(1, facts.manifest.payload)


def test_a_batch_under_the_number_of_another_is_refused(batches: Batches) -> None:
    """A batch under another's number is refused."""
    batches.file(0).write_bytes(batches.file(1).read_bytes())
    with pytest.raises(FormatError, match="wrong number"):
        batches.facts(0)


@pytest.mark.slow
def test_a_damaged_batch_is_refused_or_its_header_is_unharmed(batches: Batches) -> None:
    """Cut anywhere or with a bit flipped, a batch is a FormatError, or its facts are unharmed; nothing else."""
    data, facts = batches.file(1).read_bytes(), batches.facts(1)
    for mutant in [*list(cuts(data))[::7], *list(flips(data))[::11]]:
        batches.file(1).write_bytes(mutant)
        try:
            assert facts == batches.facts(1)
            list(batches.blocks(1))
        except FormatError:
            continue
        assert not batches.has_payload(1, facts.manifest.payload)  # cut behind the head block: as if stripped
