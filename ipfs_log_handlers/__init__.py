"""Keep log records durable, signed and content-addressed: a handler for logging and a processor for structlog.

The map of the package, in the order in which a record passes it (docs/architecture.md follows one record):

    ingest/         handler and processor: a logging call becomes a line
    spool/          the line becomes durable; reads lines that are in no batch yet
    runtime/        this process in a home: open handlers, flush, exit, fork
    manager/        files are archived: the datasets manager, store(…)
    rotator.py      files are archived: log files that a rotating handler has closed
    keeper/         work in the background: seal batches, ship them, delete shipped payloads
    stores/         the places that batches are shipped to: the contract of a store, and Kubo
    reader/         records are read, each block verified first
    query/          records are queried: filters, a plan, a merge by time, counts
    verify/         check a whole log; prove one record, and check such a proof
    maintenance/    find damage in a home and repair it
    sharing/        give a log to others: one CID for all of it, CAR files, tiles
    monitoring/     the state of a home: status, health, batches, OpenMetrics
    api/            all of that as methods: open_home(), open_dataset()
    server/         the page in the browser and its JSON API, live tail, metrics
    mcp_server/     answers to agents, over the Model Context Protocol
    cli/            the command ipfs-logs: arguments, api, and printing
    loki/           Loki's HTTP API, for Grafana and logcli

    home/           the files of a home directory, one module for each kind
    redaction/      secret values are found and hidden: of records that come in, and of answers
    format/         the meaning of the bytes, without any I/O
    stats/          metadata and zone map of a batch, without any I/O
    subsystems/     what each subsystem logs
    config/         the settings of a handler
    errors.py       all exceptions
    accelerator/    the extension module in C that takes plain records and reads batches, and what it shares with Python
    concurrency/    threads and locks that gevent does not replace, daemon threads, the lock of logging
    testing/        help for the tests of programs that log here
    _pyinstaller/   hooks for programs that PyInstaller freezes
    __main__.py     python -m ipfs_log_handlers
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

try:
    import fcntl as _fcntl  # noqa: F401 - locks of files; Windows has none
except ImportError as _error:
    raise ImportError(
        "ipfs_log_handlers needs a POSIX system, such as Linux, macOS or a BSD: this Python has no fcntl. "
        "On Windows, run the program in WSL."
    ) from _error

from ipfs_log_handlers.errors import (
    CiphertextError,
    ConfigurationError,
    EncryptionError,
    ErasedError,
    EventError,
    FormatError,
    HeldError,
    HomeError,
    LogStoreError,
    NoIdentityError,
    PrunedError,
    RecordError,
    ReplayedKeyError,
    StoreDenied,
    StoreError,
    StoreRejected,
    StoreUnavailable,
    SwappedCiphertextError,
    VerificationError,
    WrongIdentityError,
)

if TYPE_CHECKING:
    from ipfs_log_handlers.api import open_dataset, open_home
    from ipfs_log_handlers.ingest.handler import IPFSHandler
    from ipfs_log_handlers.ingest.processor import IPFSProcessor
    from ipfs_log_handlers.ingest.registration import register
    from ipfs_log_handlers.subsystems import Subsystem
    from ipfs_log_handlers.verify.check import check

__all__ = [
    "CiphertextError",
    "ConfigurationError",
    "EncryptionError",
    "ErasedError",
    "EventError",
    "FormatError",
    "HeldError",
    "HomeError",
    "IPFSHandler",
    "IPFSProcessor",
    "LogStoreError",
    "NoIdentityError",
    "PrunedError",
    "RecordError",
    "ReplayedKeyError",
    "StoreDenied",
    "StoreError",
    "StoreRejected",
    "StoreUnavailable",
    "Subsystem",
    "SwappedCiphertextError",
    "VerificationError",
    "WrongIdentityError",
    "check",
    "open_dataset",
    "open_home",
    "register",
]


if not TYPE_CHECKING:  # without this line a type checker would accept any name
    _MODULES = {
        "IPFSHandler": "ingest.handler",
        "IPFSProcessor": "ingest.processor",
        "Subsystem": "subsystems",
        "check": "verify.check",
        "open_dataset": "api",
        "open_home": "api",
        "register": "ingest.registration",
    }
    """The module of each name that is imported when it is first used: a program imports only what it needs."""
    _PACKAGES = ("api", "concurrency", "config", "format", "home", "ingest", "runtime", "stores", "subsystems")
    """Packages that are imported when they are first used as an attribute of this one."""

    def __getattr__(name: str) -> object:
        """Import a name when it is first used."""
        if name in _MODULES:
            return getattr(_import_module(f"{__name__}.{_MODULES[name]}"), name)
        if name in _PACKAGES:
            return _import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """List all names, also those that are not imported yet."""
        return sorted({*globals(), *__all__})
