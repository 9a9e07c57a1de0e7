"""A dataset gives what plain JSON would give: the same records, the same counts, in the order of time."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import ConfigurationError, VerificationError, open_dataset, open_home
from ipfs_log_handlers.home import catalogue as catalogue_module
from ipfs_log_handlers.home import logs as logs_module
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.keeper import upkeep as upkeep_module
from ipfs_log_handlers.query.dataset import Dataset
from ipfs_log_handlers.reader import catalogued, home_parts
from tests.support import many_batches, query_homes, sample_homes
from tests.support.sample_homes import batches_of, key_of


def place(record: dict[str, Any]) -> tuple[str, str, int]:
    """Return what identifies a record."""
    return record["subsystem"], record["time"], record["number"]


# -- filters, each with its meaning in plain Python

NUMBER = {"notset": 0, "debug": 10, "info": 20, "level 25": 25, "warning": 30, "error": 40, "critical": 50}
BASE = int(query_homes.START)


def texts(record: dict[str, Any]) -> list[str]:
    """Return the texts that `contains` and `include` look at."""
    return [record[key] for key in ("event", "message", "exception") if isinstance(record.get(key), str)]


def after(record: dict[str, Any], seconds: float) -> bool:
    """Say whether a record is of this time or later."""
    import datetime as dt

    return dt.datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp() >= seconds


def equal(found: Any, value: Any) -> bool:
    """Compare two values of JSON."""
    return isinstance(found, bool) == isinstance(value, bool) and found == value


conditions = st.one_of(
    st.integers(-5, 80).map(lambda n: ({"since": BASE + n}, lambda r: after(r, BASE + n))),
    st.integers(-5, 80).map(lambda n: ({"until": BASE + n}, lambda r: not after(r, BASE + n))),
    st.sampled_from([*NUMBER, "WARNING", 25, 30]).map(
        lambda level: (
            {"level": level},
            lambda r: NUMBER[r["level"]] >= (level if isinstance(level, int) else NUMBER[str(level).lower()]),
        )
    ),
    st.sampled_from(query_homes.LOGGERS).map(lambda name: ({"logger": name}, lambda r: r["logger"] == name)),
    st.just(({"logger": "app.*"}, lambda r: r["logger"].startswith("app."))),
    st.just(({"logger": "!db"}, lambda r: r["logger"] != "db")),
    st.sampled_from(["audit", "logs", "wal"]).map(lambda name: ({"subsystem": name}, lambda r: r["subsystem"] == name)),
    st.sampled_from(query_homes.EVENTS).map(lambda name: ({"event": name}, lambda r: r["event"] == name)),
    st.sampled_from(["time", "log", "ä", '"', "nowhere", "Traceback"]).map(
        lambda text: ({"contains": text}, lambda r: any(text in found for found in texts(r)))
    ),
    st.sampled_from(["^log", "out$", "[0-9]"]).map(
        lambda text: ({"include": text}, lambda r: any(re.search(text, found) for found in texts(r)))
    ),
    st.sampled_from(["^log", "out$"]).map(
        lambda text: ({"exclude": text}, lambda r: not any(re.search(text, found) for found in texts(r)))
    ),
    st.sampled_from([200, 404, 500, "500", "ok", True, 4.5, "none of these", 7]).map(
        lambda value: ({"where": {"status": value}}, lambda r: equal(r["status"], value))
    ),
    st.just(({"where": "status=500"}, lambda r: equal(r["status"], 500) or r["status"] == "500")),
    st.sampled_from(query_homes.USERS).map(lambda name: ({"where": {"user_id": name}}, lambda r: r["user_id"] == name)),
    st.just(({"where": {"user_id": ["mira", "tom"]}}, lambda r: r["user_id"] in ("mira", "tom"))),
    st.just(({"where": "user_id!=mira"}, lambda r: r["user_id"] != "mira")),
    st.integers(0, 80).map(lambda n: ({"where": {"number": {">": n}}}, lambda r: r["number"] > n)),
    st.integers(0, 80).map(lambda n: ({"where": f"number<={n}"}, lambda r: r["number"] <= n)),
    st.just(({"where": {"status": {">=": 404}}}, lambda r: type(r["status"]) in (int, float) and r["status"] >= 404)),
    st.just(({"where": "request.path~/[12]$"}, lambda r: r.get("request", {}).get("path", "")[-2:] in ("/1", "/2"))),
    st.just(({"where": {"request.items.0": 1}}, lambda r: r.get("request", {}).get("items", [0])[0] == 1)),
    st.just(({"where": lambda r: r["number"] % 2}, lambda r: r["number"] % 2)),
)


@pytest.mark.slow
@settings(max_examples=40)
@given(chosen=st.lists(conditions, max_size=4))
def test_random_filters_equal_brute_force_over_plain_json(queried, expected, chosen):
    """Whatever is filtered, the records are those of plain JSON, in the order of time; so are all counts."""
    assert_equal_to_brute_force(queried, expected, chosen)


@pytest.mark.soak
@settings(max_examples=500)
@given(chosen=st.lists(conditions, max_size=4))
def test_very_many_random_filters_equal_brute_force_over_plain_json(queried, expected, chosen):
    """The same for many more filters."""
    assert_equal_to_brute_force(queried, expected, chosen)


def assert_equal_to_brute_force(queried, expected, chosen):
    """Filter the home, and plain JSON, and compare all answers."""
    dataset = open_dataset(queried)
    wanted = expected
    for arguments, passes in chosen:
        dataset = dataset.filter(**arguments)
        wanted = [record for record in wanted if passes(record)]

    found = list(dataset)
    assert sorted(map(place, found)) == sorted(map(place, wanted))
    assert [record["time"] for record in found] == [record["time"] for record in wanted]
    assert list(dataset.reverse()) == found[::-1]
    assert dataset.count() == len(wanted)
    assert sum(bucket.count for bucket in dataset.histogram("10s")) == len(wanted)
    assert dict(dataset.top("logger", 99)) == Counter(record["logger"] for record in wanted)
    assert set(dataset.distinct("level")) == {record["level"] for record in wanted}


@pytest.mark.slow
@settings(max_examples=40)
@given(n=st.integers(0, 200), level=st.sampled_from(["debug", "error"]))
def test_limits_keep_one_end_of_the_order(queried, n, level):
    """`limit` keeps the first records, after `reverse` the newest, and `last` the newest in the order of time."""
    dataset = open_dataset(queried).filter(level=level)
    found = list(dataset)

    assert list(dataset.limit(n)) == found[:n]
    assert list(dataset.reverse().limit(n)) == found[::-1][:n]
    assert list(dataset.last(n)) == found[max(0, len(found) - n) :]
    assert list(dataset.limit(n).reverse()) == found[:n][::-1]
    assert dataset.last(n).count() == min(n, len(found))


def test_a_record_is_as_it_was_logged_with_its_subsystem(queried, expected):
    """Each record is the mapping that its JSON says, with its subsystem."""
    key = lambda record: (record["subsystem"], record["pid"], record["seq"], record["time"])  # noqa: E731

    assert sorted(open_dataset(queried), key=key) == sorted(expected, key=key)


def test_select_keeps_fields_and_reaches_into_nested_ones(queried, expected):
    """`select` keeps the named fields in that order; a record without one has no such key."""
    found = list(open_dataset(queried).select("number", "request.path"))

    assert len(found) == len(expected)
    assert {tuple(record) for record in found} == {("number",), ("number", "request.path")}
    assert [*open_dataset(queried).select(["event"]).limit(1)] == [{"event": expected[0]["event"]}]


def test_a_dataset_is_a_value(queried):
    """A filter gives a new dataset and leaves the one it was made from as it was; nothing is read before."""
    dataset = open_dataset(queried)
    narrow = dataset.filter(subsystem="wal")

    assert narrow.count() == 15
    assert dataset.count() == 150
    with pytest.raises(AttributeError):
        dataset.sources = ()  # type: ignore[misc]


def test_a_time_window_opens_the_batches_of_that_time_alone(queried):
    """`explain` says how many batches are skipped and why, and a reading opens no other ones."""
    dataset = open_dataset(queried).filter(subsystem="audit", since=BASE + 10, until=BASE + 12)
    plan = dataset.explain()
    records = iter(dataset)
    found = list(records)

    assert found
    assert plan.opened == records.stats.opened < len(plan.batches) / 2
    assert plan.skipped == {"time": len(plan.batches) - plan.opened}
    assert records.stats.batches == len(plan.batches)
    assert records.stats.matched == len(found)
    assert str(plan).startswith(f"reads {plan.opened} of {len(plan.batches)} batches")


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"level": 60}, "level"),
        ({"logger": "nobody"}, "logger"),
        ({"event": "never"}, "event"),
        ({"where": {"user_id": "nobody"}}, "where"),
        ({"where": {"status": {">": 1000}}}, "where"),
    ],
)
def test_zone_maps_skip_batches_without_reading_them(queried, condition, reason):
    """Levels, loggers, events and the fields of the zone map skip a batch that cannot hold a match."""
    plan = open_dataset(queried, sealed_only=True).filter(subsystem="audit", **condition).explain()

    assert plan.skipped == {reason: len(plan.batches)}
    assert plan.bytes == 0


def test_only_what_is_due_is_opened_for_the_newest_records(queried):
    """The newest record is found without opening the batches of earlier times."""
    records = iter(open_dataset(queried).filter(subsystem="audit").reverse().limit(1))
    next(records)

    assert records.stats.opened < records.stats.batches / 2


def test_an_unknown_subsystem_is_an_error_that_lists_the_known_ones(queried):
    """A subsystem that no source has is an error, never an empty answer."""
    with pytest.raises(ConfigurationError, match=r"'adit'; there are: audit, logs, wal"):
        list(open_dataset(queried).filter(subsystem="adit"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": "soon"},
        {"since": []},
        {"level": "loud"},
        {"where": "status"},
        {"where": 5},
        {"where": {"status": {"like": 5}}},
        {"where": {"status": {"in": 5}}},
        {"where": {"status": {">": None}}},
        {"where": {"status": object()}},
        {"include": "("},
        {"contains": 5},
        {"logger": [5]},
    ],
)
def test_a_malformed_condition_is_refused_when_it_is_given(queried, wrong):
    """A condition that means nothing is an error at once."""
    with pytest.raises(ConfigurationError):
        open_dataset(queried).filter(**wrong)


def test_a_filter_after_a_limit_is_refused(queried):
    """What a filter after a limit would mean is doubtful, so it is an error; likewise a limit from the other end."""
    limited = open_dataset(queried).limit(5)
    with pytest.raises(ConfigurationError, match="call filter before limit"):
        limited.filter(level="error")
    with pytest.raises(ConfigurationError, match="other end"):
        limited.reverse().limit(2)
    with pytest.raises(ConfigurationError, match="not a number of records"):
        limited.limit(-1)
    assert len(list(limited.reverse().limit(9))) == 5


# -- while others work


def test_what_is_sealed_between_two_looks_comes_once(home, monkeypatch):
    """A keeper that seals, and removes segments, after they were opened changes no answer."""
    query_homes.log_some(home, "audit", range(40))
    real = logs_module.logs_of

    def seal_first(subsystem_dir: Any) -> Any:
        monkeypatch.setattr(home_parts, "logs_of", real)
        sample_homes.seal(home)
        return real(subsystem_dir)

    monkeypatch.setattr(home_parts, "logs_of", seal_first)
    assert sorted(record["number"] for record in open_dataset(home)) == list(range(40))


def test_what_is_sealed_and_removed_after_the_heads_were_read_comes_once(home, monkeypatch):
    """A keeper that seals and removes segments after the heads were looked at hides no record."""
    query_homes.log_some(home, "audit", range(10))
    sample_homes.seal(home)
    query_homes.log_some(home, "audit", range(10, 20))
    real = logs_module.logs_of

    def seal_then(subsystem_dir: Any) -> Any:
        monkeypatch.setattr(home_parts, "logs_of", real)
        logs = real(subsystem_dir)
        sample_homes.seal(home)
        query_homes.log_some(home, "audit", range(20, 21))
        sample_homes.seal(home)
        return logs

    monkeypatch.setattr(home_parts, "logs_of", seal_then)
    assert sorted(record["number"] for record in open_dataset(home)) == list(range(21))


def test_what_is_sealed_while_it_is_read_comes_once(home):
    """Lines that move into batches, and a log that ends, while a dataset is read neither vanish nor come twice."""
    query_homes.log_some(home, "audit", range(40), spread=0)
    sample_homes.seal(home)
    query_homes.log_some(home, "audit", range(40, 60), spread=0)
    records = iter(open_dataset(home))
    first = next(records)
    sample_homes.seal(home)
    sample_homes.end(home)
    query_homes.log_some(home, "audit", range(60, 70), spread=0)
    sample_homes.seal(home)

    assert [first["number"], *(record["number"] for record in records)] == list(range(60))
    assert open_dataset(home).count() == 70


def test_every_reading_has_all_that_was_logged_before_it_while_writers_and_a_keeper_work(home):
    """Readings beside a writer and a keeper have no gap and nothing twice."""
    logged: list[int] = []
    stop = threading.Event()

    def work() -> None:
        try:
            for start in range(0, 400, 10):
                query_homes.log_some(home, "audit", range(start, start + 10), spread=0)
                logged.append(start + 10)
                if start % 30 == 0:
                    sample_homes.seal(home)
        finally:
            stop.set()

    thread = threading.Thread(target=work)
    query_homes.log_some(home, "wal", range(1))
    thread.start()
    readings = 0
    while not stop.is_set() or not readings:
        due = logged[-1] if logged else 0
        found = [record["number"] for record in open_dataset(home).filter(subsystem="audit")] if due else []
        assert found[:due] == list(range(due))
        assert len(set(found)) == len(found)
        readings += 1
    thread.join()

    assert [record["number"] for record in open_dataset(home).filter(subsystem="audit")] == list(range(400))


def test_without_a_head_nothing_comes_twice(home):
    """Where the head file is lost, sequence numbers in the batches tell what of the spool is sealed."""
    with sample_homes.Writing(home) as writing:
        writing.log(range(25))
        sample_homes.seal(home)
        writing.log(range(25, 30))
        sample_homes.subsystem_dir(home).current.head.unlink()
        gaps: list[Any] = []
        found = [record["number"] for record in open_dataset(home, on_gap=gaps.append)]

    assert found == list(range(30))
    assert [gap.reason for gap in gaps] == ["the head is missing, although the log has batches"]


# -- what is damaged, and what is verified


def damage(home: Path, index: int) -> None:
    """Flip a bit in the last byte of a batch."""
    path = sample_homes.subsystem_dir(home).current.batches / "000" / f"{index:06}.car"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_damaged_batch_is_an_error_or_a_gap(home):
    """A damaged batch is never left out without a word."""
    sample_homes.make(home, 30)
    damage(home, 1)
    gaps: list[Any] = []

    with pytest.raises(VerificationError):
        list(open_dataset(home))
    found = [record["number"] for record in open_dataset(home, on_gap=gaps.append)]
    assert found == [*range(10), *range(20, 30)]
    assert [(gap.kind, gap.index) for gap in gaps] == [("damaged", 1)]


def test_a_batch_whose_manifest_is_damaged_is_reported_whatever_is_filtered(home):
    """What a batch without a readable manifest holds is unknown, so it is a gap of every query."""
    sample_homes.make(home, 30)
    path = sample_homes.subsystem_dir(home).current.batches / "000" / "000001.car"
    path.write_bytes(path.read_bytes()[:100])
    gaps: list[Any] = []

    assert list(open_dataset(home, on_gap=gaps.append).filter(since="1h", level="critical")) == []
    assert [gap.index for gap in gaps] == [1]


def test_a_chain_is_verified_before_the_first_record(home):
    """`verify="chain"` refuses a home whose log is not what was signed; `off` hashes nothing."""
    sample_homes.make(home, 30)
    assert open_dataset(home, verify="chain", keys=[key_of(home)]).count() == 30
    assert len(list(open_dataset(home, verify="off"))) == 30
    sample_homes.splice(*(batches_of(home).file(index) for index in (1, 2)))

    with pytest.raises(VerificationError, match="differs from its signed state"):
        open_dataset(home, verify="chain")
    with pytest.raises(ConfigurationError, match="not a way to verify"):
        open_dataset(home, verify="all")  # type: ignore[arg-type]


# -- several sources


def test_several_homes_are_merged_by_time(tmp_path):
    """Records of several homes come in the order of time; the same batch of two copies comes once."""
    one, two = tmp_path / "one", tmp_path / "two"
    query_homes.log_some(one, "audit", range(0, 20, 2), spread=0)
    query_homes.log_some(two, "audit", range(1, 20, 2), spread=0)
    sample_homes.seal(one)
    both = open_dataset([one, two])

    assert [record["number"] for record in both] == list(range(20))
    assert open_dataset([one, one]).count() == 10
    assert open_dataset(one).concat(open_dataset(two)).count() == 20
    with pytest.raises(ConfigurationError, match="only the dataset of one home"):
        both.records("audit")


def test_the_dataset_of_a_home_still_reads_in_log_order(home):
    """`Home.dataset` gives the same dataset, with `records`, `lines` and `batch` of one home as before."""
    sample_homes.make(home, 20)
    cid = next(open_home(home).batches()).cid
    with open_home(home).dataset() as dataset:
        assert isinstance(dataset, Dataset)
        assert [json.loads(line)["number"] for line in dataset.lines("audit")] == list(range(20))
        assert [record["subsystem"] for record in dataset.records("audit", sealed_only=True)] == ["audit"] * 20
        assert len(list(dataset.batch(cid) or ())) == 10
        assert [record["number"] for record in dataset.filter(where={"number": 3})] == [3]


def test_the_catalogue_changes_speed_and_no_answer(home, monkeypatch):
    """With and without the catalogue of a log, and with a damaged one, the answers are the same."""
    for module in (catalogue_module, upkeep_module, catalogued, home_parts):
        monkeypatch.setattr(module, "GROUP", 4)
    for second in range(22):
        query_homes.log_some(home, "audit", range(second, second + 1), spread=0)
        sample_homes.seal(home)
    for _ in upkeep_module.Upkeep(SubsystemDir(home / "audit")).steps():
        pass
    shutil.rmtree(batches_of(home).path / "pages")  # which come before it
    catalogue = batches_of(home).path / "catalogue"
    dataset = open_dataset(home).filter(since=BASE + 4, until=BASE + 10)
    found, plan = list(dataset), dataset.explain()
    assert [record["number"] for record in found] == list(range(4, 10))
    assert (len(plan.batches), plan.opened, plan.manifests) == (22, 6, 2)
    with many_batches.files_looked_at() as paths:
        assert list(dataset) == found
    assert len({path for path in paths if re.search(r"\d\.car$", path)}) == 8

    content = bytearray(catalogue.read_bytes())
    content[len(content) // 2] ^= 1
    catalogue.write_bytes(content)
    assert (list(dataset), dataset.explain().batches) == (found, plan.batches)
    catalogue.unlink()
    assert (list(dataset), dataset.explain().batches) == (found, plan.batches)
