"""Answer the questions of agents over the Model Context Protocol (MCP); the extra `mcp` has the library for it.

The server only reads. No tool writes, pins, deletes or changes a setting, and no tool opens a path or an address that a
client gives. Stdout belongs to the protocol: nothing here prints.
"""
