"""Index pages of the real size: one request id among many batches opens few of them."""

from __future__ import annotations

from pathlib import Path

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.format.index_page import PAGE_BATCHES
from tests.support.indexed_homes import index, seal_records


def test_one_id_among_many_batches_opens_one_batch_in_fifty_at_most(home: Path) -> None:
    """Among 300 batches, with pages of the real size, a request id opens at most 2 % of them, and reads no manifest."""
    requests = [{"request_id": f"{number:032x}", "trace_id": f"{number // 4:032x}"} for number in range(300)]
    subsystem_dir = seal_records(home, requests)
    assert index(subsystem_dir).firsts() == [0, PAGE_BATCHES]
    dataset = open_dataset(home)
    for number in (0, 255, 256, 299):
        chosen = dataset.filter(where={"request_id": f"{number:032x}"})
        records = iter(chosen)
        assert [record["seq"] for record in records] == [number + 1]
        assert records.stats.opened <= 6
        assert (records.stats.batches, records.stats.pages, records.stats.manifests) == (300, 2, 0)
        plan = chosen.explain()
        assert plan.opened == records.stats.opened
        assert plan.ruled_out == {"zone map": 0, "Bloom filter": 300 - plan.opened}
        assert plan.skipped == {"ids": 300 - plan.opened}
    assert dataset.filter(where="request_id=nowhere").explain().opened <= 6
    of_trace = dataset.filter(where={"trace_id": f"{5:032x}"})
    assert [record["seq"] for record in of_trace] == [21, 22, 23, 24]
    assert of_trace.explain().opened <= 6
