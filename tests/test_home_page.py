"""docs/home.md: each rule has tests that are there, and each comment cites a rule that is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "home.md"
RULES = dict(
    re.findall(r"^\*\*(\d+)\. (.*?)(?=^\*\*\d+\. |^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
)
"""By number, the text of each rule."""


def named_tests(text: str) -> list[str]:
    """The names of tests in a text."""
    return re.findall(r"`((?:Test\w+::)?test_\w+)`", text)


def there_are() -> set[str]:
    """The names of all tests of the suite: `test_x`, or `TestClass::test_x`."""
    trees = (ast.parse(path.read_text("utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for tree in trees for name in names_in(tree.body)}


def names_in(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """The names of the tests in a module or a class."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from names_in(node.body, f"{node.name}::")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + node.name


def test_rules_are_counted_through():
    """The rules are numbered from 1 on without a gap."""
    assert [str(number + 1) for number in range(len(RULES))] == list(RULES)
    assert len(RULES) > 25


def test_each_rule_has_tests():
    """Below each rule stands at least one test, and each test that the page names is there."""
    assert [] == [number for number, text in RULES.items() if not named_tests(text)]
    assert [] == sorted(set(named_tests(PAGE.read_text("utf-8"))) - there_are())


def test_comments_cite_rules_that_are_there():
    """What a comment calls docs/home.md N, or a test a home rule, is a rule of the page."""
    sources = [*(ROOT / "ipfs_log_handlers").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    cited = {
        (path.name, number)
        for path in sources
        for number in re.findall(r"(?:docs/home\.md|[Hh]ome rules?) (\d+)", path.read_text("utf-8"))
    }
    assert len(cited) > 20
    assert [] == sorted((name, number) for name, number in cited if number not in RULES)
