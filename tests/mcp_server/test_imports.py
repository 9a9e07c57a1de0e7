"""The MCP server stands on `ipfs_log_handlers.api`: the contract of import-linter names every other package."""

from __future__ import annotations

import re
from pathlib import Path

import ipfs_log_handlers

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(ipfs_log_handlers.__file__).parent
ALLOWED = {"__main__", "api", "config", "errors", "mcp_server"}


def test_the_contract_forbids_every_package_and_module_but_api_config_and_errors() -> None:
    """A package or module that is added at the root must be forbidden to the server, too."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    contract = re.search(r'^id = "mcp-server"$.*?^forbidden_modules = \[\n(.*?)^\]', text, re.MULTILINE | re.DOTALL)
    assert contract is not None
    forbidden = set(re.findall(r'"ipfs_log_handlers\.(\w+)"', contract[1]))
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert (packages | modules) - ALLOWED == forbidden
