"""The verbs of the command line that only look at a home, taken from its table, so that a new verb is among them."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.cli import VERBS

__all__ = ["READING"]

_OTHERS: Final = {
    "archive": "writes",
    "ship": "writes",
    "snapshot": "writes",
    "import": "writes",
    "mirror": "writes",
    "publish": "writes",
    "export": "writes a file",
    "prove": "writes a file",
    "check": "looks at no home",
    "tail": "does not end by itself",
    "serve": "does not end by itself",
    "mcp": "does not end by itself",
    "completion": "looks at no home",
}
"""The verbs that do more than to look at a home, and why they are not in `READING`."""
_ARGUMENTS: Final = {
    "sql": ["FROM/**/logs_all"],
    "top": ["level"],
    "keys": ["show"],
    "hold": ["list"],
    "retention": ["plan", "--keep", "1d"],
    "show": ["audit"],
}
"""What a verb needs beside its name."""
READING: Final = [[verb, *_ARGUMENTS.get(verb, ())] for verb in VERBS if verb not in _OTHERS]
"""Each verb that only looks at a home and ends by itself, with its arguments."""
