"""Homes that are small on the disk and claim to be huge: memory stays bounded, and no verb works without end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.dataset import Dataset, Gap
from tests.support.cli import command, run
from tests.support.hostile_homes import signed_batch
from tests.support.programs import environment

MIB = 1 << 20
MAX_RAW = 250 * MIB
"""Bytes that a payload inflates to: nearly as many as any batch may have."""
MAX_MEMORY = 256 * MIB
"""Bytes that a verb may take: the longest record, some copies of it, and the program."""
PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, timeout=300);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)"
)


def peak(home: Path, *verb: str) -> int:
    """Run a verb as a program of its own; return the bytes of memory that it took."""
    given = [sys.executable, "-c", PEAK, *command("--home", home, *verb)]
    ended = subprocess.run(given, capture_output=True, text=True, timeout=310, env=environment(), check=True)
    return int(ended.stdout)


def one_line() -> Iterator[bytes]:
    """One line."""
    return (b"a" * MIB for _ in range(MAX_RAW // MIB))


def long_lines() -> Iterator[bytes]:
    """Lines of 4 MiB each."""
    return (b"a" * MIB if number % 4 else b"\n" + b"a" * (MIB - 1) for number in range(1, MAX_RAW // MIB + 1))


def long_records() -> Iterator[bytes]:
    """Yield records with messages of 32 MiB each."""
    for seq in range(1, 8):
        yield b'{"time":"2026-01-01T00:00:00.000000Z","level":"info","logger":"%b","event":"' % (b"%d" % seq * 8)
        yield from (b"%x" % (seq % 16) * MIB for _ in range(32))
        yield b'","pid":1,"seq":%d}\n' % seq


def empty_lines() -> Iterator[bytes]:
    """Empty lines."""
    return (b"\n" * MIB for _ in range(MAX_RAW // MIB))


BOMBS = {"one line": one_line, "long lines": long_lines, "long records": long_records, "empty lines": empty_lines}


@pytest.mark.parametrize("verb", ["cat", "verify"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_payload_that_inflates_beyond_measure_takes_little_memory(home, bomb, verb):
    """A home of some kilobytes cannot make a reader hold what its payload inflates to."""
    raw = sum(map(len, BOMBS[bomb]()))
    records = 7 if bomb == "long records" else 63 if bomb == "long lines" else 1
    zones = {"levels": {"info": records}, "loggers": "many", "events": "many"}
    signed_batch(home, BOMBS[bomb](), records=records, raw=raw, stats=zones)
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < 300_000

    assert peak(home, verb) < MAX_MEMORY


def test_a_line_that_is_too_long_is_damage(home):
    """`cat` says what is wrong with the batch, and `verify` that the log is not sound."""
    signed_batch(home, one_line(), records=1, raw=MAX_RAW)
    ended = run("cat", home=home)

    assert (3, "") == (ended.code, ended.out)
    assert "a record is too long" in ended.err
    assert 3 == run("verify", home=home).code


def test_more_records_than_the_manifest_says_are_not_read_to_their_end(home, monkeypatch):
    """The first line too many ends the reading: a manifest that claims few records costs little time."""
    read = []
    from ipfs_log_handlers.format import payload

    inflate = payload._inflate

    def counting(*given: object) -> Iterator[bytes]:
        for piece in inflate(*given):  # type: ignore[arg-type]
            read.append(len(piece))
            yield piece

    monkeypatch.setattr(payload, "_inflate", counting)
    signed_batch(home, empty_lines(), records=1, raw=MAX_RAW)
    gaps: list[Gap] = []
    with Dataset(HomeDir(home), gaps.append) as dataset:
        assert [] == list(dataset.lines("audit"))

    assert ["damaged"] == [gap.kind for gap in gaps]
    assert sum(read) < MIB
