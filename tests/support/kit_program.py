"""Use the classes of an unmodified `ipfs_kit_py`, after one dictConfig and `manager.install()`.

The program prints one JSON object: for each class "ok", or its error. It runs in an environment that has what
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

DIRECTORY = Path(sys.argv[1])
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"kept": {"class": "ipfs_log_handlers.IPFSHandler"}},
    "root": {"handlers": ["kept"], "level": "INFO"},
}


def kit(name: str) -> Any:
    """Import a module of the package."""
    return importlib.import_module(f"ipfs_kit_py.{name}")


def audit() -> None:
    """Log a hundred events, which are a batch."""
    logger = kit("mcp.auth.audit_logging").AuditLogger(enable_dataset_storage=True)
    for number in range(100):
        logger.log("authentication", "login", user_id=f"u{number}", status="success")


def logs() -> None:
    """Aggregate the log files of a component."""
    module = kit("log_manager")
    module.LOGS_PATH = DIRECTORY / "logs"
    module.LOGS_PATH.mkdir()
    (module.LOGS_PATH / "ipfs-daemon.log").write_text("one\ntwo\n")
    stored = module.LogManager(enable_dataset_storage=True).store_logs_as_dataset("ipfs-daemon", "1.0")
    assert stored["success"] is True


def wal() -> None:
    """Close the log, which stores a partition."""
    made = kit("storage_wal").StorageWriteAheadLog(
        base_path=str(DIRECTORY / "wal"), process_interval=3600, enable_dataset_storage=True
    )
    for number in range(5):
        made.add_operation("add", "ipfs", {"path": f"/x{number}"})
    made.close()


def telemetry() -> None:
    """Flush the metrics."""
    made = kit("wal_telemetry").WALTelemetry(
        metrics_path=str(DIRECTORY / "telemetry"), sampling_interval=3600, enable_dataset_storage=True
    )
    made.flush_metrics_to_dataset()
    made.close()


def health() -> None:
    """Import the module alone, since the import of its package fails, and flush the results."""
    package = types.ModuleType("ipfs_kit_py.mcp.monitoring")
    package.__path__ = [os.path.join(os.environ["IPFS_KIT_PY"], "ipfs_kit_py", "mcp", "monitoring")]
    package.__dict__["__getattr__"] = lambda _: object
    sys.modules[package.__name__] = package
    made = kit("mcp.monitoring.health").HealthCheckManager(mock.MagicMock(), enable_dataset_storage=True)
    made.flush_health_results_to_dataset()


def fs_monitor() -> None:
    """Store two statistics, which are a batch."""
    made = kit("fs_journal_monitor").JournalHealthMonitor(
        check_interval=3600, stats_dir=str(DIRECTORY / "stats"), enable_dataset_storage=True, dataset_batch_size=2
    )
    for number in range(2):
        made._store_stats_to_dataset({"timestamp": time.time(), "number": number})


def fs_replication() -> None:
    """Store two operations, which are a batch."""
    config = {"base_path": str(DIRECTORY / "replication"), "enable_dataset_storage": True, "dataset_batch_size": 2}
    made = kit("fs_journal_replication").MetadataReplicationManager(node_id="n1", role="master", config=config)
    for number in range(2):
        made._store_operation_to_dataset({"operation": "save_state", "number": number})


def lifecycle() -> None:
    """Save the metadata, which is one operation."""
    made = kit("mcp.enterprise.lifecycle").LifecycleManager(
        metadata_db_path=str(DIRECTORY / "lifecycle.json"), enable_dataset_storage=True, dataset_batch_size=1
    )
    made._save_metadata()


def data_lifecycle() -> None:
    """Store one event, which is a batch."""
    made = kit("mcp.enterprise.data_lifecycle").DataLifecycleManager(
        str(DIRECTORY / "data"), enable_dataset_storage=True, dataset_batch_size=1
    )
    made._store_event_to_dataset({"event_id": "e1"})


def journal() -> None:
    """Store and version a dataset, and read the logs of both."""
    made = kit("filesystem_journal").FilesystemJournal(base_path=str(DIRECTORY / "journal"), enable_ipfs_datasets=True)
    (DIRECTORY / "rows").write_text("rows")
    assert made.store_dataset(str(DIRECTORY / "rows"), {"name": "table"})["success"] is True
    assert made.version_dataset("table", "1.1", transformations=["dedup"])["success"] is True
    datasets = manager.get_ipfs_datasets_manager()
    assert datasets.get_event_log()
    assert [version["version"] for version in datasets.get_provenance_log()] == ["1.1"]


def main() -> None:
    """Use all classes; the end of the program seals what they have stored."""
    logging.config.dictConfig(LOGGING)
    manager.install()
    results = {}
    for work in (audit, logs, wal, telemetry, health, fs_monitor, fs_replication, lifecycle, data_lifecycle, journal):
        try:
            work()
            results[work.__name__] = "ok"
        except Exception as error:  # noqa: BLE001 - printed
            results[work.__name__] = f"{type(error).__name__}: {error}"
    os.write(1, json.dumps(results).encode() + b"\n")
    logging.shutdown()
    os._exit(0 if manager.get_ipfs_datasets_manager().flush(20) else 3)  # its threads never end


if __name__ == "__main__":
    main()
