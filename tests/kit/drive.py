"""Drives the classes of an unmodified `ipfs_kit_py`, with one dictConfig and `manager.install()` around it.

Prints one JSON object: by subsystem "ok", or why its class could not be driven. Runs in an environment that has what
`ipfs_kit_py` needs; the first argument is an empty directory.
"""

from __future__ import annotations

import importlib
import json
import logging
import logging.config
import os
import sys
import time
import types
from pathlib import Path
from typing import Any
from unittest import mock

from ipfs_log_handlers import manager

ROOM = Path(sys.argv[1])
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"kept": {"class": "ipfs_log_handlers.IPFSHandler"}},
    "root": {"handlers": ["kept"], "level": "INFO"},
}


def kit(name: str) -> Any:
    """A module of the package."""
    return importlib.import_module(f"ipfs_kit_py.{name}")


def audit() -> None:
    """A hundred events are a batch."""
    logger = kit("mcp.auth.audit_logging").AuditLogger(enable_dataset_storage=True)
    for number in range(100):
        logger.log("authentication", "login", user_id=f"u{number}", status="success")


def logs() -> None:
    """The log files of a component, aggregated."""
    module = kit("log_manager")
    module.LOGS_PATH = ROOM / "logs"
    module.LOGS_PATH.mkdir()
    (module.LOGS_PATH / "ipfs-daemon.log").write_text("one\ntwo\n")
    stored = module.LogManager(enable_dataset_storage=True).store_logs_as_dataset("ipfs-daemon", "1.0")
    assert stored["success"] is True


def wal() -> None:
    """A partition is stored when the log is closed."""
    made = kit("storage_wal").StorageWriteAheadLog(
        base_path=str(ROOM / "wal"), process_interval=3600, enable_dataset_storage=True
    )
    for number in range(5):
        made.add_operation("add", "ipfs", {"path": f"/x{number}"})
    made.close()


def telemetry() -> None:
    """Metrics, on demand."""
    made = kit("wal_telemetry").WALTelemetry(
        metrics_path=str(ROOM / "telemetry"), sampling_interval=3600, enable_dataset_storage=True
    )
    made.flush_metrics_to_dataset()
    made.close()


def health() -> None:
    """Its package imports from itself and fails; the module alone does not."""
    package = types.ModuleType("ipfs_kit_py.mcp.monitoring")
    package.__path__ = [os.path.join(os.environ["IPFS_KIT_PY"], "ipfs_kit_py", "mcp", "monitoring")]
    package.__dict__["__getattr__"] = lambda _: object
    sys.modules[package.__name__] = package
    made = kit("mcp.monitoring.health").HealthCheckManager(mock.MagicMock(), enable_dataset_storage=True)
    made.flush_health_results_to_dataset()


def fs_monitor() -> None:
    """Two statistics are a batch."""
    made = kit("fs_journal_monitor").JournalHealthMonitor(
        check_interval=3600, stats_dir=str(ROOM / "stats"), enable_dataset_storage=True, dataset_batch_size=2
    )
    for number in range(2):
        made._store_stats_to_dataset({"timestamp": time.time(), "number": number})


def fs_replication() -> None:
    """Two operations are a batch."""
    config = {"base_path": str(ROOM / "replication"), "enable_dataset_storage": True, "dataset_batch_size": 2}
    made = kit("fs_journal_replication").MetadataReplicationManager(node_id="n1", role="master", config=config)
    for number in range(2):
        made._store_operation_to_dataset({"operation": "save_state", "number": number})


def lifecycle() -> None:
    """Each save is an operation."""
    made = kit("mcp.enterprise.lifecycle").LifecycleManager(
        metadata_db_path=str(ROOM / "lifecycle.json"), enable_dataset_storage=True, dataset_batch_size=1
    )
    made._save_metadata()


def data_lifecycle() -> None:
    """Each event is a batch."""
    made = kit("mcp.enterprise.data_lifecycle").DataLifecycleManager(
        str(ROOM / "data"), enable_dataset_storage=True, dataset_batch_size=1
    )
    made._store_event_to_dataset({"event_id": "e1"})


def journal() -> None:
    """The tenth consumer stores, versions, and asks for the logs of both."""
    made = kit("filesystem_journal").FilesystemJournal(base_path=str(ROOM / "journal"), enable_ipfs_datasets=True)
    (ROOM / "rows").write_text("rows")
    assert made.store_dataset(str(ROOM / "rows"), {"name": "table"})["success"] is True
    assert made.version_dataset("table", "1.1", transformations=["dedup"])["success"] is True
    datasets = manager.get_ipfs_datasets_manager()
    assert datasets.get_event_log()
    assert [each["version"] for each in datasets.get_provenance_log()] == ["1.1"]


def main() -> None:
    """Drive them all; the end of the program seals what they left."""
    logging.config.dictConfig(LOGGING)
    manager.install()
    told = {}
    for work in (audit, logs, wal, telemetry, health, fs_monitor, fs_replication, lifecycle, data_lifecycle, journal):
        try:
            work()
            told[work.__name__] = "ok"
        except Exception as error:  # noqa: BLE001 - told
            told[work.__name__] = f"{type(error).__name__}: {error}"
    os.write(1, json.dumps(told).encode() + b"\n")
    logging.shutdown()
    os._exit(0 if manager.get_ipfs_datasets_manager().flush(20) else 3)  # its threads never end


if __name__ == "__main__":
    main()
