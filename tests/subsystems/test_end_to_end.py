"""All subsystems log into one real daemon; what each batch there says of its records is so."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.home import head
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.verify.log import verify
from tests.kubo.daemon import Daemon
from tests.support import oracle, programs, recount_oracle
from tests.support.subsystem_events import LOGGERS

ALL = """
    from tests.support.subsystem_events import LOGGERS, samples
    handlers = {name: handler(name, kubo=KUBO, metadata=METADATA.get(name), flush_timeout=60.0) for name in LOGGERS}
    loggers = {logger: {"handlers": [name], "propagate": False} for name, logger in LOGGERS.items() if name != "logs"}
    logging.config.dictConfig({"version": 1, "handlers": handlers, "loggers": loggers,
                               "root": {"level": "INFO", "handlers": ["logs"]}})
    streams = {logging.getLogger(logger): samples(name, COUNT) for name, logger in LOGGERS.items()}
    for _ in range(COUNT):
        for log, stream in streams.items():
            text, fields = next(stream)
            log.info(text, extra=fields)
    logging.shutdown()
"""
METADATA: dict[str, dict[str, Any]] = {
    "logs": {"components": {"app": "shop"}},
    "telemetry": {"sampling_interval": 15},
    "fs_monitor": {"node": "n-0"},
}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_all_subsystems_log_into_one_daemon(home: Path, kubo: Daemon, count: int) -> None:
    """So many records of each, one dictConfig: all are in the daemon, and every `meta` and zone map is so."""
    programs.run(home, ALL, KUBO=kubo.url, METADATA=METADATA, COUNT=count, deadline_s=120).clean()
    left_out = 0
    for name in LOGGERS:
        sealed = head.load(HomeDir(home).subsystem_dir(name).current.head)
        assert sealed is not None
        there = oracle.read_daemon(lambda cid: kubo.rpc(f"block/get?arg={cid}&offline=true"), sealed.cid.text)
        assert count == sum(check(name, batch) for batch in there.batches)
        left_out += sum(batch.manifest["meta"].get("left_out", 0) for batch in there.batches)
    assert len(LOGGERS) * count // 50 < left_out < len(LOGGERS) * count // 20
    assert list(subsystems.names()) == list(LOGGERS)
    reports = list(verify(HomeDir(home)))
    assert [] == [problem for report in reports for problem in report.problems]
    assert len(LOGGERS) == len(reports)


def check(name: str, batch: oracle.Batch) -> int:
    """Count a batch again, from its payload; return how many records it has."""
    manifest = batch.manifest
    records = [json.loads(line) for line in batch.lines or ()]
    own = subsystems.get(name)
    configured = METADATA.get(name, {})
    expected = recount_oracle.own_meta(
        name, records, index=manifest["index"], first=manifest["first"], configured=configured
    )
    assert manifest["first"] == min(_micros(record["time"]) for record in records)
    assert {
        "type": own.type,
        "timestamp": datetime.fromtimestamp(manifest["sealed"] / 1e6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "version": "1.0",
        "record_count": len(records),
        **expected,
    } == manifest["meta"]
    zone = {field: recount_oracle.zone_of(records, field) for field in own.zone}
    assert zone == manifest["stats"].get("fields", {})
    return len(records)


def _micros(text: str) -> int:
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    return round((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(microseconds=1))
