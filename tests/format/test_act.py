"""Acts: what they may say, and that each has one form."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.act import EXT_KEY, MAX_RANGES, Act, act_in, bounds_in_words, ranges_of
from ipfs_log_handlers.format.manifest import MAX_BLOCK

LOG = "ipfs-logs/0123456789abcdef/audit/01234567"
COMMON: dict[str, Any] = {"id": "0" * 16, "time": 5, "by": "ada@box", "reason": "lawsuit 12"}
KINDS: dict[str, dict[str, Any]] = {
    "hold": {"since": 1, "until": None},
    "release": {"holds": ("a" * 16,)},
    "prune": {"batches": ((LOG, ((0, 4), (6, 6))),)},
    "shred": {"keys": ("audit/2026-03",)},
}
WORDS = {
    "hold": f"hold {'0' * 16}: records since 1970-01-01T00:00:00.000001Z: lawsuit 12",
    "release": f"release of hold {'a' * 16}: lawsuit 12",
    "prune": "prune of 6 batches: lawsuit 12",
    "shred": "shred of audit/2026-03: lawsuit 12",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [None, 0, 41])
def test_each_kind_comes_back_from_a_block(kind, before):
    """What DAG-CBOR gives back is the same act, with the number of the one before it."""
    act = Act(act=kind, **COMMON, **KINDS[kind])
    value = dagcbor.decode(dagcbor.encode(act.encode(before)))

    assert (act, before) == Act.decode(value)
    assert (act, before) == act_in({EXT_KEY: value, "example.org/other": 1})
    assert WORDS[kind] == act.words
    assert act_in({"example.org/other": 1}) is None


WRONG: dict[str, dict[str, Any]] = {
    "another kind": {"act": "burn"},
    "no kind": {"act": None},
    "no id": {"id": "0" * 15},
    "an id in capitals": {"id": "A" * 16},
    "a time before 1970": {"time": -1},
    "a boolean as time": {"time": True},
    "no reason": {"reason": ""},
    "a reason of two lines": {"reason": "a\nb"},
    "a long reason": {"reason": "a" * 501},
    "bytes as reason": {"reason": b"a"},
    "nobody": {"by": ""},
    "bounds in the wrong order": {"since": 5, "until": 4},
    "a text as bound": {"since": "5"},
    "a batch before the first": {"before": -1},
    "one key more": {"more": 1},
    "a key of another kind": {"holds": ["a" * 16]},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_hold_is_refused(wrong):
    """One member that is wrong, missing or too much makes the whole act unreadable."""
    value = Act(act="hold", **COMMON).encode(None)
    with pytest.raises(FormatError):
        Act.decode({**value, **WRONG[wrong]})
    for name in value:
        with pytest.raises(FormatError):
            Act.decode({key: member for key, member in value.items() if key != name})


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [[LOG, []]],
        [[LOG, [[1, 0]]]],
        [[LOG, [[0, 1], [2, 3]]]],
        [[LOG, [[5, 6], [1, 2]]]],
        [[LOG, [[0, 1, 2]]]],
        [[LOG, [["0", 1]]]],
        [[LOG, [[0, 1]]], [LOG, [[4, 5]]]],
        [["audit", [[0, 1]]]],
        [[LOG]],
        [7],
        [[LOG, [[2 * n, 2 * n] for n in range(MAX_RANGES + 1)]]],
        "x",
        None,
    ],
)
def test_runs_of_batches_have_one_form(batches):
    """Runs ascend, do not touch, belong to logs, and are not too many: so an act has one encoding."""
    value = Act(act="prune", **COMMON, **KINDS["prune"]).encode(None)
    with pytest.raises(FormatError):
        Act.decode({**value, "batches": batches})


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("hold", {"holds": ("a" * 16,)}),
        ("release", {}),
        ("release", {"holds": ("x",)}),
        ("release", {"holds": ["a" * 16]}),
        ("release", {"holds": ("a" * 16,), "since": 1}),
        ("shred", {}),
        ("shred", {"keys": ("a\n",)}),
        ("prune", {}),
        ("hold", {"batches": ((LOG, ((0, 1),)),)}),
    ],
)
def test_each_kind_has_its_own_members(kind, members):
    """A member of another kind, or a missing one, is refused before anything is signed."""
    with pytest.raises(FormatError):
        Act(act=kind, **COMMON, **members)


@pytest.mark.parametrize(
    "act",
    [
        Act(act="release", **{**COMMON, "reason": "\U0001f512" * 500}, holds=tuple(f"{n:016x}" for n in range(32))),
        Act(act="shred", **{**COMMON, "reason": "\U0001f512" * 500}, keys=tuple(f"{n:0160}" for n in range(32))),
        Act(
            act="prune",
            **{**COMMON, "reason": "\U0001f512" * 500, "by": "\U0001f512" * 200},
            batches=tuple(
                (LOG[:-2] + f"{n:02}", tuple((2**50 + 2 * i, 2**50 + 2 * i) for i in range(8))) for n in range(32)
            ),
        ),
    ],
    ids=lambda act: act.act,
)
def test_the_largest_act_fits_into_a_manifest(act):
    """With its words in `meta`, and a kilobyte or two for all else."""
    assert len(dagcbor.encode([act.encode(2**62), act.words])) < MAX_BLOCK - 2500


@given(st.sets(st.integers(0, 60)))
def test_runs_name_the_same_numbers(numbers):
    """Runs are as few as can be, and have exactly the numbers."""
    runs = ranges_of(sorted(numbers))

    assert numbers == {number for first, last in runs for number in range(first, last + 1)}
    assert all(before[1] + 1 < after[0] for before, after in pairwise(runs))


def test_bounds_in_words():
    """Each bound that there is; none means any time."""
    first, last = "1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000002Z"
    assert "of any time" == bounds_in_words(None, None)
    assert f"since {first} until {last}" == bounds_in_words(1, 2)
    assert f"until {last}" == bounds_in_words(None, 2)


def test_json_has_times_as_text():
    """As everything that a verb prints."""
    members = Act(act="hold", **COMMON, since=1).as_json()

    assert "1970-01-01T00:00:00.000001Z" == members["since"]
    assert "1970-01-01T00:00:00.000005Z" == members["time"]
    assert members["until"] is None
    assert "before" not in members
