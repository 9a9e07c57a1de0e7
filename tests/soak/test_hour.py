"""Random kills, outages, forks and reconfigurations, ending in a verified exact count.

`SOAK_SECONDS` sets how long, `SOAK_SEED` the seed; the seed of a run is printed with its result.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.support.chaos import Chaos, check

SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1 << 30))


def run_for(seconds: float, home, daemon, capsys) -> int:
    """One run; what it drew is said whether it ends well or not."""
    chaos = Chaos(home, daemon, SEED)
    try:
        chaos.run(seconds)
        return check(chaos, daemon)
    finally:
        with capsys.disabled():
            print(f"\n{seconds:.0f} s with SOAK_SEED={SEED}: {dict(chaos.did)}")


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_an_hour(home, kubo_daemon, capsys):
    """An hour of it: nothing that was logged is lost, doubled or changed."""
    count = run_for(float(os.environ.get("SOAK_SECONDS", "3600")), home, kubo_daemon(), capsys)
    with capsys.disabled():
        print(f"{count} records whose calls returned, each of them there once")


def test_a_few_seconds(home, kubo_daemon, capsys):
    """The same for a few seconds."""
    assert run_for(3.0, home, kubo_daemon(), capsys) > 0
