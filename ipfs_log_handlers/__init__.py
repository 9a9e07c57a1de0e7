"""Python logging, kept for good: signed, content-addressed batches on IPFS by logging configuration alone.

handler.py, processors.py   records come in: logging and structlog
recorder.py, fields.py      what was logged becomes event and fields
eventdict.py                what structlog's event dicts hold
tracing.py                  the ids of the span it belongs to
writer.py                   the line becomes durable
native.py                   locks and threads that gevent does not replace
manager.py, rotator.py      files come in: store(…), and what logging rotates away
archiver.py                 a file or directory becomes durable
process.py                  this process in a home: writers, keeper's thread, one deadline
subsystems/                 what each subsystem logs
format/                     what the bytes mean
home/                       a directory, one module for each thing in it
keeper/                     seal and ship
stores/                     where batches go
reading/, status.py         records come back
cli/                        ipfs-logs
"""

from __future__ import annotations

from ipfs_log_handlers.errors import (
    ConfigurationError,
    EventError,
    FormatError,
    HomeError,
    LogStoreError,
    StoreError,
    StoreRefused,
    StoreRejected,
    StoreUnavailable,
    VerificationError,
)
from ipfs_log_handlers.handler import IPFSHandler
from ipfs_log_handlers.processors import IPFSProcessor
from ipfs_log_handlers.subsystems import Subsystem, register

__all__ = [
    "ConfigurationError",
    "EventError",
    "FormatError",
    "HomeError",
    "IPFSHandler",
    "IPFSProcessor",
    "LogStoreError",
    "StoreError",
    "StoreRefused",
    "StoreRejected",
    "StoreUnavailable",
    "Subsystem",
    "VerificationError",
    "register",
]
