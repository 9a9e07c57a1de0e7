"""Verify counts `meta` and `stats` again, by the rules under which a batch was sealed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.policy import Policy, load_policy, read_settings, rules_in, store_policy
from ipfs_log_handlers.subsystems import audit
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.verified_homes import check, fields
from tests.verify.test_batch import forge, manifest_of


@pytest.fixture
def three(home: Path) -> Path:
    """Three batches of ten audit records, some of which are whole events."""
    with sample_homes.Writing(home) as writing:
        for number in range(30):
            told = audit.event(event_type="data", action=f"a{number % 3}", timestamp=1.5, status="success")
            writing.handler.handle(sample_homes.record(number, **(told if number % 2 else {})))
    sample_homes.seal(home)
    return home


def test_what_is_counted(three):
    """The batch says what verify counts again."""
    told = manifest_of(three)
    assert (5, ["data"], 5) == (told.meta["event_count"], told.meta["event_types"], told.meta["left_out"])
    assert {"values": ["success"]} == told.stats["fields"]["status"]
    assert told.stats["rules"] == subsystems.get("audit").rules.id
    assert check(three).ok


def _fields(manifest: Manifest, **changes: Any) -> dict[str, Any]:
    return {**manifest.stats, "fields": {**manifest.stats["fields"], **changes}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("meta", lambda m: {**m.meta, "timestamp": "2026-01-01T00:00:00.000000Z"}, "meta.timestamp"),
        ("meta", lambda m: {**m.meta, "event_count": 11}, "meta.event_count"),
        ("meta", lambda m: {**m.meta, "event_types": ["user"]}, "meta.event_types"),
        ("meta", lambda m: {name: m.meta[name] for name in m.meta if name != "event_types"}, "meta.event_types"),
        ("meta", lambda m: {**m.meta, "event_count": "many"}, "meta.event_count"),
        ("meta", lambda m: {**m.meta, "more": 1}, "meta.more"),
        ("meta", lambda m: {**m.meta, "left_out": 1}, "meta.left_out"),
        ("stats", lambda m: _fields(m, status={"values": ["failure"]}), "stats.fields.status"),
        ("stats", lambda m: _fields(m, status={}), "stats.fields.status"),
        ("stats", lambda m: _fields(m, status={"values": ["success"], "min": 1, "max": 2}), "stats.fields.status"),
        ("stats", lambda m: _fields(m, status=5), "stats.fields.status"),
        ("stats", lambda m: _fields(m, other={"values": ["x"]}), "stats.fields.other"),
    ],
)
def test_signed_lies(three, name, change, problem):
    """A claim about the records that its own key signed, but that is not so, is found."""
    forge(three, 2, **{name: change(manifest_of(three))})
    assert fields(three) == {(2, problem)}


def test_many_claims_nothing(three):
    """A manifest that says `many` where it could have listed, or bounds fewer fields, is no liar."""
    told = manifest_of(three)
    forge(three, 2, meta={**told.meta, "event_types": "many"}, stats=_fields(told, status={"values": "many"}))
    assert check(three).ok
    forge(three, 2, stats={**told.stats, "fields": {}})
    assert check(three).ok


def test_rules_of_former_times(home):
    """The rules of a batch are still known when the configuration has changed since."""
    for role in ("master", "worker", "leecher"):
        sample_homes.make(home, 10, "fs_replication", metadata={"node_id": "n-1", "role": role})
    subsystem_dir = sample_homes.subsystem_dir(home, "fs_replication")
    told = [Batches(subsystem_dir.current.batches).facts(index).manifest for index in range(3)]
    assert ["master", "worker", "leecher"] == [each.meta["role"] for each in told]
    assert {each.stats["rules"] for each in told} == rules_in(subsystem_dir.settings).keys()
    assert check(home).ok


def test_rules_outlive_damage(home):
    """Settings of which one figure is damaged still tell the former rules, and a repair keeps them."""
    for role in ("master", "worker"):
        sample_homes.make(home, 10, "fs_replication", metadata={"node_id": "n-1", "role": role})
    path = sample_homes.subsystem_dir(home, "fs_replication").settings
    known = rules_in(path)
    path.write_text(path.read_text().replace('"replicas": 1', '"replicas": 3'))
    with pytest.raises(FormatError, match="checksum"):
        read_settings(path)
    assert known == rules_in(path)
    assert 0 == run("doctor", "--repair", home=home).code
    assert known.keys() <= rules_in(path).keys()
    assert check(home).ok


def test_rules_that_settings_know(three):
    """Where the registry has other rules than the batch was sealed under, those of `settings.json` count."""
    subsystem_dir, own = sample_homes.subsystem_dir(three), subsystems.get("audit")
    former = load_policy(subsystem_dir.settings, Policy.default(three, "audit"))
    rules = replace(own.rules, meta={**own.rules.meta, "n": own.rules.meta["event_count"]})
    store_policy(subsystem_dir.settings, replace(former, rules=rules))
    told = manifest_of(three)
    forge(three, 2, meta={**told.meta, "n": 5}, stats={**told.stats, "rules": rules.id})
    assert check(three).ok
    forge(three, 2, meta={**told.meta, "n": 6}, stats={**told.stats, "rules": rules.id})
    assert fields(three) == {(2, "meta.n")}


def test_unknown_rules(three):
    """Rules that are known no more leave what every batch says to be checked, and are no problem themselves."""
    told = manifest_of(three)
    stats = {**told.stats, "rules": "0" * 16}
    forge(three, 2, meta={**told.meta, "event_count": 11}, stats=stats)
    assert check(three).ok
    forge(three, 2, meta={**told.meta, "record_count": 11}, stats=stats)
    assert fields(three) == {(2, "meta.record_count")}
