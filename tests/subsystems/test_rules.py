"""Rules are data: they go through a header and come back the same, and what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.subsystems.rules import (
    Rule,
    Rules,
    count,
    counts,
    distinct,
    distinct_count,
    single,
    worst,
)

names = st.text(st.characters(codec="utf-8", exclude_characters='"\\').filter(str.isprintable), min_size=1, max_size=9)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), names
)
rule = st.one_of(
    st.dictionaries(names.filter(str.isidentifier), scalars, max_size=3).map(lambda where: count(**where)),
    st.builds(counts, names, per=names),
    st.builds(distinct, names),
    st.builds(distinct_count, names),
    st.builds(worst, names, per=names, order=st.lists(names, min_size=1, max_size=4)),
    st.builds(single, names, plural=names, configured=names, otherwise=scalars, logger=st.booleans()),
)
required = st.lists(st.one_of(names, st.lists(names, min_size=1, max_size=3).map(tuple)), max_size=3).map(tuple)
rules = st.builds(
    Rules,
    required=st.dictionaries(names, required, max_size=3),
    meta=st.dictionaries(names, rule, max_size=3),
    zone=st.lists(names, max_size=3).map(tuple),
)
json_values = st.recursive(
    st.one_of(scalars, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=12,
)


class TestBothWays:
    @pytest.mark.slow
    @given(rules)
    def test_json(self, told: Rules) -> None:
        """What a writer puts into a header is what the keeper of another process applies, and has the same id."""
        read = Rules.from_json(json.loads(json.dumps(told.as_json())))
        assert told == read
        assert read is not None
        assert told.id == read.id

    @pytest.mark.parametrize("name", subsystems.names())
    def test_those_of_every_subsystem(self, name: str) -> None:
        """So do the rules of each subsystem, which fit a header with room to spare."""
        told = subsystems.get(name).rules
        text = json.dumps(told.as_json())
        assert told == Rules.from_json(json.loads(text))
        assert len(text) < 2000
        assert 16 == len(told.id)

    def test_ids_differ(self) -> None:
        """A change of a rule, of what is required or of a configured value is another id; nothing has none."""
        told = subsystems.get("fs_replication").rules
        assert "" == Rules().id
        assert len({told.id, told.configured({"role": "master"}).id, told.configured({"node_id": "n"}).id}) == 3
        assert told is told.configured({})


class TestConfigured:
    def test_value(self) -> None:
        """A configured value is what a rule falls back to, and the record need not have the field any more."""
        told = subsystems.get("fs_replication").rules.configured({"node_id": "n-1"})
        assert ("n-1", None) == (told.meta["node_id"].otherwise, told.meta["role"].otherwise)
        assert ("role", "entry_id", "status") == told.required["replication.entry"]

    def test_prefixes(self) -> None:
        """Prefixes of loggers are tried the longest first."""
        told = subsystems.get("logs").rules.configured({"components": {"a": "x", "a.b": "y"}})
        assert (("a.b", "y"), ("a", "x")) == told.meta["component"].prefixes

    def test_false_is_a_value(self) -> None:
        """A configured `False` or 0 is kept."""
        told = Rules(meta={"x": single("x", plural="xs")})
        for value in (False, 0, 0.0):
            configured = told.configured({"x": value})
            again = Rules.from_json(json.loads(json.dumps(configured.as_json())))
            assert again is not None
            assert (value, type(value)) == (again.meta["x"].otherwise, type(again.meta["x"].otherwise))


class TestForeign:
    @given(json_values)
    def test_anything(self, told: Any) -> None:
        """Home rule 14: whatever stands in a foreign header becomes rules or nothing; it never raises."""
        assert Rules.from_json(told) is None or isinstance(Rules.from_json(told), Rules)

    @pytest.mark.slow
    @given(rules, st.data())
    def test_one_thing_wrong(self, told: Rules, data: st.DataObject) -> None:
        """Rules with anything in place of one of their parts are read or refused; they never raise."""
        members = told.as_json()
        at = data.draw(st.sampled_from(["required", "meta", "zone"]))
        if members[at] and data.draw(st.booleans()) and isinstance(members[at], dict):
            members[at][data.draw(st.sampled_from(sorted(members[at])))] = data.draw(json_values)
        else:
            members[at] = data.draw(json_values)
        found = Rules.from_json(members)
        assert found is None or Rules.from_json(found.as_json()) == found

    @pytest.mark.parametrize(
        "odd",
        [
            {"rule": "eval", "field": "x"},
            {"rule": "distinct"},
            {"rule": "distinct", "field": 'a"b'},
            {"rule": "distinct", "field": "a\n"},
            {"rule": "distinct", "field": "\ud800"},
            {"rule": "distinct", "field": "x" * 300},
            {"rule": "worst", "field": "a", "per": "b"},
            {"rule": "worst", "field": "a", "per": "b", "order": "xy"},
            {"rule": "single", "field": "a"},
            {"rule": "single", "plural": "a"},
            {"rule": "single", "field": "a", "plural": "b", "otherwise": float("nan")},
            {"rule": "single", "field": "a", "plural": "b", "otherwise": 1 << 64},
            {"rule": "single", "field": "a", "plural": "b", "otherwise": "\ud800"},
            {"rule": "single", "field": "a", "plural": "b", "logger": 1},
            {"rule": "count", "where": {"a": []}},
            {"rule": "count", "where": [["a", 1]]},
            {"rule": "count", "where": {f"f{n}": n for n in range(99)}},
            {"rule": "count", "no": 1},
            {"field": "x"},
            "count",
            None,
        ],
        ids=range(21),
    )
    def test_no_rule(self, odd: Any) -> None:
        """What a keeper could not apply, or a manifest not hold, is no rule."""
        with pytest.raises(ConfigurationError, match="rules: "):
            Rule.parse(odd)
        assert Rules.from_json({"required": {}, "meta": {"x": odd}, "zone": []}) is None

    def test_too_many(self) -> None:
        """A header that names a thousand rules names none."""
        meta = {f"n{n}": {"rule": "count"} for n in range(1000)}
        assert Rules.from_json({"required": {}, "meta": meta, "zone": []}) is None
