"""The index changes speed and no answer: with it, without it, with a damaged or foreign one, the records are equal."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.format.index_page import IndexPage
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper.upkeep import Upkeep
from ipfs_log_handlers.query.dataset import Dataset
from tests.support import indexed_homes, many_batches, sample_homes
from tests.support.cli import run
from tests.support.indexed_homes import index, pages_of, seal_records

DRAWN: list[Any] = ["a", "b", "500", 500, 500.0, "5e2", True, None, ["a"], "späth", 1e25, ""]


def fields_of(number: int) -> dict[str, Any]:
    """Return the fields of a record: a few ids that repeat, one that does not, and a number."""
    made: dict[str, Any] = {"number": number, "user": f"u{number % 5}", "trace_id": f"trace-{number // 3}"}
    if number % 4:
        made["request_id"] = DRAWN[number % len(DRAWN)] if number % 3 else f"request-{number}"
    return made


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a home with 40 batches of two records, in pages of 16, its copy without pages, and its CAR files."""
    base = tmp_path_factory.mktemp("indexed")
    with pytest.MonkeyPatch.context() as patch:
        indexed_homes.small_pages(patch, 16)
        subsystem_dir = seal_records(base / "home", [fields_of(number) for number in range(80)], a_batch=2)
        shutil.copytree(subsystem_dir.current.batches, base / "cars")
        shutil.copytree(base / "home", base / "plain")
        assert index(subsystem_dir).firsts() == [0, 16, 32]
        shutil.copytree(subsystem_dir.current.batches, base / "cars-and-pages")
        yield base


@pytest.fixture(scope="module")
def sources(indexed: Path) -> dict[str, Dataset]:
    """Give a dataset for each source."""
    return {name: open_dataset(indexed / name) for name in ("home", "plain", "cars", "cars-and-pages")}


def equal(stated: Any, value: Any) -> bool:
    """Compare two values of JSON."""
    return isinstance(stated, bool) == isinstance(value, bool) and stated == value


def number_in(value: Any) -> Any:
    """Return the number that a value is, or is the text of; as the command line compares."""
    if isinstance(value, str):
        return float(value) if re.fullmatch(r"[0-9.]+", value) else None
    return None if isinstance(value, bool) else value


ids = st.sampled_from([value for value in DRAWN if not isinstance(value, list)] + ["request-9", "request-69", "none"])
conditions = st.one_of(
    ids.map(lambda value: ({"where": {"request_id": value}}, lambda r: equal(r.get("request_id"), value))),
    st.lists(ids, max_size=3).map(
        lambda values: (
            {"where": {"request_id": values}},
            lambda r: any(equal(r.get("request_id"), value) for value in values),
        )
    ),
    st.just(({"where": "request_id=500"}, lambda r: number_in(r.get("request_id")) == 500)),
    st.just(({"where": "request_id=5e2"}, lambda r: r.get("request_id") == "5e2")),
    st.integers(0, 30).map(lambda n: ({"where": {"trace_id": f"trace-{n}"}}, lambda r: r["trace_id"] == f"trace-{n}")),
    st.integers(0, 30).map(
        lambda n: ({"where": {"trace_id": {"!=": f"trace-{n}"}}}, lambda r: r["trace_id"] != f"trace-{n}")
    ),
    st.just(({"where": "trace_id~^trace-1"}, lambda r: r["trace_id"].startswith("trace-1"))),
    st.integers(0, 90).map(
        lambda n: (
            {"since": indexed_homes.START_US / 1e6 + n},
            lambda r: r["seq"] >= n,
        )
    ),
    st.sampled_from(["u1", "u9"]).map(lambda user: ({"where": {"user": user}}, lambda r: r["user"] == user)),
    st.just(({"level": "error"}, lambda _: False)),
)


@pytest.mark.slow
@settings(max_examples=25)
@given(chosen=st.lists(conditions, min_size=1, max_size=3))
def test_random_filters_equal_brute_force_with_and_without_pages_from_a_home_and_from_cars(
    sources: dict[str, Dataset], chosen: list[Any]
) -> None:
    """Whatever is asked, a home with pages, one without, and CAR files give the records that plain JSON gives."""
    plain = [{**fields_of(number), "seq": number + 1} for number in range(80)]
    for _, passes in chosen:
        plain = [record for record in plain if passes(record)]
    wanted = [record["number"] for record in plain]
    for source, unfiltered in sources.items():
        dataset = unfiltered
        for arguments, _ in chosen:
            dataset = dataset.filter(**arguments)
        assert [record["number"] for record in dataset] == wanted, source
        assert dataset.count() == len(wanted), source


def test_explain_says_what_ruled_out_each_batch(indexed: Path) -> None:
    """`explain` tells Bloom filter from zone map, and counts pages and manifests; without pages it reads manifests."""
    start = indexed_homes.START_US / 1e6
    plan = open_dataset(indexed / "home").filter(where={"request_id": "request-9"}, until=start + 60).explain()
    assert plan.skipped["time"] == 10
    assert plan.skipped["ids"] >= 27
    assert plan.ruled_out == {"zone map": plan.skipped["time"], "Bloom filter": plan.skipped["ids"]}
    assert (plan.pages, plan.manifests) == (3, 0)
    assert str(plan).endswith(
        f"skips {plan.skipped['ids']} by ids (Bloom filter), 10 by time; planned with 3 index pages and 0 manifests"
    )
    assert plan.as_json()["ruled_out"] == plan.ruled_out
    without = open_dataset(indexed / "plain").filter(where={"request_id": "request-9"}).explain()
    assert (without.opened, without.pages) == (40, 0)
    assert without.manifests >= 40
    by_level = open_dataset(indexed / "home").filter(level="error").explain()
    assert (by_level.skipped, by_level.pages, by_level.manifests) == ({"level": 40}, 3, 0)


def test_counts_come_from_pages_without_a_manifest(indexed: Path) -> None:
    """`count`, `histogram` and `top` of whole batches take their counts from the zone maps in the pages."""
    with many_batches.files_looked_at() as paths:
        assert open_dataset(indexed / "home").count() == 80
        assert open_dataset(indexed / "home").top("level") == [("info", 80)]
    assert [path for path in paths if path.endswith("pack-0.car") or re.search(r"\d{6}\.car$", path)] == []


def test_stats_on_the_command_line_count_pages_and_manifests(indexed: Path) -> None:
    """`query --stats` says how many index pages and manifests the plan read; as JSON with keys of their own."""
    done = run("query", "-w", "request_id=request-9", "--stats", "-o", "json", home=indexed / "home")
    assert '"seq":10' in done.out
    assert '"pages":3,"manifests":0' in done.err
    done = run("query", "-w", "request_id=request-9", "--stats", "-o", "text", home=indexed / "plain")
    assert "0 index pages and 40 manifests" in done.err


# -- what lies in the place of a page


@contextmanager
def changed(subsystem_dir: SubsystemDir, first: int) -> Iterator[Path]:
    """Let a test change a page, and put it back."""
    path = pages_of(subsystem_dir).file(first)
    data = path.read_bytes()
    try:
        yield path
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(data)


def answers(dataset: Dataset) -> list[Any]:
    """Return what some queries give."""
    start = indexed_homes.START_US / 1e6
    chosen: list[dict[str, Any]] = [
        {"where": {"trace_id": "trace-7"}},
        {"where": "request_id=500"},
        {"level": "info"},
        {"until": start + 9},
    ]
    return [[record["number"] for record in dataset.filter(**one)] for one in chosen] + [dataset.count()]


def otherwise(page: IndexPage, **changes: Any) -> bytes:
    """Return the bytes of a page with other content, whole as far as hashes go."""
    members = {name: getattr(page, name) for name in ("log", "first", "lines", "filters", "page_filters")}
    return IndexPage(**{**members, **changes}).encode()


def page_at(subsystem_dir: SubsystemDir, first: int) -> IndexPage:
    """Read a page as it was made."""
    import msgspec

    log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
    stored = pages_of(subsystem_dir).load(first, log)
    assert stored is not None
    lines = [msgspec.json.encode(entry) for entry in stored.entries]
    return IndexPage(log, first, lines, {name: stored.filters_of(name) for name in stored.root.filters})


KINDS = (
    "removed", "empty", "cut", "flipped", "another log", "another place", "too long", "too short", "another version",
    "foreign chain", "link", "pipe", "directory", "huge",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_that_cannot_be_used_changes_no_answer(indexed: Path, tmp_path: Path, kind: str) -> None:
    """Whatever lies in the place of a page, it is used or ignored: every answer is that of the home without pages."""
    subsystem_dir = SubsystemDir(indexed / "home" / "logs")
    expected = answers(open_dataset(indexed / "plain"))
    with changed(subsystem_dir, 16) as path:
        page = page_at(subsystem_dir, 16)
        data = path.read_bytes()
        path.unlink()
        if kind == "empty":
            path.write_bytes(b"")
        elif kind == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif kind == "flipped":
            path.write_bytes(data[:-3] + bytes([data[-3] ^ 4]) + data[-2:])
        elif kind == "another log":
            path.write_bytes(otherwise(page, log=page.log[:-1] + "x"))
        elif kind == "another place":
            path.write_bytes(pages_of(subsystem_dir).file(32).read_bytes())
        elif kind == "too long":
            with mock.patch("ipfs_log_handlers.format.index_page.PAGE_BATCHES", 32):
                path.write_bytes(otherwise(page, first=0, lines=[*page.lines, b"null"], filters={}))
        elif kind == "too short":
            path.write_bytes(otherwise(page, lines=page.lines[:5], filters={}))
        elif kind == "another version":
            path.write_bytes(data.replace(b"av\x01", b"av\x02", 1))
        elif kind == "foreign chain":
            cid, other = b'"cid":"bafyrei', b'"cid":"bafyrej'
            path.write_bytes(otherwise(page, lines=[line.replace(cid, other) for line in page.lines]))
        elif kind == "link":
            (tmp_path / "page").write_bytes(data)
            path.symlink_to(tmp_path / "page")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "huge":
            with path.open("wb") as stream:
                stream.truncate(1 << 40)
        assert answers(open_dataset(indexed / "home")) == expected


def test_a_zone_map_of_wrong_kinds_rules_nothing_out(indexed: Path) -> None:
    """A whole page of a hostile home whose zone maps have values of wrong kinds is no error, and hides no record."""
    subsystem_dir = SubsystemDir(indexed / "home" / "logs")
    stats = (
        b'{"levels":{"5":"x"},"loggers":7,"events":[[1]],"fields":{"user":{"values":5,"min":"a"},"number":{"min":[]}}}'
    )
    with changed(subsystem_dir, 16) as path:
        page = page_at(subsystem_dir, 16)
        lines = [re.sub(rb'"stats":\{.*\},"ids"', b'"stats":' + stats + b',"ids"', line) for line in page.lines]
        path.write_bytes(otherwise(page, lines=lines))
        dataset = open_dataset(indexed / "home")
        for chosen in ({"where": {"user": "u1"}}, {"where": {"number": {">": 3}}}, {"logger": "t"}, {"event": "e"}):
            expected = [record["number"] for record in open_dataset(indexed / "plain").filter(**chosen)]
            found = [record["number"] for record in dataset.filter(**chosen)]
            assert set(found) <= set(expected)
            assert dataset.count() == 80


@pytest.mark.parametrize("verify", ["off", "batch", "chain"])
def test_a_page_that_hides_records_is_not_believed_where_keys_are_given(
    indexed: Path, verify: Literal["off", "batch", "chain"]
) -> None:
    """Nobody has signed a page: what a forged one hides is found, as manifests and records say."""
    subsystem_dir = SubsystemDir(indexed / "home" / "logs")
    key = open_home(indexed / "home").public_key()
    assert key is not None
    with changed(subsystem_dir, 0) as path:
        page = page_at(subsystem_dir, 0)
        empty = [re.sub(rb'"trace_id":\d+', b'"trace_id":0', line) for line in page.lines]
        filters = {**page.filters, "trace_id": [b""] * len(page.lines)}
        path.write_bytes(otherwise(page, lines=empty, filters=filters))
        believing = open_dataset(indexed / "home").filter(where={"trace_id": "trace-7"})
        assert list(believing) == []
        checking = open_dataset(indexed / "home", verify=verify, keys=[key.verifier])
        checking = checking.filter(where={"trace_id": "trace-7"})
        assert [record["number"] for record in checking] == [21, 22, 23]
        assert checking.explain().pages == 0


def test_reading_writes_nothing(indexed: Path, tmp_path: Path) -> None:
    """A home that is only readable is read with its pages, and without pages none are made."""
    for name in ("home", "plain"):
        copy = tmp_path / name
        shutil.copytree(indexed / name, copy)
        before = {str(path): path.stat().st_mtime_ns for path in [copy, *copy.rglob("*")]}
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o500 if path.is_dir() else 0o400)
        assert answers(open_dataset(copy)) == answers(open_dataset(indexed / "plain"))
        assert {str(path): path.stat().st_mtime_ns for path in [copy, *copy.rglob("*")]} == before
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o700)


# -- while the home changes


def test_answers_stay_right_while_batches_are_added_packed_and_indexed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries for an id beside a keeper that seals, packs, and writes and extends pages miss nothing."""
    indexed_homes.small_pages(monkeypatch, 16)
    failures: list[Any] = []
    sealed = [0]
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            through = sealed[0]
            for number in {0, through // 2, max(0, through - 1)}:
                found = [r["seq"] for r in open_dataset(home).filter(where={"request_id": f"request-{number}"})]
                if through and found != [number + 1]:
                    failures.append((through, number, found))
                    return

    asking = threading.Thread(target=ask)
    seal_records(home, [{"request_id": "request-0"}])
    sealed[0] = 1
    asking.start()
    try:
        for first in range(1, 60, 4):
            rows = [{"request_id": f"request-{number}"} for number in range(first, first + 4)]
            subsystem_dir = seal_records(home, rows, first=first + 1)
            sealed[0] = first + 4
            index(subsystem_dir)
    finally:
        stop.set()
        asking.join()
    assert failures == []
    assert open_dataset(home).filter(where={"request_id": "request-33"}).explain().opened <= 3


def test_an_ended_log_keeps_its_pages(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that ends takes its pages along, and the log after it gets its own."""
    indexed_homes.small_pages(monkeypatch, 16)
    subsystem_dir = seal_records(home, [{"request_id": f"old-{number}"} for number in range(20)])
    index(subsystem_dir)
    sample_homes.end(home, "logs")
    seal_records(home, [{"request_id": f"new-{number}"} for number in range(20)], first=21)
    index(subsystem_dir)
    dataset = open_dataset(home)
    for name, number in (("old", 7), ("new", 19)):
        chosen = dataset.filter(where={"request_id": f"{name}-{number}"})
        assert [record["request_id"] for record in chosen] == [f"{name}-{number}"]
        assert chosen.explain().opened <= 3
    assert dataset.explain().pages == 4


def test_a_payload_that_left_is_not_asked_for_when_its_filter_rules_it_out(home: Path) -> None:
    """Retention takes payloads and leaves filters: a query for another id needs no store."""
    subsystem_dir = seal_records(home, [{"request_id": f"request-{number}"} for number in range(12)])
    index(subsystem_dir)
    batches = Batches(subsystem_dir.current.batches)
    batches.strip(*range(10))
    assert [r["seq"] for r in open_dataset(home).filter(where={"request_id": "request-11"})] == [12]
    gaps: list[Any] = []
    assert list(open_dataset(home, on_gap=gaps.append).filter(where={"request_id": "request-3"})) == []
    assert [gap.index for gap in gaps] == [3]


def test_a_home_without_ids_has_zone_maps_in_its_pages(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records without a declared id give pages whose filters are empty: an id that is nowhere opens nothing."""
    indexed_homes.small_pages(monkeypatch, 16)
    index(seal_records(home, [{"number": number} for number in range(20)]))
    dataset = open_dataset(home)
    assert dataset.filter(where={"request_id": "x"}).explain().skipped == {"ids": 20}
    assert dataset.explain().pages == 2


OPERATIONS = ("seal", "seal", "index", "pack", "end", "delete a page", "delete the index", "damage a page")


@pytest.mark.slow
@settings(max_examples=10)
@given(operations=st.lists(st.sampled_from(OPERATIONS), min_size=3, max_size=8), data=st.data())
def test_random_filters_equal_brute_force_whatever_happened_to_the_home_before(
    tmp_path_factory: pytest.TempPathFactory, operations: list[str], data: st.DataObject
) -> None:
    """After any sealing, indexing, packing, ending of the log, loss and damage, answers are those of plain JSON."""
    home = tmp_path_factory.mktemp("any") / "home"
    plain: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        indexed_homes.small_pages(patch, 8)
        for operation in ("seal", "index", *operations):
            subsystem_dir = HomeDir(home).subsystem_dir("logs")
            pages = pages_of(subsystem_dir)
            if operation == "seal":
                fresh = [fields_of(number) for number in range(len(plain), len(plain) + 10)]
                seal_records(home, fresh, first=len(plain) + 1)
                plain += [{**fields, "seq": number} for number, fields in enumerate(fresh, len(plain) + 1)]
            elif operation == "index":
                index(subsystem_dir)
            elif operation == "pack":
                for _ in Upkeep(subsystem_dir).steps(max_files=1):
                    pass
            elif operation == "end" and subsystem_dir.current.head.exists():
                sample_homes.end(home, "logs")
            elif operation == "delete the index":
                shutil.rmtree(pages.path, ignore_errors=True)
            elif operation.endswith("a page") and pages.firsts():
                path = pages.where(data.draw(st.sampled_from(pages.firsts())))
                whole = path.read_bytes()
                path.unlink()
                if operation == "damage a page":
                    at = data.draw(st.integers(0, len(whole) - 1))
                    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        for _ in range(4):
            arguments, passes = data.draw(conditions)
            found = [record["number"] for record in open_dataset(home).filter(**arguments)]
            assert found == [record["number"] for record in plain if passes(record)], arguments
