"""docs/reliability.md and docs/operations.md: each answer has its tests, each number its name."""

from __future__ import annotations

import re
from pathlib import Path

from ipfs_log_handlers import IPFSHandler, openmetrics
from tests.reading import homes
from tests.test_home_page import named_tests, there_are

DOCS = Path(__file__).resolve().parent.parent / "docs"
RELIABILITY = (DOCS / "reliability.md").read_text("utf-8")
OPERATIONS = (DOCS / "operations.md").read_text("utf-8")
BENCHMARKS = (DOCS.parent / "benchmarks" / "README.md").read_text("utf-8")


def table_after(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose head begins so, without head and rule."""
    lines = text.splitlines()
    [begin] = [number for number, line in enumerate(lines) if line.startswith(head)]
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_each_answer_names_tests_that_are_there():
    """Each cell of the table of survival names at least one test, and each test that the page names exists."""
    rows = table_after(RELIABILITY, "| what happens |")
    assert len(rows) > 10
    for row in rows:
        assert len(row) == 4, row
        assert all(named_tests(cell) for cell in row[1:]), row
    assert [] == sorted(set(named_tests(RELIABILITY)) - there_are())


def test_the_table_of_arrivals_is_that_of_the_benchmark():
    """The table of what arrives has each scenario that is measured."""
    from benchmarks.reliability import ROWS

    titles = [row[0] for row in table_after(BENCHMARKS, "| scenario |")]
    assert [title for _, title, _ in ROWS] == titles[: len(ROWS)]


def test_each_metric_is_told():
    """The page names each metric, with the suffix of its kind, and no other."""
    suffix = {"counter": "_total", "info": "_info", "gauge": ""}
    there = {family.name + suffix[family.kind] for family in openmetrics.FAMILIES}
    assert there == set(re.findall(r"ipfs_logs_\w+", OPERATIONS))


def test_each_key_of_status_is_told(home):
    """The table of keys is that of `handler.status()`."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    handler.handle(homes.record(1))
    [found] = handler.status()
    handler.close()
    told = {key for row in table_after(OPERATIONS, "| key |") for key in re.findall(r"`(\w+)`", row[0])}
    assert told == found.keys() - {"subsystem"}
