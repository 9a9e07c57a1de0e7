"""Read the table of docs/pitfalls.md: which tests hold which pitfall."""

from __future__ import annotations

import re

from tests.support import cited_tests

__all__ = ["PAGE", "claimed_pitfalls", "read"]

PAGE = cited_tests.TESTS.parent / "docs" / "pitfalls.md"
_ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<title>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)


def read() -> dict[int, list[str]]:
    """Return the tests that each row of the table cites, by the number of its pitfall."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [(int(row["number"]), cited_tests.cited(row["tests"])) for row in _ROW.finditer(text)]
    assert len(rows) == len({number for number, _ in rows}), "a number stands twice"
    return dict(rows)


def claimed_pitfalls(docstring: str) -> set[int]:
    """Return the pitfalls that a docstring begins with: `Pitfall 4: …`, `Home rule 3, pitfalls 4 and 9: …`."""
    head = re.match(r"(?:Home rule \d+, )?[Pp]itfalls? ([\d, and]+):", docstring)
    return {int(number) for number in re.findall(r"\d+", head[1])} if head else set()
