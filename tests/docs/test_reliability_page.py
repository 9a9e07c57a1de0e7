"""docs/reliability.md and docs/operations.md: each answer cites tests, each metric and key is described."""

from __future__ import annotations

import re
from pathlib import Path

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.monitoring import openmetrics
from tests.support import cited_tests, sample_homes

DOCS = Path(__file__).resolve().parents[2] / "docs"
RELIABILITY = (DOCS / "reliability.md").read_text("utf-8")
OPERATIONS = (DOCS / "operations.md").read_text("utf-8")
BENCHMARKS = (DOCS.parent / "benchmarks" / "README.md").read_text("utf-8")


def table_after(text: str, head: str) -> list[list[str]]:
    """Return the rows of the table whose head begins so, without the head and the line below it."""
    lines = text.splitlines()
    [begin] = [number for number, line in enumerate(lines) if line.startswith(head)]
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_each_answer_cites_a_test():
    """Each answer in the table of docs/reliability.md cites at least one test."""
    rows = table_after(RELIABILITY, "| what happens |")
    assert len(rows) > 10
    for row in rows:
        assert len(row) == 4, row
        assert all(cited_tests.cited(cell) for cell in row[1:]), row


def test_each_cited_test_exists():
    """Each test that the page cites exists in the file that the page names, and no test is cited without its file."""
    assert [] == cited_tests.missing(RELIABILITY)
    assert [] == cited_tests.without_file(RELIABILITY)


def test_the_table_of_arrivals_has_each_scenario_of_the_benchmark():
    """The table in benchmarks/README.md has each scenario that is measured, in the same order."""
    from benchmarks.reliability import ROWS

    titles = [row[0] for row in table_after(BENCHMARKS, "| scenario |")]
    assert [title for _, title, _ in ROWS] == titles[: len(ROWS)]


def test_each_metric_is_described():
    """The page names each metric, with the suffix of its kind, and no other."""
    suffix = {"counter": "_total", "info": "_info", "gauge": ""}
    metrics = {family.name + suffix[family.kind] for family in openmetrics.FAMILIES}
    assert metrics == set(re.findall(r"ipfs_logs_\w+", OPERATIONS))


def test_each_key_of_status_is_described(home):
    """The table has exactly the keys of `handler.status()`."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    handler.handle(sample_homes.record(1))
    [status] = handler.status()
    handler.close()
    described = {key for row in table_after(OPERATIONS, "| key |") for key in re.findall(r"`(\w+)`", row[0])}
    assert described == status.keys() - {"subsystem"}
