"""An index page that is whole, and says what its batches do not say, is found by `doctor`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ipfs_log_handlers.format.bloom import BLOCK_BYTES
from ipfs_log_handlers.format.index_page import IndexPage
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of
from ipfs_log_handlers.maintenance.damage import find
from ipfs_log_handlers.maintenance.index_check import page_problem
from tests.support import indexed_homes
from tests.support.indexed_homes import index, pages_of, seal_records


@pytest.fixture
def indexed(home: Path, monkeypatch: pytest.MonkeyPatch) -> SubsystemDir:
    """Make a log of twenty batches with a page of sixteen, and one of four."""
    indexed_homes.small_pages(monkeypatch, 16)
    subsystem_dir = seal_records(home, [{"request_id": f"request-{number}"} for number in range(20)])
    index(subsystem_dir)
    return subsystem_dir


def log_of(subsystem_dir: SubsystemDir) -> Log:
    """Look at the log."""
    (log,) = logs_of(subsystem_dir)
    return log


def forge(subsystem_dir: SubsystemDir, **changes: Any) -> None:
    """Write the first page with other content; each block has its hash."""
    pages = pages_of(subsystem_dir)
    stored = pages.load(0, log_of(subsystem_dir).name)
    assert stored is not None
    names = list(stored.root.filters)
    members: dict[str, Any] = {
        "lines": [msgspec.json.encode(entry) for entry in stored.entries],
        "filters": {name: stored.filters_of(name) for name in names},
        "page_filters": {name: stored.page_filter(name) for name in names},
    }
    given = {name: change(members[name]) for name, change in changes.items()}
    pages.write(IndexPage(log=stored.root.log, first=0, **{**members, **given}))


def test_right_pages_have_no_problem(indexed: SubsystemDir) -> None:
    """Made again from the batches, entries and filters of a page are those that it has; also after payloads left."""
    for _ in range(2):
        assert page_problem(log_of(indexed), 0, sample=False) is None
        assert page_problem(log_of(indexed), 16, sample=True) is None
        Batches(indexed.current.batches).strip(*range(5))
    assert [damage for damage in find(indexed) if damage.kind == "page"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lines": lambda lines: [re.sub(rb'"last":"2026', b'"last":"2025', line) for line in lines]}, "its entry of"),
        (
            {"lines": lambda lines: [line.replace(b'"levels":{"info"', b'"levels":{"none"') for line in lines]},
            "its entry",
        ),
        ({"lines": lambda lines: lines[1:] + lines[:1]}, "its entry of batch"),
        (
            {"filters": lambda filters: {**filters, "request_id": [bytes(BLOCK_BYTES)] * 16}},
            "its entry of batch",
        ),
        (
            {"page_filters": lambda filters: {**filters, "request_id": bytes(len(filters["request_id"]))}},
            "its filter of request_id lacks an id",
        ),
    ],
    ids=["times", "zone map", "order", "filter of a batch", "filter of the page"],
)
def test_a_page_that_says_something_else_is_found(indexed: SubsystemDir, changes: Any, words: str) -> None:
    """A forged page has the right hashes; compared with its batches, it is found, and `doctor` names it."""
    forge(indexed, **changes)
    problem = page_problem(log_of(indexed), 0, sample=True)
    assert problem is not None
    assert words in problem
    damaged = [(damage.path.name, damage.index) for damage in find(indexed) if damage.kind == "page"]
    assert damaged == [("000000.page", 0)]


def test_a_batch_that_is_damaged_is_no_problem_of_its_page(indexed: SubsystemDir) -> None:
    """What cannot be read now is compared with nothing: it is a damage of its own."""
    batches = Batches(indexed.current.batches)
    path = batches.where(3)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    assert page_problem(log_of(indexed), 0, sample=False) is None


def test_a_page_of_more_batches_than_the_log_has_is_found(indexed: SubsystemDir) -> None:
    """A page that reaches beyond the head is not used by a reader, and named."""
    import dataclasses

    log = dataclasses.replace(log_of(indexed), newest=10)
    assert "the log has fewer" in (page_problem(log, 0, sample=True) or "")
