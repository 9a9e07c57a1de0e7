"""`ipfs-logs tail`: the newest records, and each one that is logged from then on, at once."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.support import sample_homes
from tests.support.cli import start


@pytest.mark.parametrize("verb", [["tail", "-n", "2"], ["query", "-f", "-n", "2"]])
def test_records_come_at_once_across_sealing_and_new_subsystems(home, verb):
    """The newest records come first; then each one within a moment, whatever the keeper does, and none twice."""
    sample_homes.make(home, 5)
    following = start("--home", home, *verb)
    try:
        assert following.stdout is not None
        read = following.stdout.readline
        assert [json.loads(read())["number"] for _ in range(2)] == [3, 4]
        waited = []
        with sample_homes.Writing(home) as audit, sample_homes.Writing(home, "wal") as wal:
            for number in range(5, 25):
                writing = wal if number % 5 == 0 else audit
                logged = time.monotonic()
                writing.log(range(number, number + 1))
                assert json.loads(read())["number"] == number
                waited.append(time.monotonic() - logged)
                if number % 4 == 0:
                    sample_homes.seal(home)
                if number == 12:
                    sample_homes.end(home)
        assert sorted(waited)[len(waited) // 2] < 0.3
        following.send_signal(signal.SIGINT)
        out, err = following.communicate(timeout=20)
    finally:
        following.kill()
    assert (following.returncode, out) == (130, b"")
    assert err == b"ipfs-logs: interrupted\n"


def test_a_filter_holds_for_what_is_followed(home):
    """Only records that pass are printed, in the form that is asked for."""
    sample_homes.make(home, 1)
    following = start("--home", home, "tail", "-l", "warning", "-o", "csv", "--fields", "number,level")
    try:
        assert following.stdout is not None
        assert following.stdout.readline() == b"number,level\r\n"
        sample_homes.log(home, range(1, 4))
        assert [following.stdout.readline() for _ in range(2)] == [b"1,warning\r\n", b"3,warning\r\n"]
    finally:
        following.kill()
        following.communicate()
