"""Clues find each line that can match, however its JSON is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.query.clues import Clue, best_clues, lines_with
from ipfs_log_handlers.query.comparison import Comparison
from ipfs_log_handlers.query.filters import Names, Text
from ipfs_log_handlers.query.where import comparisons

values = st.one_of(
    st.sampled_from(
        ["mira", "tom", "späť", 'a "quote"', "back\\slash", "a/b", "500", "5e2", "5", "", "true", "\u2028"]
    ),
    st.integers(-1000, 1000),
    st.floats(-1e6, 1e6),
    st.integers(10**15, 10**25),
    st.booleans(),
    st.none(),
)
names = st.sampled_from(["user", "ms", "user.name", "name", "é", "logger", "event"])
records = st.dictionaries(
    names, st.one_of(values, st.dictionaries(names, values, max_size=2), st.lists(values, max_size=2)), max_size=4
)
conditions = st.one_of(
    st.builds(
        lambda path, operator, value: list(comparisons({path: {operator: value}})),
        names,
        st.sampled_from(["=", "!=", ">", "<=", "<", ">="]),
        st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.integers(10**15, 10**25), st.text(max_size=3)),
    ),
    st.builds(lambda path, items: list(comparisons({path: items})), names, st.lists(values, max_size=3)),
    st.builds(lambda path, value: list(comparisons({path: value})), names, values),
    st.builds(
        lambda path, operator, value: list(comparisons(f"{path}{operator}{value}")),
        names,
        st.sampled_from(["=", "!=", ">", "<", "~"]),
        st.sampled_from(["500", "5e2", "mira", "true", "null", "0", "-3", r"\+5"]),
    ),
    st.builds(lambda name: [Names("logger", frozenset([name]))], st.sampled_from(["mira", "späť", "500"])),
    st.builds(lambda text: [Text(None, text)], st.sampled_from(["mir", "ä", "5", '"', "\\"])),
)


@pytest.mark.slow
@given(st.lists(st.tuples(records, st.booleans(), st.booleans()), max_size=8), conditions)
def test_every_line_that_matches_is_among_those_that_clues_find(written, chosen):
    """No form of JSON hides a record: escaped or plain, with or without spaces, nested or not."""
    lines = [
        json.dumps(record, ensure_ascii=escaped, separators=(", ", " : ") if spaced else (",", ":"))
        for record, escaped, spaced in written
    ]
    text = "".join(line + "\n" for line in lines).encode()
    for condition in chosen:
        if condition.clues is None:
            continue
        found = [text[start:end].decode() for start, end in lines_with(text, condition.clues)]
        matching = [line for line in lines if condition.matches(json.loads(line))]
        assert not [line for line in matching if line not in found]
        assert found == [line for line in lines if line in found]


def test_a_clue_leaves_out_what_cannot_match():
    """The word, and the number after it, choose the lines that are decoded."""
    text = b'{"ms":5}\n{"ms":600}\n{"ms": "700"}\n{"other":900}\n{"ms":null}\n'
    (above,) = comparisons({"ms": {">": 500}})
    assert [text[start:end] for start, end in lines_with(text, above.clues or ())] == [b'{"ms":600}', b'{"ms": "700"}']
    (equal,) = comparisons({"user": "mira"})
    assert equal.clues == (Clue(b'"mira"'),)
    assert lines_with(text, equal.clues) == []


@pytest.mark.parametrize(
    ("where", "found", "left_out"),
    [
        (
            {"ms": {">": 500}},
            ["501", "500.5", "+600", "0700", "5e3", ".6E4", "499.999999999999999999", '"600"'],
            ["9", "99.9", "-600", "500", "1e2", "-5e3"],
        ),
        ({"ms": 1000}, ["1000", "1000.0", "1e3", "999.9999999999999999"], ["100", "999", "-1000", "1001"]),
        ({"ms": {">=": 0.5}}, ["0.5", ".5", "5e-1", "7"], ["0.4", "-7"]),
        ({"ms": {"<": 1000}}, ["5", "999", "-1000", "1e2"], ["1000", "2000"]),
    ],
)
def test_a_number_with_too_few_digits_is_left_out_early(where, found, left_out):
    """A number below the searched one is not looked at; exponents, signs, zeros and rounding hide none."""
    (condition,) = comparisons(where)
    lines = [b'{"ms":%b}\n' % number.encode() for number in (*found, *left_out)]
    text = b"".join(lines)
    assert [text[start:end].decode() for start, end in lines_with(text, condition.clues or ())] == [
        f'{{"ms":{number}}}' for number in found
    ]


def test_what_no_line_says_has_no_clue():
    """The subsystem of a record, a missing field and a negation stand in no line."""
    for where in ({"subsystem": "audit"}, {"user": None}, {"user": {"!=": "mira"}}, {"items.0": 5}, {"!": "not JSON"}):
        (comparison,) = comparisons(where)
        assert isinstance(comparison, Comparison)
        assert comparison.clues is None


def test_the_clue_that_finds_the_fewest_lines_is_chosen():
    """A word alone comes before a number after a key, and a long word before a short one."""
    number, short, long = (Clue(b'ms"', (0, 1)),), (Clue(b"ab"),), (Clue(b"abcd"),)
    assert best_clues([number, None, short, long]) == long
    assert best_clues([number, None]) == number
    assert best_clues([None]) is None
