"""A cursor is a value: printed, read back, and gone on from, without a record missed or shown twice."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.cursor import Cursor
from ipfs_log_handlers.reader.dataset import Dataset
from tests.support import sample_homes

LOG = "ipfs-logs/0123456789abcdef/audit/00000000"
NUMBERS = st.integers(0, 2**64 - 1)
CURSORS = st.builds(
    Cursor,
    log=st.text(),
    index=NUMBERS,
    offset=NUMBERS,
    seqs=st.dictionaries(st.text("0123456789abcdef", min_size=16, max_size=16), NUMBERS, max_size=3),
)


def read(home: Path, after: str | None = None, most: int = 1000) -> tuple[list[int], str]:
    """Return the numbers of the next records, and the cursor after them as text."""
    with Dataset(HomeDir(home), lambda gap: pytest.fail(str(gap))) as dataset:
        reading = dataset.reading("audit", after=None if after is None else Cursor.parse(after))
        numbers = [json.loads(line)["number"] for line in islice(reading, most)]
        return numbers, str(reading.cursor)


class TestText:
    @given(cursor=CURSORS)
    def test_every_cursor_is_read_back_from_its_text(self, cursor: Cursor) -> None:
        """One line of text stands for the whole place."""
        assert cursor == Cursor.parse(str(cursor))
        assert "\n" not in str(cursor)

    def test_the_text_is_json_that_people_can_read(self) -> None:
        """The keys are those of the value."""
        cursor = Cursor(log=LOG, index=3, offset=2, seqs={"0" * 16: 17})

        assert f'{{"log":"{LOG}","index":3,"offset":2,"seqs":{{"0000000000000000":17}}}}' == str(cursor)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            "[" * 100_000,
            '{"log":"","index":0,"offset":0}',
            '{"log":1,"index":0,"offset":0,"seqs":{}}',
            '{"log":"","index":-1,"offset":0,"seqs":{}}',
            '{"log":"","index":true,"offset":0,"seqs":{}}',
            '{"log":"","index":0,"offset":0.5,"seqs":{}}',
            '{"log":"","index":0,"offset":0,"seqs":[]}',
            '{"log":"","index":0,"offset":0,"seqs":{"x":1}}',
            '{"log":"","index":0,"offset":0,"seqs":{"0123456789abcdef":"1"}}',
            '{"log":"","index":0,"offset":0,"seqs":{},"more":1}',
            '{"log":"' + "x" * (1 << 20) + '","index":0,"offset":0,"seqs":{}}',
        ],
        ids=lambda text: text[:30],
    )
    def test_other_text_is_refused(self, text: str) -> None:
        """What is not a cursor is a FormatError, whatever it is."""
        with pytest.raises(FormatError):
            Cursor.parse(text)


class TestResume:
    @pytest.mark.parametrize("most", [1, 7, 10, 40])
    def test_a_reading_in_pieces_has_every_record_once(self, home: Path, most: int) -> None:
        """Cut anywhere, in a batch or in the spool, the next reading goes on with the next record."""
        sample_homes.make(home, 25)
        sample_homes.log(home, range(25, 40))
        found: list[int] = []
        after = str(Cursor())
        while True:
            numbers, after = read(home, after, most)
            if not numbers:
                break
            found += numbers

        assert list(range(40)) == found

    @pytest.mark.parametrize("cut", range(0, 12, 3))
    def test_records_that_are_sealed_in_between_come_once(self, home: Path, cut: int) -> None:
        """What was shown from the spool is not shown again from its batch."""
        sample_homes.log(home, range(12))
        first, after = read(home, most=cut)
        sample_homes.seal(home)
        sample_homes.log(home, range(12, 15))
        second, after = read(home, after)

        assert list(range(15)) == first + second
        assert ([], after) == read(home, after)

    def test_a_cursor_forgets_writers_whose_records_are_all_read_from_batches(self, home: Path) -> None:
        """It does not grow with every process that ever logged."""
        sample_homes.log(home, range(25))
        _, after = read(home)
        assert 1 == len(Cursor.parse(after).seqs)
        sample_homes.seal(home)
        numbers, after = read(home, after)

        assert [] == numbers
        assert {} == Cursor.parse(after).seqs

    def test_a_reading_goes_on_in_the_log_that_follows(self, home: Path) -> None:
        """A log that has ended meanwhile is read to its end, then the next one from its beginning."""
        sample_homes.make(home, 20)
        first, after = read(home, most=15)
        sample_homes.end(home)
        sample_homes.log(home, range(20, 25))
        sample_homes.seal(home)

        assert list(range(25)) == first + read(home, after)[0]

    def test_a_cursor_of_another_home_is_refused(self, home: Path) -> None:
        """It names a log that is not here, and says so instead of showing everything again."""
        sample_homes.make(home, 10)

        with pytest.raises(FormatError, match="not in this home"):
            read(home, str(Cursor(log=LOG, index=1)))


def test_the_cursor_is_after_the_last_line_that_was_yielded(home: Any) -> None:
    """It moves with each line, so a program may keep it after any of them."""
    sample_homes.make(home, 15)
    with Dataset(HomeDir(home), lambda gap: pytest.fail(str(gap))) as dataset:
        reading = dataset.reading("audit")
        places = [(reading.cursor.index, reading.cursor.offset) for _ in reading]

    assert [(0, offset) for offset in range(1, 11)] + [(1, offset) for offset in range(1, 6)] == places
    assert (2, 0) == (reading.cursor.index, reading.cursor.offset)
