from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.format import merkle, payload
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.keeper.batch_builder import MAX_SOURCES, MAX_STORED_BYTES, BatchBuilder, BatchLimits
from tests.support.logging_home import OTHER, WRITER, lines, put_segment, record, seal_home

LOG = "ipfs-logs/0011223344556677/logs/01234567"
ONE, TWO = SegmentName(WRITER, 0), SegmentName(OTHER, 0)


def draft(records: int = 100, raw: int = 1 << 20) -> BatchBuilder:
    """Make a batch builder with limits of records and bytes."""
    return BatchBuilder(LOG, 0, BatchLimits(records, raw, 1))


def names(number: int) -> list[SegmentName]:
    """So many writers."""
    return [SegmentName(f"{each:016x}", 0) for each in range(number)]


class TestBounds:
    def test_records(self) -> None:
        """A batch takes as many records as it is cut at, and no more."""
        made = draft(records=5)
        assert (5, None) == made.add(ONE, [record(seq) for seq in range(1, 9)])
        assert made.full
        assert (0, None) == made.add(ONE, [record(6)])

    def test_bytes(self) -> None:
        """A batch is full with the line that reaches its bytes; one line of any size fits an empty one."""
        made = draft(raw=100)
        assert (1, None) == made.add(ONE, [record(1, text="x" * 500), record(2)])
        assert made.full

    def test_stored(self) -> None:
        """A batch ends before its payload outgrows one block, so that it is one raw block."""
        made = BatchBuilder(LOG, 0, BatchLimits(1 << 30, 1 << 40, 1))
        seq = 0
        while not made.full:
            chunk = [record(seq + n, text=_noise(seq + n)) for n in range(1, 99)]
            seq += made.add(ONE, chunk)[0]
        for _ in made.hash_records():
            pass
        assert MAX_STORED_BYTES // 2 < made.payload().size <= MAX_STORED_BYTES

    def test_sources(self) -> None:
        """Home rule 13: a batch closes at 64 runs; what comes from a 65th waits for the next one."""
        made = draft()
        for name in names(MAX_SOURCES):
            assert (1, None) == made.add(name, [record(1)])
        assert not made.full
        assert (1, None) == made.add(names(64)[-1], [record(2)])
        assert (0, None) == made.add(TWO, [record(1)])
        assert made.full
        assert (MAX_SOURCES, 65) == (len(made.sources), made.records)

    def test_gaps_are_runs(self) -> None:
        """Home, names: sources are contiguous runs; each gap begins another, and the 64th closes the batch."""
        made = draft(records=1000)
        count, bad = made.add(ONE, [record(2 * seq) for seq in range(1, 100)])
        assert (64, None) == (count, bad)
        assert made.full
        assert [(WRITER, 7, 2 * seq, 2 * seq) for seq in range(1, 65)] == made.sources
        assert 64 == made.records

    def test_turns(self) -> None:
        """Home, names: a writer that comes back after another begins a run of its own."""
        made = draft()
        made.add(ONE, [record(1), record(2)])
        made.add(TWO, [record(1, pid=8)])
        made.add(ONE, [record(3)])
        assert [(WRITER, 7, 1, 2), (OTHER, 8, 1, 1), (WRITER, 7, 3, 3)] == made.sources


class TestForeignLines:
    @pytest.mark.parametrize(
        "bad",
        [
            b"{}",
            b"{",
            b'{"a":1}',
            record(2) + b"," + record(3),
            record(0),
            record(-5),
            record(1 << 63),
            record(2, pid=-1),
            record(2).replace(b'"logger":"t"', b'"logger":null'),
            record(2).replace(b'"seq":2', b'"seq":2.5'),
            record(2).replace(b'"seq":2', b'"seq":"2"'),
            b"[" * 100_000 + b"]" * 100_000,
            b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"," + record(2)[1:],
            b"\xff" + record(2),
            record(2).replace(b'"event":"e"', b'"event":"\xff"'),
        ],
        ids=range(15),
    )
    def test_no_record(self, bad: bytes) -> None:
        """Home rule 14: a line with a right checksum that is no record of ours is told apart, its neighbours kept."""
        made = draft()
        assert (1, 1) == made.add(ONE, [record(1), bad, record(3)])
        assert (0, 0) == made.add(ONE, [bad, record(3)])
        assert (1, None) == made.add(ONE, [record(3)])
        assert (2, [(WRITER, 7, 1, 1), (WRITER, 7, 3, 3)]) == (made.records, made.sources)

    @given(st.lists(st.one_of(st.binary(max_size=60), st.integers(1, 9).map(record)), max_size=12))
    def test_anything(self, lines: list[bytes]) -> None:
        """Whatever the lines are, records and bad ones are dealt with one after the other to the end."""
        made, left, bad_ones = draft(), list(lines), 0
        while left:
            count, bad = made.add(ONE, left)
            left = left[count:]
            if bad is not None:
                assert bad == count
                left, bad_ones = left[1:], bad_ones + 1
            else:
                assert count or made.full
                if not count:
                    return
        assert len(lines) == made.records + bad_ones


class TestFacts:
    def test_payload(self) -> None:
        """The payload is what readers expect: salted prefix, one frame, the lines; the tree is over the same lines."""
        made, lines = draft(), [record(seq) for seq in range(1, 8)]
        made.add(ONE, lines)
        steps = list(made.hash_records())
        assert [None] * len(steps) == steps
        built = made.payload()
        data = b"".join(block for _, block in built.blocks)
        assert lines == list(payload.lines([data], log=LOG, index=0, raw=made.raw, size=built.size))
        assert merkle.EMPTY_ROOT != made.tree.root()

    def test_empty(self) -> None:
        """A batch may hold no record, where only drops or damage are to be told."""
        made = draft()
        list(made.hash_records())
        assert merkle.EMPTY_ROOT == made.tree.root()
        assert {"levels": {}, "loggers": {}, "events": []} == made.stats()
        assert made.payload().size > 0

    def test_least_and_greatest_time(self) -> None:
        """Home rule 12: `first` and `last` are the least and the greatest time, whatever the order."""
        made = draft()
        made.add(ONE, [record(n, at=f"2026-01-0{day}T00:00:00.000000Z") for n, day in enumerate((3, 1, 2), 1)])
        assert ("2026-01-01T00:00:00.000000Z", "2026-01-03T00:00:00.000000Z") == (made.first, made.last)

    def test_many(self) -> None:
        """Home rule 13: sets that do not fit are marked `many`: by number, and by their bytes, not their characters."""
        made = draft(records=1000)
        made.add(ONE, [record(n, event=f"e{n}") for n in range(1, 34)])
        assert "many" == made.stats()["events"]
        made = draft()
        made.add(ONE, [record(n, event=f"{n}" + "語" * 100) for n in range(1, 11)])
        assert "many" == made.stats()["events"]
        assert len(json.dumps(made.stats(), ensure_ascii=False).encode()) < 4096

    def test_reasons(self) -> None:
        """Home rule 13: reasons that are too many to list become one, and none is lost from the count."""
        made = draft()
        for number in range(100):
            made.note_dropped({f"r{number}": 2})
        assert 33 == len(made.dropped)
        assert 200 == sum(made.dropped.values())
        assert 136 == made.dropped["other"]


def _noise(seed: int) -> str:
    return "".join(hashlib.sha256(b"%d %d" % (seed, part)).hexdigest() for part in range(8))


def test_the_same_records_have_another_payload_in_each_batch(tmp_path):
    """Its random salt: nobody who guesses the records can ask the network for their CID."""
    payloads = set()
    for name in ("one", "two"):
        subsystem_dir = HomeDir(tmp_path / name).subsystem_dir("logs")
        put_segment(subsystem_dir, lines(1, 3))
        seal_home(tmp_path / name)
        payloads.add(Batches(subsystem_dir.current.batches).facts(0).manifest.payload)
    assert 2 == len(payloads)
