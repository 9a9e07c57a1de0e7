"""The numbers of records: each once, ascending from batch to batch, or from group to group of batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.encryption import EXTENSION
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.verify.order import RecordOrder
from ipfs_log_handlers.verify.problems import Problems
from tests.support.encrypted import clear_manifest

ONE, TWO = "0123456789abcdef", "fedcba9876543210"
Runs = list[tuple[str, int, int]]


def _manifest(index: int, runs: Runs, group: tuple[int, int] | None = None) -> Manifest:
    made = replace(
        clear_manifest(b"x"),
        index=index,
        edge=b"\0" * 32 * index.bit_count(),
        prev=Cid.of(DAG_CBOR, b"") if index else None,
        jump=Cid.of(DAG_CBOR, b"") if index else None,
        records=sum(last - first + 1 for _, first, last in runs),
        sources=tuple((writer, 7, first, last) for writer, first, last in runs),
        meta={},
    )
    return made if group is None else replace(made, ext={EXTENSION: {"group": list(group)}})


def _taken(*batches: tuple[Runs, tuple[int, int] | None]) -> tuple[int, list[tuple[object, object]]]:
    order, problems = RecordOrder(), Problems()
    for index, (runs, group) in enumerate(batches):
        order.take(index, _manifest(index, runs, group), problems)
    return order.gaps, [(problem.batch, int(problem.found)) for problem in problems.noted]


@pytest.mark.parametrize(
    ("batches", "gaps", "problems"),
    [
        ([([(ONE, 1, 3)], None), ([(ONE, 4, 5)], None)], 0, []),
        ([([(ONE, 1, 3)], None), ([(ONE, 6, 7)], None)], 2, []),
        ([([(ONE, 4, 5)], None), ([(ONE, 1, 3)], None)], 3, [(1, 1)]),
        ([([(ONE, 1, 3)], None), ([(ONE, 3, 5)], None)], 0, [(1, 3)]),
        ([([(ONE, 2, 2), (ONE, 4, 4)], (1, 2)), ([(ONE, 1, 1), (ONE, 3, 3)], (2, 2))], 0, []),
        ([([(ONE, 2, 2)], (1, 2)), ([(ONE, 1, 1), (TWO, 1, 4)], (2, 2)), ([(ONE, 3, 3)], None)], 0, []),
        ([([(ONE, 2, 2)], (1, 2)), ([(ONE, 5, 5)], (2, 2))], 3, []),
        ([([(ONE, 1, 2)], (1, 2)), ([(ONE, 2, 3)], (2, 2))], 0, [(1, 2)]),
        ([([(ONE, 2, 3)], (1, 2)), ([(ONE, 1, 2)], (2, 2))], 1, [(1, 1)]),
        ([([(ONE, 1, 4)], None), ([(ONE, 6, 6)], (1, 2)), ([(ONE, 4, 4)], (2, 2))], 1, [(2, 4)]),
        ([([(ONE, 2, 2)], (1, 2)), ([(ONE, 3, 3)], (2, 2)), ([(ONE, 1, 1)], (1, 2))], 1, [(2, 1)]),
        ([([(ONE, 2, 2)], (1, 3)), ([(ONE, 1, 1)], (1, 2))], 1, [(1, 1)]),
        ([([(ONE, 3, 3), (ONE, 1, 1)], (1, 2))], 0, [(0, 1)]),
    ],
)
def test_orders(batches: list[tuple[Runs, tuple[int, int] | None]], gaps: int, problems: list[object]) -> None:
    """A number that comes again, or too late, is a problem; one that never comes is counted."""
    assert _taken(*batches) == (gaps, problems)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=5), st.data())
def test_any_division_of_a_stretch_is_a_right_order(stretches: list[list[int]], data: st.DataObject) -> None:
    """However the numbers of a stretch are divided among the batches of a group, none is missing or twice."""
    batches: list[tuple[Runs, tuple[int, int] | None]] = []
    at = 0
    for stretch in stretches:
        values = sorted(set(stretch))
        for number, value in enumerate(values, 1):
            runs = [(ONE, at + place, at + place) for place, each in enumerate(stretch, 1) if each == value]
            batches.append((runs, (number, len(values)) if len(values) > 1 else None))
        at += len(stretch)
    assert _taken(*batches) == (0, [])
    place = data.draw(st.integers(0, len(batches) - 1))
    assert _taken(*batches, batches[place])[1], "a batch that comes twice is found"
