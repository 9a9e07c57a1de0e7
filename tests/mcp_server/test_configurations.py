"""The configurations for clients in docs/mcp.md start a server that answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.mcp_clients import Asking, over_stdio, talk

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "mcp.md").read_text("utf-8")
JSON_BLOCKS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
ENTRIES: list[dict[str, Any]] = [
    entry for block in JSON_BLOCKS for servers in block.values() for entry in servers.values() if "command" in entry
]
[TOML] = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ENTRIES.append(dict(re.findall(r"^(\w+) = (.*)$", TOML, re.MULTILINE)))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_the_command_of_each_configuration_answers(logs: Path, number: int) -> None:
    """Four forms; each names the program, its verb, and the home, in whose place stands that of the test."""
    entry = ENTRIES[number]
    command, args = entry["command"], entry["args"]
    if number == len(ENTRIES) - 1:
        command, args = json.loads(command), json.loads(args)
    assert ("ipfs-logs", ["mcp", "--home"]) == (command, args[:-1])

    async def work(ask: Asking) -> int:
        return int((await ask.answer("count_logs"))["count"])

    assert 150 == talk(over_stdio(*args[1:-1], logs), work)


def test_all_forms_are_there() -> None:
    """The lists of desktop clients, of VS Code, of Zed and of Codex, and one entry for HTTP."""
    assert ["mcpServers", "servers", "context_servers", "mcpServers"] == [next(iter(block)) for block in JSON_BLOCKS]
    assert 4 == len(ENTRIES)
