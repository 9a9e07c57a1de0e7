"""The public names as a typed program uses them; each type that a user sees is stated here.

An `ignore` marks what mypy must refuse: under `strict` one that is not needed is an error.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from typing_extensions import assert_type

import ipfs_log_handlers
from ipfs_log_handlers import (
    ConfigurationError,
    FormatError,
    HomeError,
    IPFSHandler,
    IPFSProcessor,
    LogStoreError,
    StoreError,
    StoreRefused,
    StoreRejected,
    StoreUnavailable,
    VerificationError,
)
from ipfs_log_handlers.manager import DatasetsManager, configure, get_ipfs_datasets_manager, install
from ipfs_log_handlers.rotator import Rotator, archiving
from ipfs_log_handlers.testing import Asked, Capture, FakeDaemon, Said, capture
from ipfs_log_handlers.testing.fixtures import fake_kubo, ipfs_logs

Processor = Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]
"""What structlog takes for a processor, among others."""


def handlers() -> logging.Handler:
    assert_type(IPFSHandler(), IPFSHandler)
    handler = IPFSHandler(
        "audit",
        level="INFO",
        home=Path("home"),
        kubo=["http://127.0.0.1:5001", "/dns4/kubo/tcp/5001"],
        token="env:TOKEN",
        replicas=2,
        batch={"records": 100, "seconds": 10},
        redact=lambda fields: fields,
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
    ours: list[type[LogStoreError]] = [ConfigurationError, FormatError, HomeError, StoreError, VerificationError]
    assert ours
    return [ConfigurationError, FormatError], [HomeError], [StoreUnavailable, StoreRefused, StoreRejected]


def names() -> None:
    assert_type(ipfs_log_handlers.__all__, list[str])
    ipfs_log_handlers.Handler  # type: ignore[attr-defined]  # noqa: B018


def tests(asked: Asked) -> None:
    assert_type(capture(), AbstractContextManager[Capture])  # type: ignore[assert-type]
    with capture(os.curdir) as captured:
        assert_type(captured, Capture)
        assert_type(captured.home, Path)
        assert_type(captured.records("audit"), list[dict[str, Any]])
        assert_type(captured.events(), list[str])
    with FakeDaemon(version="0.42.0") as daemon:
        assert_type(daemon, FakeDaemon)
        assert_type(daemon.url, str)
        assert_type(daemon.uploads(), list[Asked])
        daemon.say("dag/import", Said(status=503), lambda asked: Said(body=(asked.body,)))
        daemon.say("dag/import", 503)  # type: ignore[arg-type]
    assert_type(asked.query, dict[str, str])
    assert callable(ipfs_logs)
    assert callable(fake_kubo)
