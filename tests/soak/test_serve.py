"""The server under load: many tails and queries while a program logs."""

from __future__ import annotations

import os

import pytest

from benchmarks.serving import load
from benchmarks.serving_home import make

_GROWTH_MB = 150
"""Megabytes by which the memory of the server may grow: what may wait for 50 clients is more."""


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_minute_of_fifty_tails_and_twenty_queries_a_second(home, capsys):
    """Every tail gets every record or is told the number of the others, and memory stays bounded."""
    make(home, 50_000)
    found = load(home, float(os.environ.get("SOAK_SECONDS", "60")))
    with capsys.disabled():
        print("", *(f"{name}: {figure:.4g}" for name, figure in found.items()), sep="\n")

    assert found["records logged"] <= found["records at the slowest client"]
    assert found["queries"] > 0
    assert found["memory at most, MB"] < found["memory before, MB"] + _GROWTH_MB
