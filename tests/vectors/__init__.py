"""Golden bytes, kept: `build.py` makes ours again, `foreign/` says how other programs made theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def load(name: str) -> Any:
    """Read one of the JSON files of this folder."""
    return json.loads((FOLDER / name).read_bytes())


def dump(value: object) -> bytes:
    """Write JSON as all files of this folder are written."""
    return json.dumps(value, indent=1).encode() + b"\n"
