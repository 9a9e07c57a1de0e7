"""The accelerator finds the same lines as Python, or more where a double does not hold a number exactly."""

from __future__ import annotations

import subprocess
import sys
import threading
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.accelerator.state import ACCELERATOR
from ipfs_log_handlers.query import clues
from ipfs_log_handlers.query.clues import Clue

pieces = st.sampled_from(
    [
        b'"a"', b'"ab":', b'"ms":', b"ms", b'"', b":", b" ", b"\t", b"\\u0041", b"\\", b"\\\\", b"u", b"{", b"}", b",",
        b"0", b"5", b"500", b"-", b"+", b".", b"e", b"E", b"7e2", b"1.2.3", b"1e400", b"123456789012345",
        b"0.1234567890123", b"1234567890123456", b"null", "é".encode(), b"\xff", b"\x00",
    ]
)  # fmt: skip
texts = st.lists(st.lists(pieces, max_size=6).map(b"".join), max_size=6).map(
    lambda lines: b"".join(line + b"\n" for line in lines)
)
numbers = st.one_of(st.sampled_from([0.0, 5.0, 500.0, -5.0, 0.1, 1e22, float("inf")]), st.floats(allow_nan=False))
bounds = st.one_of(st.none(), st.tuples(numbers, numbers))
some_clues = st.lists(
    st.builds(Clue, st.sampled_from([b'"a"', b'ms"', b"a", b'"', b":", b"\\", "é".encode()]), bounds), max_size=3
)


def by_python(text: bytes, wanted: tuple[Clue, ...]) -> list[tuple[int, int]]:
    """Search without the accelerator."""
    with mock.patch.object(clues, "ACCELERATOR", None):
        return clues.lines_with(text, wanted)


@pytest.mark.slow
@given(texts, some_clues)
def test_the_same_lines_are_found(text: bytes, wanted: list[Clue]) -> None:
    """Each once and in order; a number that a double may not hold exactly makes its line a candidate."""
    found = ACCELERATOR.lines_with(text, tuple(wanted))
    expected = by_python(text, tuple(wanted))
    assert found == sorted(set(found))
    assert set(expected) <= set(found)
    lines = {text[begin:end] for begin, end in set(found) - set(expected)}
    assert all(any(hard in line for hard in (b"e", b"E", b".", b"+", b"-")) for line in lines)


@pytest.mark.parametrize(
    ("number", "is_found"),
    [
        ("500", True), ("500.0", True), ("5e2", True), ("+500", True), ('"500"', True), (' :  " 500', True),
        ("499", False), ("501", False), ("-500", False), ("5e1", False), ("499.9999999", False), ("null", False),
        ("true", False), ("1234567890123456", True), ("5e99", True), ("1.2.3", True), ("e5", False), (".", True),
    ],
)  # fmt: skip
def test_a_number_outside_the_bounds_excludes_its_line(number: str, is_found: bool) -> None:
    """Exact where a double is; otherwise a candidate, which is compared exactly later."""
    text = b'{"ms":%b}\n' % number.encode() if not number.startswith(" ") else b'{"ms"%b}\n' % number.encode()
    assert ACCELERATOR.lines_with(text, (Clue(b'"ms"', (500.0, 500.0)),)) == ([(0, len(text) - 1)] if is_found else [])


def test_the_last_line_may_end_with_the_text() -> None:
    """The last line ends with the text."""
    assert ACCELERATOR.lines_with(b"a\nb a", (Clue(b"a"),)) == [(0, 1), (2, 5)]
    assert ACCELERATOR.lines_with(b"x\\u0041", ()) == [(0, 7)]
    assert ACCELERATOR.lines_with(b"", (Clue(b"a"),)) == []


def test_wrong_arguments_are_refused() -> None:
    """A clue is a word with or without two numbers; the empty word is in every line, and so is no clue."""
    for text, wanted in (
        ("x", ()), (b"x", []), (b"x", (b"a",)), (b"x", (("a", None),)), (b"x", ((b"a", 5),)), (b"x", ((b"a", (1,)),)),
        (b"x", ((b"a", ("1", "2")),)), (b"x", ((b"a",),)),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            ACCELERATOR.lines_with(text, wanted)
    with pytest.raises(ValueError, match="empty word"):
        ACCELERATOR.lines_with(b"x", ((b"", None),))


@pytest.mark.slow
def test_many_clues_take_the_memory_of_few() -> None:
    """Lines that several clues find are kept once: not 200 times 400,000 places of 16 bytes."""
    program = """
import resource
from ipfs_log_handlers.accelerator.state import ACCELERATOR
text = b'{"a":1}\\n' * 400_000
ACCELERATOR.lines_with(text, ((b"a", None),))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = ACCELERATOR.lines_with(text, ((b"a", None), (b"1", None)) * 100)
print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, kilobytes = map(int, done.stdout.split())
    assert (count, kilobytes < 200_000) == (400_000, True), kilobytes


def test_other_threads_run_while_it_searches() -> None:
    """The GIL is given up: a thread of Python counts on during one long search."""
    text = b'{"a":"b"}\n' * 4_000_000
    counted, is_done = [0], threading.Event()

    def count() -> None:
        while not is_done.is_set():
            counted[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        while not counted[0]:
            pass
        before = counted[0]
        assert len(ACCELERATOR.lines_with(text, (Clue(b'"zzz"'),))) == 0
        assert counted[0] > before
    finally:
        is_done.set()
        counter.join()
