"""A current copy of `ipfs_kit_py`, unmodified, with nothing but a dictConfig and `manager.install()`.

IPFS_KIT_PY names its checkout, IPFS_KIT_PYTHON an interpreter that has what it and this package need (this one, else).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader import archive_content
from ipfs_log_handlers.reader import archives as reading
from tests.support import oracle
from tests.support.archives import verified
from tests.support.programs import ROOT

CLASSES = {
    "audit", "logs", "wal", "telemetry", "health", "fs_monitor", "fs_replication", "lifecycle", "data_lifecycle",
}  # fmt: skip

pytestmark = pytest.mark.kit


@pytest.fixture(scope="module")
def driven(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Run the classes; return the home, and for each class "ok" or its error."""
    where = tmp_path_factory.mktemp("kit")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_LOGS_")}
    checkout = os.path.abspath(os.environ["IPFS_KIT_PY"])
    done = subprocess.run(
        [
            os.environ.get("IPFS_KIT_PYTHON", sys.executable),
            str(ROOT / "tests" / "support" / "kit_program.py"),
            str(where),
        ],
        env={
            **kept,
            "HOME": str(where),
            "IPFS_KIT_PY": checkout,
            "IPFS_LOGS_HOME": str(where / "home"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{checkout}",
        },
        cwd=where,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == done.returncode, done.stderr
    return where / "home", json.loads(done.stdout.splitlines()[-1])


def stored(home: Path) -> dict[str, list[reading.Version]]:
    """Return the stored versions by subsystem."""
    found: dict[str, list[reading.Version]] = {}
    for each in reading.versions(HomeDir(home)):
        found.setdefault(each.subsystem, []).append(each)
    return found


def bytes_of(version: reading.Version) -> bytes:
    """Return the bytes of a small archive."""
    with archive_content.opened(version) as get:
        return get(version.root)


def test_every_class_stores(driven):
    """All nine, and the journal as tenth, find the manager, and none of their calls fails."""
    _, told = driven

    assert dict.fromkeys([*CLASSES, "journal"], "ok") == told


def test_what_they_store_is_a_batch_of_its_subsystem(driven):
    """What each class stored lies in the log of its subsystem, sealed and verified, with the metadata it gave."""
    home, _ = driven
    found = stored(home)

    assert set(found) == CLASSES
    assert {"sealed"} == {each.state for every in found.values() for each in every}
    assert 100 == len(bytes_of(found["audit"][0]).splitlines())
    assert 100 == found["audit"][0].metadata["event_count"]
    assert b"one\ntwo\n" == bytes_of(found["logs"][0])
    assert ("ipfs-daemon", "1.0") == (found["logs"][0].meta["component"], found["logs"][0].version)
    assert b"operation_id" in bytes_of(found["wal"][0])
    assert 0 == verified(home)


def test_versions_of_the_journal(driven):
    """The journal's dataset and its version are one lineage, of the same bytes."""
    home, _ = driven
    table = [each for each in stored(home)["logs"] if each.name == "table"]

    assert ["1.0", "1.1"] == [each.version for each in table]
    assert table[0].root == table[1].root
    assert ["dedup"] == table[1].meta["transformations"]


def test_audit_events_are_structured_records(driven):
    """Its audit messages are JSON, and arrive as events with their fields."""
    home, _ = driven
    events = [each for each in oracle.sealed_records(home, "audit") if each["event"] == "audit.event"]

    assert 100 == len(events)
    assert [f"u{number}" for number in range(100)] == [each["user_id"] for each in events]
    assert {("authentication", "login", "success")} == {
        (each["event_type"], each["action"], each["status"]) for each in events
    }


def test_their_loggers_are_records_of_their_subsystem(driven):
    """What the other classes log is in the log of their subsystem, and nothing of it elsewhere."""
    home, _ = driven
    records: dict[str, list[dict[str, Any]]] = {
        name: [record for log in logs for record in log.records] for name, logs in oracle.read_home(home).items()
    }
    by_logger = {
        (name, record["logger"])
        for name, every in records.items()
        for record in every
        if record["logger"].startswith("ipfs_kit_py.")
    }

    assert {
        ("wal", "ipfs_kit_py.storage_wal"),
        ("telemetry", "ipfs_kit_py.wal_telemetry"),
        ("fs_monitor", "ipfs_kit_py.fs_journal_monitor"),
        ("fs_replication", "ipfs_kit_py.fs_journal_replication"),
        ("lifecycle", "ipfs_kit_py.mcp.enterprise.lifecycle"),
        ("data_lifecycle", "ipfs_kit_py.mcp.enterprise.data_lifecycle"),
    } <= by_logger
    assert len({logger for _, logger in by_logger}) == len(by_logger)
