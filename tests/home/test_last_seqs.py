"""The last number of each writer in batches: a group counts when it is complete."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ipfs_log_handlers.format.encryption import EXTENSION
from ipfs_log_handlers.home.last_seqs import LastSeqs


def _manifest(index: int, last: int, group: tuple[int, int] | None = None, log: str = "a") -> Any:
    ext = {} if group is None else {EXTENSION: {"group": list(group)}}
    return SimpleNamespace(log=log, index=index, sources=(("w", 7, 1, last),), ext=ext)


@pytest.mark.parametrize(
    ("manifests", "through"),
    [
        ([_manifest(0, 3), _manifest(1, 5)], 5),
        ([_manifest(0, 3), _manifest(1, 9, (1, 2))], 3),
        ([_manifest(0, 3), _manifest(1, 9, (1, 2)), _manifest(2, 8, (2, 2))], 9),
        ([_manifest(0, 9, (1, 3)), _manifest(1, 8, (2, 3))], None),
        ([_manifest(0, 9, (1, 3)), _manifest(2, 8, (3, 3))], 9),
        ([_manifest(0, 9, (1, 3)), _manifest(3, 10)], 10),
        ([_manifest(0, 9, (1, 3)), _manifest(0, 4, log="b")], 4),
    ],
)
def test_a_group_counts_when_it_is_complete(manifests: list[Any], through: int | None) -> None:
    """Its beginning at the end of a log counts not; one that other batches follow was complete."""
    seqs = LastSeqs()
    for manifest in manifests:
        seqs.take(manifest)
    assert seqs.through.get("w") == through
