"""The decoders and encoders of format/ are pure: no file, socket, thread, clock or randomness."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ipfs_log_handlers

PACKAGE = Path(ipfs_log_handlers.__file__).resolve().parent
PURE = {
    "__future__", "base64", "bisect", "binascii", "calendar", "collections", "contextlib", "dataclasses", "datetime",
    "decimal", "enum", "functools", "hashlib", "hmac", "io", "ipaddress", "itertools", "json", "math", "numbers",
    "operator", "re", "string", "struct", "sys", "types", "typing", "typing_extensions", "unicodedata", "uuid", "zlib",
    "backports", "compression", "cryptography", "isal", "msgspec", "multiformats", "pyrage", "zstandard",
}  # fmt: skip
"""Modules that format/ may import: none opens a file or socket, starts a thread, or reads a clock or randomness, but
that age draws a new key for each file.

Where a part of such a module does, `FORBIDDEN` names that part.
"""
PARTLY_PURE = {"time": {"gmtime", "strftime", "strptime"}, "pathlib": {"PurePath", "PurePosixPath", "PureWindowsPath"}}
"""Modules of which format/ may use these names only."""
ACCELERATED = {"read_dag_cbor"}
"""Functions of the accelerator that format/ may call: they only compute."""
FORBIDDEN = {
    "datetime.datetime.now", "datetime.now", "datetime.utcnow", "dt.date.today", "dt.datetime.now",
    "dt.datetime.utcnow", "Ed25519PrivateKey.generate", "input", "io.open", "open", "print",
    "sys.stderr", "sys.stdin", "sys.stdout", "uuid.getnode", "uuid.uuid1", "uuid.uuid4",
}  # fmt: skip


def _format_sources() -> list[Path]:
    return sorted((PACKAGE / "format").rglob("*.py"))


@pytest.mark.parametrize("path", _format_sources(), ids=lambda path: path.stem)
def test_formats_are_pure(path):
    """format/ imports no file, socket, thread, clock or randomness, and uses none that came along."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert [] == sorted(_impure_imports(tree) | _impure_names(tree))


def _impure_imports(tree: ast.Module) -> set[str]:
    impure = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            top = (node.module or "").split(".")[0]
            if top in PARTLY_PURE:
                impure |= {f"{top}.{alias.name}" for alias in node.names if alias.name not in PARTLY_PURE[top]}
                continue
            names = [node.module or ""]
        else:
            continue
        ours = ("ipfs_log_handlers.format", "ipfs_log_handlers.errors", "ipfs_log_handlers.accelerator.state")
        impure |= {
            name
            for name in names
            if name.split(".")[0] not in PURE and name not in PARTLY_PURE and not name.startswith(ours)
        }
    return impure


def _impure_names(tree: ast.Module) -> set[str]:
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            module, _, rest = text.partition(".")
            allowed = ACCELERATED if module == "ACCELERATOR" else PARTLY_PURE.get(module, {rest})
            if text in FORBIDDEN or rest not in allowed:
                used.add(text)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN:
            used.add(node.func.id)
    return used
