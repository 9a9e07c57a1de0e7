"""Ask for logs as an agent does: start `ipfs-logs mcp`, and talk to it with the official client of MCP.

The home comes from IPFS_LOGS_HOME, or is the program's own directory under the user's state directory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import TextContent

from ipfs_log_handlers import IPFSHandler


def log_something() -> None:
    """Log a few records, and seal them; one has a secret, which no answer shows."""
    handler = IPFSHandler("mcp_actions")
    logger = logging.getLogger("web")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    for number in range(20):
        level = logging.ERROR if number % 5 == 0 else logging.INFO
        logger.log(level, "answered", extra={"request_id": f"r{number}", "success": number % 5 != 0})
    logger.info("signed in", extra={"success": True, "password": "hunter2"})
    handler.flush()
    handler.close()


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool, and return its answer."""
    result = await client.call_tool(tool, arguments)
    text = "".join(content.text for content in result.content if isinstance(content, TextContent))
    if result.is_error:
        raise SystemExit(text)
    return json.loads(text)


async def main() -> None:
    """Start the server, ask it, and end it."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "ipfs_log_handlers", "mcp"], env=dict(os.environ)
    )
    async with Client(server) as client:
        for dataset in (await ask(client, "list_datasets"))["datasets"]:
            print(dataset["name"], [log["records"] for log in dataset["logs"]])
        print(await ask(client, "count_logs", dataset="mcp_actions", by="level"))
        errors = await ask(client, "get_logs", level="error", fields=["request_id"], limit=2)
        print(errors["records"])
        newest = await ask(client, "get_logs", limit=1, fields=["event", "password"])
        print(newest["records"])  # the password is hidden
        found = await ask(client, "track", kind="request", value="r5")
        proof = await ask(client, "get_record", dataset="mcp_actions", seq=found["records"][0]["seq"])
        print("a bundle of", proof["proof"]["bytes"], "bytes proves it; signed by", proof["proof"]["verified"]["key"])
        report = await ask(client, "verify")
        print("all ok:", report["all_ok"], "-", report["checked"])


if __name__ == "__main__":
    log_something()
    asyncio.run(main())
