"""Compress the realistic lines with zstd alone, to compare the size of stored batches with it."""

from __future__ import annotations

import sys

from benchmarks import lines

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["report"]

_COUNT = 50_000


def report(_rounds: int) -> str:
    """Return a Markdown table: compressed bytes by raw bytes, for one file and for frames of 1000 lines."""
    made = list(lines.json_lines(_COUNT))
    raw = sum(map(len, made))
    rows = [
        f"{_COUNT} lines, {raw / _COUNT:.0f} bytes each",
        "",
        "| zstd level | one file | 1000 lines a frame |",
        "|--:|--:|--:|",
    ]
    for level in (1, 3, 9, 19):
        whole = len(zstd.compress(b"".join(made), level))
        frames = sum(len(zstd.compress(b"".join(made[at : at + 1000]), level)) for at in range(0, _COUNT, 1000))
        rows.append(f"| {level} | {whole / raw:.3f} | {frames / raw:.3f} |")
    return "\n".join(rows)
