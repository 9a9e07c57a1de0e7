"""Find the tests that a page of docs/ cites, and check that each one exists.

A page cites a test by its file below tests/ and its name: `home/test_segments.py::TestNames::test_padded`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["TESTS", "cited", "missing", "tests_in", "without_file"]

TESTS = Path(__file__).resolve().parents[1]
_CITED = re.compile(r"`([\w/]+\.py::(?:Test\w+::)?test_\w+)`")
_WITHOUT_FILE = re.compile(r"`((?:Test\w+(?:::test_\w+)?)|test_\w+)`")


def cited(text: str) -> list[str]:
    """Return the tests that a text cites, in its order."""
    return _CITED.findall(text)


def without_file(text: str) -> list[str]:
    """Return the names of tests that a text gives without their file."""
    return _WITHOUT_FILE.findall(text)


def missing(text: str) -> list[str]:
    """Return the cited tests that do not exist, sorted."""
    names = set(cited(text))
    files = {name.partition("::")[0] for name in names}
    existing = {name for file in files if (TESTS / file).is_file() for name, _ in tests_in(file)}
    return sorted(names - existing)


def tests_in(file: str) -> Iterator[tuple[str, str]]:
    """Yield each test of a file below tests/: the name by which it is cited, and its docstring."""
    for node in ast.parse((TESTS / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                yield from _test(method, f"{file}::{node.name}::")
        else:
            yield from _test(node, f"{file}::")


def _test(node: ast.stmt, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
        yield prefix + node.name, ast.get_docstring(node) or ""
