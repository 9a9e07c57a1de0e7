"""Each decoder that is fuzzed accepts its examples, and answers changed ones with a value or with our own error."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.targets import TARGETS
from tests.support import mutations

MUTANTS = 300
"""Changed inputs of each target; `make fuzz` tries many more, and follows the branches that they take."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_examples_are_accepted(name: str) -> None:
    """What the package writes itself is read."""
    seeds = TARGETS[name].seeds()
    assert seeds
    assert [True] * len(seeds) == [TARGETS[name].run(seed) for seed in seeds]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_changed_examples(name: str) -> None:
    """Bytes that were flipped, cut out, put in, doubled and joined never lead to another error."""
    draw = random.Random(name)
    seeds = TARGETS[name].seeds()
    for _ in range(MUTANTS):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data) + 1)
            end = min(len(data), at + draw.randint(0, 8))
            data[at:end] = draw.choice([draw.randbytes(draw.randint(0, 4)), data[at:end] * 2, draw.choice(seeds)[:at]])
        TARGETS[name].run(bytes(data))


def test_junk() -> None:
    """Nothing, and short strings, never lead to another error."""
    for target in TARGETS.values():
        for junk in (b"", *mutations.JUNK):
            target.run(junk)
