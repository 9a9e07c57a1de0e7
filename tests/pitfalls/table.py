"""The table of `docs/pitfalls.md`: which tests hold us to what."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Table", "claimed", "read", "tests_of"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT.parent / "docs" / "pitfalls.md"
Table = dict[int, list[str]]
_ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<title>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)


def read() -> Table:
    """Number of a pitfall, and the tests that its row names: `file::class::test` below `tests/`."""
    found = [(int(row["number"]), re.findall(r"`([^`]+)`", row["tests"])) for row in _ROW.finditer(PAGE.read_text())]
    assert len(found) == len({number for number, _ in found}), "a number stands twice"
    return dict(found)


def tests_of(file: str) -> Iterator[tuple[str, str]]:
    """The tests of a file below `tests/`, by name, and what each claims."""
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{file}::{node.name}::{inner.name}", ast.get_docstring(inner) or ""
        elif isinstance(node, ast.FunctionDef):
            yield f"{file}::{node.name}", ast.get_docstring(node) or ""


def claimed(claim: str) -> set[int]:
    """The pitfalls that a docstring begins with: `Pitfall 4: …`, `Home rule 3, pitfall 9: …`, `Pitfalls 4 and 5: …`."""
    head = re.match(r"(?:Home rule \d+, )?[Pp]itfalls? ([\d, and]+):", claim)
    return {int(number) for number in re.findall(r"\d+", head[1])} if head else set()
