"""docs/architecture.md: each file and function that it names exists, and its map is that of the tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ipfs_log_handlers

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(ipfs_log_handlers.__file__).parent
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CODE_SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL))
FUNCTIONS = sorted({span for span in CODE_SPANS if "::" in span})
WORDS = {
    "command", "__all__", "VERBS", "ARGUMENTS", "SUBSYSTEM", "subsystem", "ext", "redact", "name", "value",
    "make docs", "ipfs-logs ship",
}  # fmt: skip
"""What rows name without a file: settings, keys of a format, commands, and names that stand in several files."""
PATHS = sorted({span for span in CODE_SPANS if re.fullmatch(r"(?:[\w.]+/)+[\w.]*|\w+\.(?:py|md)", span)})


def _resolve(path: str) -> Path:
    """Return where a path of the page is: below the package, or else below the root of the repository."""
    return PACKAGE / path if (PACKAGE / path).exists() else ROOT / path


def _names(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines: a function, a class, a constant, an attribute or an import."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _defines(body: list[ast.stmt], names: list[str]) -> bool:
    """Return whether a body defines the first name, and in it the next one, and so on."""
    for node in body:
        if names[0] in _names(node):
            return len(names) == 1 or _defines(getattr(node, "body", []), names[1:])
    return False


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_named_function_is_defined_in_the_named_file(function):
    """Each `file.py::name` and `file.py::Class.name` of the page is defined in that file."""
    path, _, name = function.partition("::")
    file = _resolve(path)

    assert file.is_file(), f"no such file: {path}"
    assert _defines(ast.parse(file.read_text("utf-8")).body, name.split(".")), function


def test_each_change_names_what_to_change_with_its_file():
    """In the rows of "Where does my change go?" a name of the code stands with its file, so that it is checked."""
    rows = re.search(r"^\| change .*?\Z", PAGE, re.MULTILINE | re.DOTALL)
    assert rows
    changes = [row.split("|")[1:3] for row in rows[0].strip().splitlines()[2:]]

    assert len(changes) > 10
    for change, files in changes:
        spans = re.findall(r"`([^`]+)`", files)
        unchecked = [span for span in spans if span not in (*FUNCTIONS, *PATHS, *WORDS)]
        assert "::" in files, change
        assert [] == unchecked, change


@pytest.mark.parametrize("path", PATHS)
def test_a_named_path_exists(path):
    """Each file and directory that the page names exists."""
    assert _resolve(path).exists()


def test_each_step_names_a_function():
    """Each numbered step of the life of a record names a file."""
    steps = re.findall(r"^\d+\. .*?(?=^\d+\. |^\*\*|^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)

    assert len(steps) > 12
    assert [] == [step for step in steps if not re.search(r"`[\w/]+\.py", step)]


def test_the_map_has_each_package():
    """The table of packages has each package and module at the root of the package once, and no other."""
    rows = re.search(r"^\| package .*?(?=^#)", PAGE, re.MULTILINE | re.DOTALL)
    assert rows
    named = [
        name for row in rows[0].strip().splitlines()[2:] for name in re.findall(r"`([\w.]+/?)`", row.split("|")[1])
    ]
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("[!_]*.py")}

    assert sorted(packages | modules) == sorted(named)


def test_the_floors_are_those_that_lint_checks():
    """The page shows the floors in the order of the contract in pyproject.toml."""
    [layers] = re.findall(
        r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    block = re.search(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    assert block
    assert re.findall(r'^    "(.*)",$', layers, re.MULTILINE) == block[1].splitlines()
