"""With keys, what a home says of a batch without a signature hides no record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ipfs_log_handlers import VerificationError, open_dataset
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from tests.support import sample_homes
from tests.support.sample_homes import batches_of, key_of

QUESTIONS: list[dict[str, Any]] = [{"level": "warning"}, {"until": "1h"}, {"where": {"number": 14}}, {}]


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_a_manifest_that_nobody_has_signed_hides_no_record_unseen(home, question):
    """It claims records of another time and level, so that no query would open the batch: that is a gap of each."""
    sample_homes.make(home, 30)
    batches = batches_of(home)
    facts, blocks = batches.facts(1), list(batches.blocks(1))
    claim = replace(facts.manifest, first=0, last=0, stats={"levels": {"debug": 10}, "loggers": {"x": 10}})
    head = replace(facts.head, manifest=claim.cid).encode()
    cid = Cid.of(DAG_CBOR, head)
    batches.write(1, claim.cid, cid, [(claim.cid, claim.encode()), (cid, head), *blocks[2:]])
    assert claim.cid == batches.facts(1).cid

    gaps: list[Any] = []
    dataset = open_dataset(home, keys=[key_of(home)], on_gap=gaps.append).filter(**question)
    found = sample_homes.numbers(iter(dataset))
    assert [gap.index for gap in gaps] == [1]
    assert not set(found) & set(range(10, 20))
    with pytest.raises(VerificationError, match="signed head block of a batch is not of this batch"):
        open_dataset(home, keys=[key_of(home)]).filter(**question).count()
