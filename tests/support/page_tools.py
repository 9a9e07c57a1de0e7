"""Provide the programs `jq` and `zstd`, which blocks of the pages use, on machines that lack them.

A stand-in does as much as the pages need: `jq -c PROGRAM` and `jq -r PROGRAM` by the wheel `jq`, `zstd -d -q` by the
module that the package itself uses. A program that the machine has is used instead.
"""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
from pathlib import Path
from weakref import finalize

__all__ = ["STAND_INS", "directory", "install"]

STAND_INS = {
    "jq": """
import json, sys
import jq
options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
[program] = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or ["."]
assert options in (["-c"], ["-r"]), f"the stand-in for jq knows only -c and -r, not {options}"
for value in jq.compile(program).input_text(sys.stdin.read()):
    raw = options == ["-r"] and isinstance(value, str)
    print(value if raw else json.dumps(value, ensure_ascii=False, separators=(",", ":")))
""",
    "zstd": """
import sys
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd
assert sys.argv[1:] == ["-d", "-q"], f"the stand-in for zstd knows only -d -q, not {sys.argv[1:]}"
sys.stdout.buffer.write(zstd.decompress(sys.stdin.buffer.read()))
""",
}


@functools.cache
def directory() -> Path:
    """Return a directory for PATH with a stand-in for each program that the machine lacks."""
    made = Path(tempfile.mkdtemp(prefix="ipfs-logs-tools-"))
    finalize(directory, shutil.rmtree, made, ignore_errors=True)
    for name in STAND_INS:
        if shutil.which(name) is None:
            install(name, made)
    return made


def install(name: str, into: Path) -> Path:
    """Write the stand-in for a program into a directory; return its path."""
    path = into / name
    path.write_text(f"#!{sys.executable}\n{STAND_INS[name]}", encoding="utf-8")
    path.chmod(0o755)
    return path
