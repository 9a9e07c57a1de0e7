"""Read, check, ship and repair a home. Start with `open_home`.

    home = open_home()
    for subsystem in home.status():
        print(subsystem.subsystem, subsystem.durable, subsystem.shipped)

The command line `ipfs-logs` only reads arguments, calls these methods, and prints their results; a program, a notebook
or a server can call the same methods. Results are frozen values; their `as_json()` has the keys that `ipfs-logs -o
json` promises. All methods are synchronous. They may be called inside a running event loop, which then waits until the
method returns. Writers and a keeper may work on the home at the same time. A method during which no keeper may run
takes the lock of the home; its docstring says so. docs/api.md has more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.api.home import Home, pin_addresses, store_addresses
from ipfs_log_handlers.api.opening import find_home, open_dataset, open_home, wait_for_home
from ipfs_log_handlers.api.verification import known_logs, read_policy, verify_sources

if TYPE_CHECKING:
    from ipfs_log_handlers.api.home_data_keys import Pseudonym, issue_keys, issued_keys_in, shred_issued_keys
    from ipfs_log_handlers.api.proving import keys_to_trust, prove_from_head, write_bundle
    from ipfs_log_handlers.concurrency.daemon_threads import DaemonThreads
    from ipfs_log_handlers.format.directory import Entry
    from ipfs_log_handlers.format.proof import MAX_BUNDLE
    from ipfs_log_handlers.home.acts import Hold
    from ipfs_log_handlers.home.data_keys import DataKey, KnownKey
    from ipfs_log_handlers.home.key_changes import EarlierKey
    from ipfs_log_handlers.home.keys import PublicKey
    from ipfs_log_handlers.home.lookup import LEVEL_HINT
    from ipfs_log_handlers.home.os_errors import explain_os_error
    from ipfs_log_handlers.keeper.key_rotation import RotatedKey
    from ipfs_log_handlers.keeper.moved import SameLog
    from ipfs_log_handlers.keeper.new_log import EndedLog
    from ipfs_log_handlers.keeper.prune_now import PruneResult
    from ipfs_log_handlers.keeper.prune_plan import PlannedBatches
    from ipfs_log_handlers.keeper.publish_now import HomeHeadFile, Published
    from ipfs_log_handlers.keeper.recheck import LostBatch
    from ipfs_log_handlers.keeper.run import ShipResult, Stop
    from ipfs_log_handlers.keeper.ship import ShippedBatch
    from ipfs_log_handlers.maintenance.repair import Repair
    from ipfs_log_handlers.maintenance.shredding import ShreddedKeys
    from ipfs_log_handlers.monitoring.batch_detail import BatchDetail
    from ipfs_log_handlers.monitoring.batches import BatchInfo
    from ipfs_log_handlers.monitoring.health_check import HealthCheck
    from ipfs_log_handlers.monitoring.imported_status import ImportedLogStatus
    from ipfs_log_handlers.monitoring.log_states import LogState, Step
    from ipfs_log_handlers.monitoring.openmetrics import OPENMETRICS_CONTENT_TYPE
    from ipfs_log_handlers.monitoring.shipped import PinServiceStatus
    from ipfs_log_handlers.monitoring.status import SubsystemStatus
    from ipfs_log_handlers.query.aggregates import Bucket
    from ipfs_log_handlers.query.dataset import Dataset, Records
    from ipfs_log_handlers.query.export import CSV_COLUMNS, csv_rows, json_line
    from ipfs_log_handlers.query.finding import LogSummary, SealedBatch
    from ipfs_log_handlers.query.follow import Following
    from ipfs_log_handlers.query.frames import records_from
    from ipfs_log_handlers.query.history import LogDifference
    from ipfs_log_handlers.query.merge import Match
    from ipfs_log_handlers.query.plan import Plan, PlannedBatch, Stats
    from ipfs_log_handlers.query.sql_answer import SqlAnswer, SqlLimits, SqlSession
    from ipfs_log_handlers.query.times import moment_of
    from ipfs_log_handlers.query.verifying import LogReport
    from ipfs_log_handlers.reader.archive_content import OpenArchive
    from ipfs_log_handlers.reader.archives import Version, parent_of
    from ipfs_log_handlers.reader.dataset import Gap, with_subsystem
    from ipfs_log_handlers.reader.gaps import GapKind
    from ipfs_log_handlers.sharing.car_export import CarExport, ExportedLog
    from ipfs_log_handlers.sharing.car_import import ImportedLog
    from ipfs_log_handlers.sharing.mirror import MirroredLog
    from ipfs_log_handlers.sharing.snapshot import LogSnapshot
    from ipfs_log_handlers.sharing.tile_export import TileExport
    from ipfs_log_handlers.spool.file_tree import bytes_at
    from ipfs_log_handlers.verify.check import ProvenRecord, check
    from ipfs_log_handlers.verify.forks import Fork, check_fork
    from ipfs_log_handlers.verify.problems import Problem
    from ipfs_log_handlers.verify.report import Report

__all__ = [
    "CSV_COLUMNS",
    "LEVEL_HINT",
    "MAX_BUNDLE",
    "OPENMETRICS_CONTENT_TYPE",
    "BatchDetail",
    "BatchInfo",
    "Bucket",
    "CarExport",
    "DaemonThreads",
    "DataKey",
    "Dataset",
    "EarlierKey",
    "EndedLog",
    "Entry",
    "ExportedLog",
    "Following",
    "Fork",
    "Gap",
    "GapKind",
    "HealthCheck",
    "Hold",
    "Home",
    "HomeHeadFile",
    "ImportedLog",
    "ImportedLogStatus",
    "KnownKey",
    "LogDifference",
    "LogReport",
    "LogSnapshot",
    "LogState",
    "LogSummary",
    "LostBatch",
    "Match",
    "MirroredLog",
    "OpenArchive",
    "PinServiceStatus",
    "Plan",
    "PlannedBatch",
    "PlannedBatches",
    "Problem",
    "ProvenRecord",
    "PruneResult",
    "Pseudonym",
    "PublicKey",
    "Published",
    "Records",
    "Repair",
    "Report",
    "RotatedKey",
    "SameLog",
    "SealedBatch",
    "ShipResult",
    "ShippedBatch",
    "ShreddedKeys",
    "SqlAnswer",
    "SqlLimits",
    "SqlSession",
    "Stats",
    "Step",
    "Stop",
    "SubsystemStatus",
    "TileExport",
    "Version",
    "bytes_at",
    "check",
    "check_fork",
    "csv_rows",
    "explain_os_error",
    "find_home",
    "issue_keys",
    "issued_keys_in",
    "json_line",
    "keys_to_trust",
    "known_logs",
    "moment_of",
    "open_dataset",
    "open_home",
    "parent_of",
    "pin_addresses",
    "prove_from_head",
    "read_policy",
    "records_from",
    "shred_issued_keys",
    "store_addresses",
    "verify_sources",
    "wait_for_home",
    "with_subsystem",
    "write_bundle",
]

_LATER: Final = {
    name: f"ipfs_log_handlers.{module}"
    for module, names in {
        "api.home_data_keys": ("Pseudonym", "issue_keys", "issued_keys_in", "shred_issued_keys"),
        "api.proving": ("keys_to_trust", "prove_from_head", "write_bundle"),
        "concurrency.daemon_threads": ("DaemonThreads",),
        "format.directory": ("Entry",),
        "format.proof": ("MAX_BUNDLE",),
        "home.data_keys": ("DataKey", "KnownKey"),
        "home.acts": ("Hold",),
        "home.key_changes": ("EarlierKey",),
        "home.keys": ("PublicKey",),
        "home.lookup": ("LEVEL_HINT",),
        "home.os_errors": ("explain_os_error",),
        "keeper.key_rotation": ("RotatedKey",),
        "keeper.moved": ("SameLog",),
        "keeper.new_log": ("EndedLog",),
        "keeper.prune_now": ("PruneResult",),
        "keeper.prune_plan": ("PlannedBatches",),
        "keeper.publish_now": ("HomeHeadFile", "Published"),
        "keeper.recheck": ("LostBatch",),
        "keeper.run": ("ShipResult", "Stop"),
        "keeper.ship": ("ShippedBatch",),
        "maintenance.repair": ("Repair",),
        "maintenance.shredding": ("ShreddedKeys",),
        "monitoring.batch_detail": ("BatchDetail",),
        "monitoring.batches": ("BatchInfo",),
        "monitoring.health_check": ("HealthCheck",),
        "monitoring.log_states": ("LogState", "Step"),
        "monitoring.imported_status": ("ImportedLogStatus",),
        "monitoring.openmetrics": ("OPENMETRICS_CONTENT_TYPE",),
        "monitoring.shipped": ("PinServiceStatus",),
        "monitoring.status": ("SubsystemStatus",),
        "query.aggregates": ("Bucket",),
        "query.dataset": ("Dataset", "Records"),
        "query.export": ("CSV_COLUMNS", "csv_rows", "json_line"),
        "query.finding": ("LogSummary", "SealedBatch"),
        "query.follow": ("Following",),
        "query.frames": ("records_from",),
        "query.history": ("LogDifference",),
        "query.merge": ("Match",),
        "query.plan": ("Plan", "PlannedBatch", "Stats"),
        "query.sql_answer": ("SqlAnswer", "SqlLimits", "SqlSession"),
        "query.times": ("moment_of",),
        "query.verifying": ("LogReport",),
        "reader.archive_content": ("OpenArchive",),
        "reader.archives": ("Version", "parent_of"),
        "reader.dataset": ("Gap", "with_subsystem"),
        "reader.gaps": ("GapKind",),
        "sharing.car_export": ("CarExport", "ExportedLog"),
        "sharing.car_import": ("ImportedLog",),
        "sharing.mirror": ("MirroredLog",),
        "sharing.snapshot": ("LogSnapshot",),
        "sharing.tile_export": ("TileExport",),
        "spool.file_tree": ("bytes_at",),
        "verify.check": ("ProvenRecord", "check"),
        "verify.forks": ("Fork", "check_fork"),
        "verify.problems": ("Problem",),
        "verify.report": ("Report",),
    }.items()
    for name in names
}
"""The module of each public name that is imported when the name is first used."""


if not TYPE_CHECKING:  # without this line a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: each verb pays for what it needs, and for no other part."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(importlib.import_module(_LATER[name]), name)
        return value
