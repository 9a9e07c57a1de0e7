"""The public names as a typed program uses them; each type that a user sees is stated here.

An `ignore` marks what mypy must refuse: under `strict` one that is not needed is an error.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from typing_extensions import assert_type

import ipfs_log_handlers
from ipfs_log_handlers import (
    ConfigurationError,
    FormatError,
    HeldError,
    HomeError,
    IPFSHandler,
    IPFSProcessor,
    LogStoreError,
    RecordError,
    StoreDenied,
    StoreError,
    StoreRejected,
    StoreUnavailable,
    Subsystem,
    VerificationError,
    check,
    open_dataset,
    open_home,
)
from ipfs_log_handlers.api import (
    BatchDetail,
    BatchInfo,
    Bucket,
    CarExport,
    DataKey,
    Dataset,
    EarlierKey,
    EndedLog,
    Entry,
    ExportedLog,
    Following,
    Fork,
    Gap,
    GapKind,
    HealthCheck,
    Hold,
    Home,
    HomeHeadFile,
    ImportedLog,
    KnownKey,
    LogDifference,
    LogReport,
    LogSnapshot,
    LogState,
    LogSummary,
    LostBatch,
    Match,
    MirroredLog,
    OpenArchive,
    Plan,
    PlannedBatch,
    PlannedBatches,
    Problem,
    ProvenRecord,
    PruneResult,
    PublicKey,
    Published,
    Records,
    Repair,
    Report,
    RotatedKey,
    SameLog,
    SealedBatch,
    ShippedBatch,
    ShipResult,
    ShreddedKeys,
    SqlAnswer,
    SqlLimits,
    SqlSession,
    Stats,
    Step,
    Stop,
    SubsystemStatus,
    TileExport,
    Version,
    check_fork,
    find_home,
    issue_keys,
    issued_keys_in,
    known_logs,
    moment_of,
    parent_of,
    pin_addresses,
    prove_from_head,
    read_policy,
    records_from,
    shred_issued_keys,
    store_addresses,
    verify_sources,
    wait_for_home,
)
from ipfs_log_handlers.manager import DatasetsManager, configure, get_ipfs_datasets_manager, install
from ipfs_log_handlers.rotator import Rotator, archiving
from ipfs_log_handlers.testing import Capture, FakeKubo, Request, Response, capture
from ipfs_log_handlers.testing.fixtures import fake_kubo, ipfs_logs

Processor = Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]
"""What structlog takes for a processor, among others."""


def handlers() -> logging.Handler:
    assert_type(IPFSHandler(), IPFSHandler)
    assert_type(Subsystem(name="bills", type="bills", zone=["amount"], ids=["invoice"], private=True), Subsystem)
    handler = IPFSHandler(
        "audit",
        level="INFO",
        home=Path("home"),
        kubo=["http://127.0.0.1:5001", "/dns4/kubo/tcp/5001"],
        token="env:TOKEN",
        pins=["cluster+http://127.0.0.1:9094", "remote:backup"],
        pins_token="env:CLUSTER",
        replicas=2,
        batch={"records": 100, "seconds": 10},
        allow_public=True,
        redact={"user_id": "pseudonym", "@email": "hide"},
        include=["source", "thread", "process", "task", "host"],
        default=str,
        on_drop=lambda reason, count: print(reason.upper(), count + 1),
    )
    assert_type(handler.subsystem, str | None)
    assert_type(handler.flush(), None)
    assert_type(handler.close(), None)
    assert_type(handler.status(), list[dict[str, Any]])
    assert_type(handler.emit(logging.makeLogRecord({})), None)
    IPFSHandler(5)  # type: ignore[arg-type]
    IPFSHandler("audit", "INFO")  # type: ignore[call-arg]
    IPFSHandler("audit", kubbo="auto")  # type: ignore[call-arg]
    IPFSHandler("audit", durability="disk")  # type: ignore[arg-type]
    IPFSHandler("audit", redact=["password", "@iban"])
    IPFSHandler("audit", redact=lambda fields: fields)
    IPFSHandler("audit", redact={"user_id": "encrypt"})  # type: ignore[dict-item]
    IPFSHandler("audit", include="everything")  # type: ignore[arg-type]
    IPFSHandler("audit", default="str")  # type: ignore[arg-type]
    IPFSHandler("audit", on_drop="str")  # type: ignore[arg-type]
    return handler


def processors() -> Processor:
    processor = IPFSProcessor("audit", level=logging.INFO, home="home")
    assert_type(processor(None, "info", {"event": "e"}), MutableMapping[str, Any])
    assert_type(processor.flush(), None)
    assert_type(processor.close(), None)
    assert_type(processor.status(), list[dict[str, Any]])
    return processor


def managers() -> DatasetsManager:
    assert_type(configure(home="home", kubo="auto", token="env:TOKEN"), DatasetsManager)
    assert_type(install(), ModuleType)
    manager = get_ipfs_datasets_manager(ipfs_client=None, enable=True)
    assert_type(manager, DatasetsManager)
    get_ipfs_datasets_manager(home="home")  # type: ignore[arg-type]
    assert_type(manager.is_available(), bool)
    assert_type(manager.store("path", metadata={"type": "logs"}), dict[str, Any])
    assert_type(manager.store(Path("path"), None), dict[str, Any])
    assert_type(manager.store(data=b"", metadata={}), dict[str, Any])
    assert_type(manager.load("cid", target_path=None), dict[str, Any])
    assert_type(manager.version("name", "1", parent_version=None, transformations=["t"]), dict[str, Any])
    assert_type(manager.get_event_log(), list[dict[str, Any]])
    assert_type(manager.get_provenance_log(), list[dict[str, Any]])
    assert_type(manager.flush(), bool)
    assert_type(manager.close(), None)
    manager.store(5)  # type: ignore[arg-type]
    return manager


def homes(gaps: list[Gap], damaged: list[Exception]) -> Home:
    home = open_home()
    assert_type(home, Home)
    assert_type(open_home("home", must_exist=False), Home)
    assert_type(open_home(find_home()), Home)
    assert_type(home.path, Path)
    assert_type(home.subsystems, tuple[str, ...])
    assert_type(home.chosen(["audit"]), tuple[str, ...])
    assert_type(home.status(), tuple[SubsystemStatus, ...])
    assert_type(home.openmetrics(["audit"]), str)
    assert_type(home.logs(), tuple[LogState, ...])
    assert_type([log.step(3) for log in home.logs()], list[Step])
    assert_type(home.batch_with_cid("bafy"), BatchDetail | None)
    assert_type(home.batch_at("audit", 0), BatchDetail | None)
    assert_type(home.record_at("bafy", 3, on_gap=gaps.append), tuple[str, bytes] | None)
    assert_type(home.batches(["audit"], on_damage=damaged.append), Iterator[BatchInfo])
    assert_type(home.batch_lines(["audit"], on_damage=damaged.append), Iterator[bytes])
    with home.dataset(on_gap=gaps.append, stores=["http://127.0.0.1:5001"], token="env:TOKEN", fetch=True) as dataset:
        assert_type(dataset, Dataset)
        assert_type(dataset.records("audit", sealed_only=True), Iterator[dict[str, Any]])
        assert_type(dataset.lines("audit"), Iterator[bytes])
        assert_type(dataset.batch("cid"), Iterator[tuple[str, bytes]] | None)
    assert_type(home.verify(["audit"], keys=["name+id+key"], progress=lambda *_: None), Iterator[Report])
    home.verify(stores=["auto"], token="env:TOKEN", fetch=True, on_store_problem=print)
    home.verify(identity=["a.txt", Path("b.txt")], key_directory="keys")
    assert_type(home.prove("cid", 3, identity="a.txt", key_directory=Path("keys")), bytes)
    assert_type(home.prove("cid", 3, keys=["k"], stores=["auto"], token="env:TOKEN", fetch=True), bytes)
    assert_type(home.prove_seq("audit", 3, pid=7, progress=lambda *_: None), bytes)
    assert_type(prove_from_head("head", "cid", 3, gateway="http://127.0.0.1:8080", keys=["k"]), bytes)
    home.verify(since="10m", sample=5, memory="known")
    home.status("audit", "wal")  # type: ignore[call-arg]
    home.batches(on_damage=5)  # type: ignore[arg-type]
    return home


def datasets(home: Home, gaps: list[Gap]) -> Dataset:
    dataset = open_dataset([home, "home", Path("home")], on_gap=gaps.append, verify="chain", keys=["name+id+key"])
    assert_type(dataset, Dataset)
    assert_type(open_dataset("bafy", gateway="http://127.0.0.1:8080", keys=["k"]), Dataset)
    assert_type(open_dataset("bafy", kubo="auto", token="env:TOKEN"), Dataset)
    assert_type(open_dataset(identity="a.txt", key_directory="keys"), Dataset)
    assert_type([(gap.kind, gap.records) for gap in gaps], list[tuple[GapKind, int | None]])
    open_dataset(identity=5)  # type: ignore[arg-type]
    narrow = dataset.filter(since="10m", until=5.0, level="warning", logger=["a", "b.*"], subsystem="audit")
    assert_type(narrow, Dataset)
    assert_type(narrow.filter(where={"status": {">": 5}}, contains="x", event="e", include="a", exclude=["b"]), Dataset)
    assert_type(narrow.reverse().limit(5).select("time", "event"), Dataset)
    assert_type(narrow.last(5).concat(dataset), Dataset)
    records = iter(narrow)
    assert_type(records, Records)
    assert_type(next(records), dict[str, Any])
    assert_type(records.stats, Stats)
    assert_type(narrow.matches(), Iterator[Match])
    assert_type(narrow.count(), int)
    assert_type(narrow.histogram("1m", by="level"), list[Bucket])
    assert_type(narrow.top("user_id", n=20), list[tuple[Any, int]])
    assert_type(narrow.distinct("user_id"), list[Any])
    assert_type(narrow.export("file.jsonl", progress=lambda _: None), int)
    assert_type(list(records_from(narrow.to_arrow())), list[dict[str, Any]])
    assert callable(narrow.to_batches(rows=5).read_all)
    assert callable(narrow.select("time").to_pandas().info)
    assert callable(narrow.to_polars().describe)
    assert callable(narrow.sql("SELECT 1", stats=Stats(), timezone=None).to_pylist)
    assert_type(narrow.explain_sql("SELECT 1", timezone=None), Plan)
    narrow.to_duckdb(object(), "logs")
    assert_type(narrow.sql_untrusted("SELECT 1", SqlLimits(rows=5), stats=Stats()), SqlAnswer)
    with narrow.sql_session(timezone="UTC") as session:
        assert_type(session, SqlSession)
        assert_type(session.answer("SELECT 1"), SqlAnswer | None)
    narrow.to_batches(rows="five")  # type: ignore[arg-type]
    following = narrow.context(1).follow("cursor", last=5)
    assert_type(following, Following)
    assert_type(following.cursor, str)
    assert_type(next(following), dict[str, Any])
    assert_type(following.poll(), list[Match])
    assert_type(narrow.as_of("bafy").as_of("10m").as_of(5.0), Dataset)
    assert_type(narrow.diff(dataset), tuple[LogDifference, ...])
    assert_type(narrow.verify(), tuple[LogReport, ...])
    assert_type(narrow.redact("*password*", "@email"), Dataset)
    assert_type(narrow.redact("password").hidden({"a": 5}), Any)
    assert_type([narrow.hidden_match(match) for match in narrow.matches()], list[Match])
    assert_type(narrow.stopped_by(lambda: None), Dataset)
    assert_type(narrow.logs(), tuple[LogSummary, ...])
    assert_type(
        [(log.subsystem, log.head, log.as_json()) for log in narrow.logs()],
        list[tuple[str, str | None, dict[str, Any]]],
    )
    assert_type(narrow.batch_with_cid("cid"), SealedBatch | None)
    assert_type(narrow.record_at("cid", 3), Match | None)
    assert_type(narrow.records_with_seq("audit", 3, pid=7), tuple[Match, ...])
    narrow.redact({"user_id": "pseudonym"})  # type: ignore[arg-type]
    bundle = narrow.prove({"subsystem": "audit"})
    assert_type(bundle, bytes)
    proven = check(bundle, "name+id+key")
    assert_type(proven, ProvenRecord)
    assert_type(check(bundle, ["a", "b"]).record, Mapping[str, Any])
    assert_type((proven.line, proven.subsystem, proven.index, proven.sealed), tuple[bytes, str, int, str])
    assert_type(proven.as_json(), dict[str, Any])
    proven.number = 5  # type: ignore[misc]
    reports = narrow.verify(deep=False, since=5.0, sample=1, memory=True, progress=lambda *_: None)
    assert_type([report.result for report in reports], list[str])
    sources = verify_sources(["bafy", Path("home")], ["audit"], keys=["k"], gateway="http://127.0.0.1:8080")
    assert_type(sources, Iterator[Report])
    assert_type(check_fork(b"", "name+id+key"), Fork)
    assert_type(read_policy("file"), tuple[str, ...])
    assert_type(known_logs(), Path)
    assert_type(narrow.stopped_by(lambda: None), Dataset)
    assert_type(narrow.predicate(), Callable[[Match], bool])
    assert_type([narrow.batch_of(match) for match in narrow.matches()], list[SealedBatch | None])
    assert_type(moment_of("10m", now=0.0), int)
    plan = narrow.explain()
    assert_type(plan, Plan)
    assert_type(plan.batches, tuple[PlannedBatch, ...])
    assert_type((plan.pages, plan.manifests), tuple[int, int])
    assert_type(plan.ruled_out, dict[str, int])
    assert_type(plan.fitting_span(40), int)
    open_dataset(verify="some")  # type: ignore[arg-type]
    dataset.filter(levels="error")  # type: ignore[call-arg]
    return dataset


def archives(home: Home, older: Sequence[Version]) -> None:
    version = home.archive("path", subsystem="wal", name="n", version="1", component="c", metadata={"k": 1})
    assert_type(version, Version)
    assert_type(home.archives("name"), tuple[Version, ...])
    assert_type(home.archive_as_of("name", "2026"), Version | None)
    assert_type(home.archive_with_cid("cid"), Version | None)
    assert_type(parent_of(version, older), str | None)
    with home.open_archive(version) as archive:
        assert_type(archive, OpenArchive)
        assert_type(archive.entries(), Iterator[Entry])
        entry = archive.entry("a/b")
        assert_type(entry, Entry | None)
        assert entry is not None
        assert_type(archive.read(entry), Iterator[bytes])
        assert_type(archive.restore(Path("target")), None)


def sharing(home: Home, seen: list[tuple[str, int, int]]) -> None:
    """Give a log to others."""
    for snapshot in home.snapshot(["audit"], stores=["auto"], token="env:TOKEN", progress=lambda *at: seen.append(at)):
        assert_type(snapshot, LogSnapshot)
        assert_type(snapshot.cid, str)
        assert_type(snapshot.stores, tuple[str, ...])
        assert_type(snapshot.problems, Mapping[str, str])
        assert_type(snapshot.as_json(), dict[str, Any])
    exported = home.export_car("log.car", ["audit"], since="1h", until=2.5, stores=["auto"], fetch=True)
    assert_type(exported, CarExport)
    assert_type(exported.logs, tuple[ExportedLog, ...])
    assert_type(home.import_car("log.car", keys=["k"], progress=print), tuple[ImportedLog, ...])
    assert_type(home.lines("audit"), Iterator[tuple[str | None, bytes]])
    assert_type(home.mirror(["/ipns/k51"], keys=["k"], gateway="http://g", pin=["auto"]), Iterator[MirroredLog])
    for tiles in home.export_tiles(Path("public")):
        assert_type(tiles, TileExport)
        assert_type(tiles.as_json(), dict[str, Any])


def shipping(home: Home, shipped: list[ShippedBatch]) -> None:
    stop = Stop()
    assert_type(stop.request(), None)
    stores = store_addresses(["http://127.0.0.1:5001"])
    pins = pin_addresses(["remote:backup"])
    assert_type(stores, tuple[str, ...])
    keepers: list[Mapping[str, Any]] = []
    result = home.ship(
        stores, token="env:TOKEN", timeout=1, on_shipped=shipped.append, on_keeper=keepers.append, stop=stop
    )
    assert_type(wait_for_home(stop, lambda _: None), Path | None)
    assert_type(result, ShipResult)
    assert_type(result.complete, bool)
    assert_type(result.unsealed, tuple[str, ...])
    assert_type(result.reason, str | None)
    assert_type(home.follow(stores, publish=True, on_shipped=shipped.append, stop=stop), None)
    published = home.publish(stores, token="env:TOKEN", timeout=1)
    assert_type(published, Published)
    assert_type((published.name, published.sequence), tuple[str, int])
    written = home.write_home_head(Path("home-head.car"), stores, timeout=1)
    assert_type(written, HomeHeadFile)
    assert_type(written.content, bytes)
    assert_type(home.retry_set_aside(), None)
    assert_type(home.ship(stores, pins=pins, pins_token="env:CLUSTER"), ShipResult)
    assert_type(home.send_again(stores, pins=pins), tuple[LostBatch, ...])
    assert_type(home.health(stores, pins=pins), Iterator[HealthCheck])
    repairs = home.repair()
    assert_type(repairs, tuple[Repair, ...])
    assert_type(home.health(repairs=repairs), Iterator[HealthCheck])
    assert_type(home.public_key(), PublicKey | None)
    assert_type(home.new_log("audit"), EndedLog)
    assert_type(home.earlier_keys(), tuple[EarlierKey, ...])
    assert_type(home.holds(["audit"]), tuple[Hold, ...])
    assert_type(home.set_hold("audit", reason="case 12", since="2026-01-01", until=5.0, by="ada"), Hold)
    assert_type(home.release_hold("audit", "1f2e", reason="closed"), tuple[Hold, ...])
    assert_type(home.plan_retention(["audit"], keep="400d"), tuple[PlannedBatches, ...])
    assert_type(home.apply_retention(reason="old", by="ada"), tuple[PruneResult, ...])
    assert_type(home.rotate_key(), RotatedKey)
    issued = issue_keys("keys", "audit", "2027-01", "2027-12", ["age1…"])
    assert_type(issued, tuple[DataKey, ...])
    assert_type(home.accept_keys(issued_keys_in("issued")), tuple[DataKey, ...])
    assert_type(home.data_keys(["audit"]), tuple[KnownKey, ...])
    assert_type(home.data_keys(scope="acme"), tuple[KnownKey, ...])
    assert_type(home.shred_keys("2027-01", reason="asked for"), tuple[ShreddedKeys, ...])
    assert_type(home.shred_keys(scope="acme", reason="asked for"), tuple[ShreddedKeys, ...])
    assert_type(shred_issued_keys("keys", "2027-01", reason="asked for"), tuple[ShreddedKeys, ...])
    assert_type(home.export_key("key.pem", passphrase="secret"), PublicKey)
    assert_type(home.import_key("key.pem"), PublicKey)
    assert_type(home.same_logs(["audit"]), tuple[SameLog, ...])


def results(status: SubsystemStatus, batch: BatchInfo, report: Report, problem: Problem, check: HealthCheck) -> None:
    for each in (status, batch, report, problem, check):
        assert_type(each.as_json(), dict[str, Any])
    assert_type(status.dropped, Mapping[str, int])
    assert_type(status.oldest_unshipped, float | None)
    assert_type(batch.contents, str)
    assert_type(report.problems, tuple[Problem, ...])
    status.durable = 5  # type: ignore[misc]


def rotators(handler: logging.handlers.RotatingFileHandler) -> None:
    handler.rotator = Rotator("wal", component="c", home="home")
    assert_type(archiving({"component": "c"}, filename="f"), logging.handlers.BaseRotatingHandler)
    Rotator(5)  # type: ignore[arg-type]


def errors(error: LogStoreError) -> tuple[list[type[ValueError]], list[type[OSError]], list[type[StoreError]]]:
    assert_type(error.message, str)
    assert_type(error.expected, object)
    assert_type(error.found, object)
    assert_type(error.where, object)
    assert_type(error.hint, str | None)
    assert_type(StoreUnavailable("m").retry_after, float | None)
    ours: list[type[LogStoreError]] = [ConfigurationError, FormatError, HeldError, HomeError, StoreError]
    ours.append(VerificationError)
    assert_type(RecordError("m").kind, Literal["missing", "unsealed", "several"])
    assert ours
    return [ConfigurationError, FormatError], [HomeError], [StoreUnavailable, StoreDenied, StoreRejected]


def names() -> None:
    assert_type(ipfs_log_handlers.__all__, list[str])
    ipfs_log_handlers.Handler  # type: ignore[attr-defined]  # noqa: B018


def tests(asked: Request) -> None:
    assert_type(capture(), AbstractContextManager[Capture])  # type: ignore[assert-type]
    with capture(os.curdir) as captured:
        assert_type(captured, Capture)
        assert_type(captured.home, Path)
        assert_type(captured.records("audit"), list[dict[str, Any]])
        assert_type(captured.events(), list[str])
    with FakeKubo(version="0.42.0") as daemon:
        assert_type(daemon, FakeKubo)
        assert_type(daemon.url, str)
        assert_type(daemon.uploads(), list[Request])
        daemon.respond_once("dag/import", Response(status=503), lambda asked: Response(body=(asked.body,)))
        daemon.respond_once("dag/import", 503)  # type: ignore[arg-type]
    assert_type(asked.query, dict[str, str])
    assert callable(ipfs_logs)
    assert callable(fake_kubo)
