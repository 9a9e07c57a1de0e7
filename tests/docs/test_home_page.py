"""docs/home.md: each rule cites tests that exist, and each comment cites a rule that exists."""

from __future__ import annotations

import re
from pathlib import Path

import ipfs_log_handlers
from tests.support import cited_tests

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "home.md").read_text("utf-8")
RULES = dict(re.findall(r"^\*\*(\d+)\. (.*?)(?=^\*\*\d+\. |^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
"""The text of each rule, by its number."""


def test_rules_are_numbered_without_a_gap():
    """The rules are numbered from 1 on without a gap."""
    assert [str(number + 1) for number in range(len(RULES))] == list(RULES)
    assert len(RULES) > 25


def test_each_rule_cites_a_test():
    """Below each rule stands at least one test."""
    assert [] == [number for number, text in RULES.items() if not cited_tests.cited(text)]


def test_each_cited_test_exists():
    """Each test that the page cites exists in the file that the page names, and no test is cited without its file."""
    assert [] == cited_tests.missing(PAGE)
    assert [] == cited_tests.without_file(PAGE)


def test_comments_cite_rules_that_exist():
    """The number N of each `docs/home.md N` or `home rule N` in code and tests is the number of a rule."""
    sources = [*Path(ipfs_log_handlers.__file__).parent.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    cited = {
        (path.name, number)
        for path in sources
        for number in re.findall(r"(?:docs/home\.md|[Hh]ome rules?) (\d+)", path.read_text("utf-8"))
    }
    assert len(cited) > 20
    assert [] == sorted((name, number) for name, number in cited if number not in RULES)
