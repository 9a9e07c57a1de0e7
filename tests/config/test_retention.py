"""The setting `retention`: which rules there are, and what a wrong one is told."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.config.retention import RetentionRule
from ipfs_log_handlers.errors import ConfigurationError


@pytest.mark.parametrize(
    ("keep", "days"), [("400d", 400.0), ("52w", 364.0), ("12h", 0.5), ("0d", 0.0), ("1.5 d", 1.5), (" 7D ", 7.0)]
)
def test_an_age_has_a_unit(tmp_path, keep, days):
    """Hours, days or weeks; the rule goes through JSON unchanged."""
    rule = Settings.parse({"home": tmp_path, "retention": {"keep": keep, "then": "prune"}}).retention
    assert RetentionRule(days=days) == rule
    assert rule == RetentionRule.from_json(rule.as_json())
    assert RetentionRule(days=1, apply="auto") == RetentionRule.parse({"keep": "1d", "then": "prune", "apply": "auto"})
    assert Settings.parse({"home": tmp_path}).retention is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("400d", "not a retention rule; expected a mapping such as {'keep': '400d', 'then': 'prune'}, found '400d'"),
        ({"keep": "400d"}, "a retention rule without 'then'"),
        ({"then": "prune"}, "a retention rule without 'keep'"),
        ({"keep": "400d", "then": "burn"}, "retention.then: not one of the choices; expected 'prune', found 'burn'"),
        ({"keep": "soon", "then": "prune"}, "retention.keep: not an age; expected an age such as '400d', '52w' or"),
        ({"keep": 400, "then": "prune"}, "found 400"),
        ({"keep": "-1d", "then": "prune"}, "found '-1d'"),
        ({"keep": "9999999w", "then": "prune"}, "not an age"),
        ({"keep": "1d", "then": "prune", "apply": True}, "expected 'manual' or 'auto', found True"),
        ({"keep": "1d", "then": "prune", "aply": "auto"}, "did you mean 'apply'?"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path, value, told):
    """Before a record is logged: a rule that is misunderstood would give up records, or keep them for ever."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse({"home": tmp_path, "retention": value})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "value", [None, {}, {"days": -1, "apply": "auto"}, {"days": "1", "apply": "auto"}, [1], {"days": 1}]
)
def test_a_header_of_a_foreign_process_gives_up_nothing(value: Any):
    """What is no rule is none."""
    assert RetentionRule.from_json(value) is None
