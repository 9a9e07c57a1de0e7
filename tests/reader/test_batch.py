"""A batch is opened, and its records are given in steps of bounded memory."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.reader.batch import in_steps

MIB = 1 << 20


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        ([], []),
        ([1] * 255, [255]),
        ([1] * 256, [256]),
        ([1] * 600, [256, 256, 88]),
        ([MIB] * 3, [1, 1, 1]),
        ([1, MIB, 1], [2, 1]),
        ([MIB // 2] * 5, [2, 2, 1]),
    ],
)
def test_a_step_has_few_lines_and_few_bytes(sizes: list[int], steps: list[int]) -> None:
    """Whichever is reached first ends it, so 256 records of 64 MiB are never held together."""
    lines = [b"x" * size for size in sizes]
    found = list(in_steps(iter(lines)))

    assert steps == [len(step) for step in found]
    assert lines == [line for step in found for line in step]
