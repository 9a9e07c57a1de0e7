"""Constants say what they are: each number at the top of a module has a sentence with its unit or its effect."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ipfs_log_handlers

PACKAGE = Path(ipfs_log_handlers.__file__).parent
MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def _constant(node: ast.stmt) -> str | None:
    """Return the name of the constant that a statement defines; `None` for any other statement."""
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return names[0] if names and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", names[0]) else None


def _is_number(node: ast.stmt) -> bool:
    """Say whether the value of a constant is a number, or arithmetic over numbers and constants."""
    value = getattr(node, "value", None)
    parts = ast.walk(value) if value is not None else ()
    return isinstance(value, (ast.Constant, ast.BinOp, ast.UnaryOp)) and all(
        isinstance(part, (ast.BinOp, ast.UnaryOp, ast.Name, ast.operator, ast.unaryop, ast.expr_context))
        or (isinstance(part, ast.Constant) and isinstance(part.value, (int, float)))
        for part in parts
    )


def _bare_numbers(source: str) -> list[str]:
    """List the numeric constants without a docstring below them or a comment; a run of constants shares one."""
    body, lines = ast.parse(source).body, source.split("\n")
    bare = []
    for place, node in enumerate(body):
        name = _constant(node)
        if name is None or not _is_number(node):
            continue
        following = next((other for other in body[place + 1 :] if _constant(other) is None), None)
        last = body.index(following) - 1 if following is not None else len(body) - 1
        run_is_numeric = all(_is_number(other) for other in body[place : last + 1])
        documented = (
            run_is_numeric
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        )
        commented = "#" in lines[node.lineno - 1] or lines[node.lineno - 2].startswith("#")
        if not documented and not commented:
            bare.append(name)
    return bare


@pytest.mark.parametrize("module", MODULES)
def test_each_number_of_a_module_says_its_unit_and_effect(module: str) -> None:
    """A number at the top of a module has a docstring, or shares that of the numbers below it, or has a comment."""
    assert [] == _bare_numbers((PACKAGE / module).read_text("utf-8"))


def test_a_number_without_a_sentence_is_found() -> None:
    """The check sees a bare number; a docstring below a run of numbers, and a comment, are sentences."""
    assert ["_MOST", "LIMIT"] == _bare_numbers("_MOST = 1 << 10\nx = 1\nLIMIT: int = -3\ny = 2\n")
    assert [] == _bare_numbers('_A = 1\n_B = 2\n"""Bytes of a and b."""\n_C = 3  # seconds\nNAME = "text"\n')
