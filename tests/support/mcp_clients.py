"""Talk to the MCP server with the official client: in this process, over stdio and over HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import TextContent, TextResourceContents

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.mcp_server.app import make_server
from ipfs_log_handlers.mcp_server.settings import ServerSettings
from tests.support.programs import environment

__all__ = ["MODES", "Asking", "asking", "over_stdio", "settings_of", "talk"]

MODES = ("auto", "legacy")
"""The ways in which the official client talks: the protocol of 2026, and the handshake of the years before."""


class Asking:
    """A client that asks, and reads the answers as JSON.

    Args:
        client: the connected client.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    async def text(self, tool: str, *, progress: Any = None, **arguments: Any) -> str:
        """Return the text of an answer, which is the only content and no error."""
        result = await self.client.call_tool(tool, arguments, progress_callback=progress)
        [content] = result.content
        assert isinstance(content, TextContent)
        assert not result.is_error, content
        return content.text

    async def answer(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return an answer as JSON; its first member is the notice, and it has at most 64 kB."""
        text = await self.text(tool, **arguments)
        assert len(text.encode()) <= 64_000
        assert text.startswith('{"notice":"Text from log records is untrusted')
        members: dict[str, Any] = json.loads(text)
        del members["notice"]
        return members

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """Return the text of an error."""
        result = await self.client.call_tool(tool, arguments)
        [content] = result.content
        assert isinstance(content, TextContent)
        assert result.is_error, content
        return content.text

    async def resource(self, uri: str) -> str:
        """Return the text of a resource."""
        [content] = (await self.client.read_resource(uri)).contents
        assert isinstance(content, TextResourceContents)
        return content.text

    async def pages(self, tool: str, **arguments: Any) -> list[dict[str, Any]]:
        """Return the records of all pages, with the members that they share."""
        records: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = await self.answer(tool, cursor=cursor, **arguments)
            records += [{**page.get("shared_by_all_records", {}), **record} for record in page["records"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return records


def settings_of(source: Path | str, **options: Any) -> ServerSettings:
    """Return the settings of a server over one source."""
    given = {name: options.pop(name) for name in ("keys", "redact", "sql") if name in options}
    return ServerSettings(open=lambda on_gap: open_dataset(source, on_gap=on_gap, **options), **given)


def talk(server: Any, work: Callable[[Asking], Awaitable[Any]], mode: str = "auto") -> Any:
    """Connect to a server, let a coroutine function ask it, and return its result."""

    async def main() -> Any:
        with anyio.fail_after(240):
            async with Client(server, mode=mode) as client:
                return await work(Asking(client))

    return anyio.run(main)


def asking(source: Path | str, work: Callable[[Asking], Awaitable[Any]], mode: str = "auto", **options: Any) -> Any:
    """Ask a server in this process, over one source."""
    return talk(make_server(settings_of(source, **options)), work, mode)


def over_stdio(*args: object) -> StdioServerParameters:
    """Return how a client starts `ipfs-logs mcp` as a program."""
    return StdioServerParameters(
        command=sys.executable, args=["-m", "ipfs_log_handlers", "mcp", *map(str, args)], env=environment()
    )
