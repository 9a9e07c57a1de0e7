"""The benchmark of queries asks what it says, on a small home: all questions agree where they ask the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reading_questions
from benchmarks.reading_questions import MEASURED, make
from benchmarks.reading_remote import _over_latency


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the home of the benchmark, with few records."""
    path = tmp_path_factory.mktemp("benchmark")
    make(path, 600, 6)
    return path


@pytest.mark.slow
def test_questions_that_ask_the_same_find_the_same(scratch):
    """Verified or not, and with DuckDB over the export."""
    found = {name: ask(str(scratch))["found"] for name, ask in MEASURED.items()}
    assert found["scan"] == found["scan_off"] == found["duck_scan"] > 0
    assert found["window"] == found["duck_window"]
    assert found["slow"] == found["duck_slow"]
    assert (found["newest"], found["request"]) == (100, 1)
    for name in ("sql_levels", "sql_scan", "sql_numbers", "arrow"):
        assert found[name] == found[f"duck_{name}"] > 0


def test_every_batch_is_opened_for_a_full_scan_and_few_for_a_window(scratch):
    """What the table says of batches is what the queries did."""
    assert reading_questions.scan(str(scratch))["opened"] == 6
    assert reading_questions.window(str(scratch))["opened"] <= 1


def test_the_log_is_read_over_latency(scratch):
    """All batches, from the head on."""
    (sample,) = _over_latency(scratch, 1)
    assert (sample["batches"], sample["found"]) == (6, 0)
