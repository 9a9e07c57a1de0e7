"""Conditions on fields: what they match, and that a zone map never hides a match."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.format.bloom import hashes_in
from ipfs_log_handlers.query.clues import Clue, lines_with
from ipfs_log_handlers.query.comparison import MISSING, Comparison, value_at
from ipfs_log_handlers.query.where import comparisons
from ipfs_log_handlers.stats.columns import ColumnStats

RECORD = {"status": 500, "text": "500", "user": {"name": "mira", "ids": [7, 8]}, "a.b": 1, "ok": True, "none": None}


def holds(where: Any, record: dict[str, Any] = RECORD) -> bool:
    """Say whether a record fulfils conditions."""
    return all(condition.matches(record) for condition in comparisons(where))


@pytest.mark.parametrize(
    ("path", "value"),
    [("status", 500), ("user.name", "mira"), ("user.ids.1", 8), ("a.b", 1), ("user.age", MISSING),
     ("user.ids.2", MISSING), ("status.x", MISSING), ("user.ids.x", MISSING)],
)  # fmt: skip
def test_a_dotted_path_reaches_into_nested_fields(path, value):
    """A dot leads into an object or a list; a field whose own name has a dot comes first."""
    assert value_at(RECORD, path) == value


@pytest.mark.parametrize(
    "where",
    [
        {"status": 500}, {"status": 500.0}, {"status": [404, 500]}, {"status": {">": 499, "<=": 500}}, {"ok": True},
        {"none": None}, {"absent": None}, {"text": "500"}, {"status": {"!=": 404}}, {"absent": {"!=": 5}},
        {"user.name": {"~": "^mi"}}, {"user.name": {"!~": "x"}}, {"text": {"<": "6"}}, {"status": {"not in": [1]}},
        "status=500", "text=500", "text = 500", "text==500", "status>499", "text>=500", "text<501", "status!=404",
        'text="500"', "user.name~ra$", "user.name!~^x", "ok=true", "none=null", "absent=null", "absent!=x",
        ["status=500", {"ok": True}], lambda record: record["status"] == 500,
    ],
)  # fmt: skip
def test_a_condition_holds(where):
    """Text of the command line finds the number and the text of the same number; Python tells them apart."""
    assert holds(where)


@pytest.mark.parametrize(
    "where",
    [
        {"status": "500"}, {"text": 500}, {"ok": 1}, {"status": True}, {"status": {">": "4"}}, {"text": {">": 4}},
        {"ok": {">=": 1}}, {"absent": {">": 0}}, {"absent": 5}, {"status": None}, "status!=500", "text!=500",
        'status="500"', "user.name~^ra", "absent=x", "ok=1", "user=mira", "none~null",
    ],
)  # fmt: skip
def test_a_condition_does_not_hold(where):
    """A number is no text, `true` is no number, and a missing field equals nothing but none."""
    assert not holds(where)


IDS = [
    "12e45678", "9e99999", "-9e99999", "0e123456", "00000000", "0005", "5", "+5", "5.", ".5", "1e3", "1000",
    "9" * 390 + ".5",
]  # fmt: skip


@pytest.mark.parametrize("text", IDS)
def test_an_id_of_digits_equals_only_itself(text):
    """Texts with an exponent, a plus sign, leading zeros, or beyond a double are no numbers for `=` and `!=`."""
    assert [other for other in IDS if holds(f"id={text}", {"id": other})] == [text]
    assert [other for other in IDS if not holds(f"id!={text}", {"id": other})] == [text]


def test_an_id_with_an_exponent_is_no_number():
    """`=` finds neither zero nor infinity; `>` and `<` compare numbers, also with an exponent."""
    assert not holds("id=0e123456", {"id": 0})
    assert not holds("id=0", {"id": "0e123456"})
    assert not holds("id=12e45678", {"id": float("inf")})
    assert holds("id>1e3", {"id": 1001})
    assert holds("id>1e3", {"id": "2e3"})
    assert holds("id=-1.50", {"id": "-1.5"})


@given(st.lists(st.sampled_from([*IDS, 0, 5, 1000, 0.5, 1.5, "1.50"]), max_size=8), st.sampled_from([*IDS, "0", "1.5"]))
def test_a_filter_and_the_clues_hide_no_id(column, text):
    """Each value that equals an id has one of its hashes in the filter, and one of its clues in its line."""
    (condition,) = comparisons(f"request_id={text}")
    assert isinstance(condition, Comparison)
    matching = [value for value in column if condition.matches({"request_id": value})]

    assert condition.ids is not None
    assert condition.clues is not None
    for value in matching:
        assert hashes_in([value]) & set(condition.ids[1])
        line = msgspec.json.encode({"request_id": value}) + b"\n"
        assert lines_with(line, condition.clues)


@pytest.mark.parametrize("operator", ["=", ">", ">=", "<", "<="])
@pytest.mark.parametrize("value", [500, -0.0, 0.1, 2**53 + 1, -(2**53) - 1, 10**400, -(10**400)])
def test_each_number_that_meets_a_comparison_lies_in_the_bounds_of_its_clue(operator, value):
    """A number is rounded to a float before it is compared with the bounds, which are floats, too."""
    (condition,) = comparisons({"ms": {operator: value}})
    assert isinstance(condition, Comparison)
    ((_, bounds),) = condition.clues or ()
    assert bounds is not None
    near = [499, 500, 501, 0, 0.1, 0.30000000000000004, 2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, 1e300, -1e300]
    for number in [number for number in near if condition.matches({"ms": number})]:
        assert bounds[0] <= float(number) <= bounds[1]
    if value == 500:
        found = [number for number in near if bounds[0] <= float(number) <= bounds[1]]
        assert found == [number for number in near if condition.matches({"ms": number})]


def test_a_long_list_of_values_is_searched_by_its_key():
    """A text is searched once for each clue, so equal clues are one, and there are few of them."""
    for values, clues in (
        (["a/1", "a/2"], (Clue(b'f"'),)),
        (["x", "x", 5, 5.0], (Clue(b'"x"'), Clue(b'f"', (5.0, 5.0)))),
        ([f"v{number}" for number in range(16)], tuple(Clue(b'"v%d"' % number) for number in range(16))),
        ([f"v{number}" for number in range(17)], (Clue(b'f"'),)),
    ):
        (condition,) = comparisons({"f": values})
        assert isinstance(condition, Comparison)
        assert condition.clues == clues


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**63, -(2**70), 1.5]), st.sampled_from("abcd12"),
    st.text(max_size=3), st.just([1]), st.integers(0, 60).map(str),
)  # fmt: skip
operands = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(-3, 3), st.sampled_from("abcd12"), st.just(2**63))
wheres = st.one_of(
    operands.map(lambda value: {"f": value}),
    st.lists(operands, max_size=3).map(lambda value: {"f": value}),
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "!="]), st.integers(-3, 3)).map(lambda each: {"f": dict([each])}),
    st.tuples(
        st.sampled_from(["=", "<", ">", ">=", "!=", "~"]), st.sampled_from(["1", "2", "a", "0.5", "1e0", "01"])
    ).map(lambda each: f"f{each[0]}{each[1]}"),
)


@given(st.lists(values, max_size=50), wheres)
def test_a_zone_map_hides_no_match(column, where):
    """A batch whose zone map is said to hold no match holds none, whatever its values are."""
    stats = ColumnStats()
    stats.add(column)
    zone = {"fields": {"f": stats.as_json()}}
    matching = [value for value in column if holds(where, {"f": value})]

    if not all(condition.may_match(zone) for condition in comparisons(where)):
        assert matching == []
