"""Hold limits of time also on a busy machine, which gets more time the slower it is."""

from __future__ import annotations

import time

__all__ = ["assert_in_time", "slowness"]

_SAMPLE_CPU_S = 0.2
"""CPU time of one measurement of `slowness`."""


def slowness() -> float:
    """Return how much longer work takes now than on an idle machine: 1.0 on an idle one, 3.0 with a third of a core."""
    begun, cpu = time.perf_counter(), time.thread_time()
    while time.thread_time() - cpu < _SAMPLE_CPU_S:
        pass
    return max(1.0, (time.perf_counter() - begun) / _SAMPLE_CPU_S)


def assert_in_time(seconds: float, limit_s: float, problem: str = "it took too long") -> None:
    """Assert that something took less time than a limit; on a busy machine the limit is longer.

    Args:
        seconds: the time that it took.
        limit_s: the limit on an idle machine. The fault that the test looks for must exceed it several times.
        problem: what is wrong when it took longer.
    """
    if seconds < limit_s:
        return
    factor = slowness()
    assert seconds < limit_s * factor, (
        f"{problem}: {seconds:.2f} s, limit {limit_s} s, machine {factor:.1f} times slower"
    )
