"""Log each event of telemetry once; docs/subsystems/telemetry.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import telemetry

log = logging.getLogger("ipfs_kit_py.wal_telemetry")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info(
    "measured",
    extra=telemetry.metric(
        metric_type="operation_latency",
        value=0.25,
        timestamp=1772438400.0,
        operation_type="add",
        backend="ipfs",
        sampling_interval=60.0,
        aggregate={"count": 12, "mean": 0.31, "percentile_95": 0.8},
    ),
)
logging.shutdown()
