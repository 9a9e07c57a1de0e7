"""Define the resources: the datasets, the schema of each, and the manifest of each batch."""

from __future__ import annotations

from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError

from ipfs_log_handlers.mcp_server.tools import Tools

__all__ = ["add_resources"]

_JSON: Final = "application/json"


def add_resources(server: MCPServer[Any], tools: Tools) -> None:
    """Add the resources to a server.

    Args:
        server: the server.
        tools: answers them.
    """

    @server.resource("logs://datasets", title="Datasets", mime_type=_JSON)
    async def datasets() -> str:
        """List the datasets and their logs."""
        return await _content(tools.list_datasets())

    @server.resource("logs://dataset/{name}/schema", title="Schema of a dataset", mime_type=_JSON)
    async def schema(name: str) -> str:
        """Describe the fields of one dataset."""
        return await _content(tools.describe_dataset(name))

    @server.resource("logs://batch/{cid}", title="Manifest of a batch", mime_type=_JSON)
    async def batch(cid: str) -> str:
        """Show the manifest of one batch."""
        return await _content(tools.batch(cid))


async def _content(answer: Any) -> str:
    try:
        text: str = await answer
    except ToolError as error:
        raise ResourceNotFoundError(str(error)) from None
    return text
