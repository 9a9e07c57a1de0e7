"""What a batch says of its records, against the same counted again by code that knows nothing of rules."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.manifest import MAX_BLOCK, Manifest
from ipfs_log_handlers.format.merkle import EMPTY_ROOT
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.keeper.batch_builder import BatchBuilder, BatchLimits
from ipfs_log_handlers.stats.decoder import CompiledRules
from ipfs_log_handlers.stats.summary import BatchSummary, shrink_to_block
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
from tests.support import recount_oracle
from tests.support.logging_home import WRITER

LOG = "ipfs-logs/00112233445566aa/audit/00112233"
FIRST = 1_767_323_045_000_006

words = st.sampled_from(["a", "b", "ok", "failed", "é", "", "x" * 300])
values = st.one_of(
    words,
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, 2.0, -0.0, 1e300]),
    st.none(),
    st.lists(st.integers(), max_size=1),
    st.dictionaries(words, st.integers(), max_size=1),
)


def records_of(subsystem: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return records of a subsystem: complete, incomplete, with odd values, and plain sentences."""
    events = recount_oracle.required_of(subsystem)
    zone = [*subsystems.get(subsystem).zone, *subsystems.get(subsystem).configurable, "compliant", "command", "method"]
    names = sorted({"component", "partition_id", "node", *zone, *(name for each in events.values() for name in each)})
    fields = st.dictionaries(st.sampled_from(names), values, max_size=8)
    whole = st.sampled_from(sorted(events) or ["plain"]).flatmap(
        lambda event: st.tuples(
            st.just(event), st.fixed_dictionaries(dict.fromkeys(events.get(event, ()), values)), fields
        ).map(lambda each: {"event": each[0], **each[2], **each[1]})
    )
    some = st.tuples(st.sampled_from([*events, "a plain sentence"]), fields).map(lambda e: {"event": e[0], **e[1]})
    loggers = st.sampled_from(["audit", "app.orders", "app.orders.db", "other.orders", ""])
    records = st.tuples(loggers, st.one_of(whole, whole, some)).map(lambda e: {"logger": e[0], **e[1]})
    return st.lists(records, max_size=40)


def lines_of(records: list[dict[str, Any]]) -> list[bytes]:
    """Return the lines of some records."""
    envelope = {"time": "2026-01-02T03:04:05.000006Z", "level": "info"}
    return [
        json.dumps({**envelope, **record, "pid": 7, "seq": seq}, ensure_ascii=False).encode()
        for seq, record in enumerate(records, 1)
    ]


def draft(rules: Rules, records: list[dict[str, Any]], pieces: int = 7) -> BatchBuilder:
    """Make a batch builder with some records, added in pieces."""
    made = BatchBuilder(LOG, 3, BatchLimits(1 << 30, 1 << 40, 1), rules)
    lines = lines_of(records)
    for at in range(0, len(lines), pieces):
        assert (len(lines[at : at + pieces]), None) == made.add(SegmentName(WRITER, 0), lines[at : at + pieces])
    return made


CONFIGURED: dict[str, list[dict[str, Any]]] = {
    "logs": [{"component": "kit"}, {"components": {"app": "shop", "app.orders.db": "database"}}],
    "wal": [{"partition_id": "p-7"}],
    "telemetry": [{"sampling_interval": 60}],
    "fs_monitor": [{"node": "n-1"}],
    "fs_replication": [{"node_id": "n-1"}, {"node_id": "n-1", "role": "master"}],
    "mcp_files": [{"component": "vfs"}],
    "mcp_actions": [{"server_id": "s-1"}],
}


class TestEverySubsystem:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", subsystems.names())
    def test_meta(self, name: str) -> None:
        """The keys that a subsystem promises are what a count by hand finds, whatever the records are."""
        own = subsystems.get(name)

        @settings(max_examples=30)
        @given(records_of(name), st.sampled_from([{}, *CONFIGURED.get(name, [])]), st.integers(1, 9))
        def check(records: list[dict[str, Any]], configured: dict[str, Any], pieces: int) -> None:
            made = draft(own.rules.configured(configured), records, pieces)
            expected = recount_oracle.own_meta(name, records, index=3, first=FIRST, configured=configured)
            assert expected == made.summary.meta(FIRST, 3)

        check()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", subsystems.names())
    def test_zone(self, name: str) -> None:
        """The zone map bounds every record's value of each field it names, whole event or not."""
        own = subsystems.get(name)

        @settings(max_examples=30)
        @given(records_of(name))
        def check(records: list[dict[str, Any]]) -> None:
            told = draft(own.rules, records).stats()
            assert own.rules.id == told["rules"]
            for field in own.zone:
                assert recount_oracle.zone_of(records, field) == told["fields"][field]

        check()


class TestRules:
    rules = st.one_of(
        st.builds(count, a=st.one_of(st.booleans(), st.integers(-1, 1), words.filter(lambda word: len(word) < 257))),
        st.just(count()),
        st.builds(counts, st.sampled_from("abc")),
        st.builds(counts, st.sampled_from("abc"), per=st.sampled_from("abc")),
        st.builds(distinct, st.sampled_from("abc")),
        st.builds(distinct_count, st.sampled_from("abc")),
        st.just(worst("a", per="b", order=("failed", "ok", "?"))),
    )
    plain = st.lists(
        st.dictionaries(st.sampled_from("abc"), values, max_size=3).map(lambda r: {"logger": "t", "event": "e", **r}),
        max_size=60,
    )

    @given(rules, plain, st.integers(1, 9))
    def test_each_kind(self, rule: Rule, records: list[dict[str, Any]], pieces: int) -> None:
        """Each aggregate, over any fields, is what a count by hand finds."""
        made = draft(Rules(meta={"x": rule}), records, pieces)
        assert {"x": recount_oracle.rule_result(rule.as_json(), records)} == made.summary.meta(FIRST, 0)

    def test_many(self) -> None:
        """Sets that do not fit are `many`; a count goes on, and so do least and greatest."""
        records = [{"logger": "t", "event": "e", "a": f"v{n}", "b": n} for n in range(40)]
        rules = Rules(
            meta={"d": distinct("a"), "c": counts("a"), "n": distinct_count("a"), "s": single("a", plural="ss")},
            zone=("a", "b"),
        )
        made = draft(rules, records)
        assert {"d": "many", "c": "many", "n": 40, "s": None, "ss": "many"} == made.summary.meta(FIRST, 0)
        assert {"a": {"values": "many"}, "b": {"min": 0, "max": 39}} == made.stats()["fields"]

    def test_large_numbers(self) -> None:
        """A whole number that a manifest cannot hold takes its field's bounds with it, and nothing else."""
        made = draft(Rules(meta={"d": distinct("a")}, zone=("a",)), [{"logger": "", "event": "", "a": 1 << 70}])
        assert ({"d": "many"}, {"a": {"values": "many"}}) == (made.summary.meta(FIRST, 0), made.stats()["fields"])

    @pytest.mark.parametrize("odd", [b"1e999", b'"\xff"', b'{"b": "\xff"}'])
    def test_unreadable_field(self, odd: bytes) -> None:
        """A field that cannot be read costs the batch its zone map, and the record its place in the metadata only."""
        rules = Rules(required={"e": ("a",)}, meta={"n": count()}, zone=("a",))
        made = BatchBuilder(LOG, 0, BatchLimits(9, 9999, 1), rules)
        first, second = lines_of([{"logger": "t", "event": "e", "a": 1}] * 2)
        assert (2, None) == made.add(SegmentName(WRITER, 0), [first, second.replace(b'"a": 1', b'"a": ' + odd)])
        assert ({"n": 1, "left_out": 1}, {}) == (made.summary.meta(FIRST, 0), made.stats()["fields"])

    def test_names(self) -> None:
        """A field may have any name, also that of another field's place."""
        rules = Rules(meta={"d": distinct("f0"), "e": distinct("a b.é")}, zone=("event", "logger"))
        made = draft(rules, [{"logger": "t", "event": "e", "f0": "x", "a b.é": "y"}])
        assert {"d": ["x"], "e": ["y"]} == made.summary.meta(FIRST, 0)
        assert {"event": {"values": ["e"]}, "logger": {"values": ["t"]}} == made.stats()["fields"]

    def test_no_rules(self) -> None:
        """Without rules nothing is decoded besides, and nothing said."""
        sums = BatchSummary(CompiledRules(Rules()))
        assert ({}, {}) == (sums.meta(FIRST, 0), sums.stats())


class TestFitting:
    manifest = Manifest(
        log=LOG, index=0, prev=None, jump=None, edge=b"", sealed=1, first=1, last=1, records=0, dropped={},
        payload=Cid.of(RAW, b"x"), size=1, raw=0, encoding="jsonl+zstd", root=EMPTY_ROOT, meta={}, stats={},
        sources=(), evidence=(),
    )  # fmt: skip

    def test_too_long(self) -> None:
        """A manifest keeps to its 16 KiB: the largest sets go first, and the smallest stay."""
        large = {f"{n:02}{'x' * 200}": n for n in range(32)}
        meta = {"type": "t", "record_count": 5, "small": ["a"], "one": large, "two": large}
        stats = {"levels": {"info": 5}, "fields": {"f": {"values": [*large], "min": 0, "max": 1}}}
        made = shrink_to_block(replace(self.manifest, meta=meta, stats=stats))
        assert len(made.encode()) <= MAX_BLOCK
        assert {"type": "t", "record_count": 5, "small": ["a"], "one": "many", "two": large} == made.meta
        assert stats == made.stats
        assert len(large) == len(meta["one"])  # type: ignore[arg-type]

    def test_many_fields(self) -> None:
        """However many sets there are, as many of them go as must."""
        fields = {f"f{n}": {"values": [f"{m}{'y' * 60}" for m in range(32)]} for n in range(32)}
        made = shrink_to_block(replace(self.manifest, stats={"levels": {"info": 1}, "fields": fields}))
        assert len(made.encode()) <= MAX_BLOCK
        assert "many" in {str(each["values"]) for each in made.stats["fields"].values()}
        assert {"info": 1} == made.stats["levels"]

    def test_hopeless(self) -> None:
        """What no set is to blame for is told as before."""
        with pytest.raises(FormatError, match="too long"):
            shrink_to_block(replace(self.manifest, meta={"x": "y" * MAX_BLOCK}))
