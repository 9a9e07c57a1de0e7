"""Where the records of a handler without a subsystem go: into the rooms that design and table say."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from ipfs_log_handlers import IPFSHandler, IPFSProcessor, subsystems
from ipfs_log_handlers.subsystems import audit, mcp_actions, mcp_files
from tests.support.logging_home import durable

LOGIN: dict[str, Any] = audit.event(event_type="authentication", action="login", timestamp=1.5)
Log = Callable[[str, str, dict[str, Any]], None]


@pytest.fixture
def log(home: Path) -> Any:
    """Return a function that logs to a named logger through a handler without a subsystem."""
    handler = IPFSHandler(home=home, keeper="none")
    loggers: dict[str, logging.Logger] = {}

    def call(name: str, text: Any, fields: dict[str, Any] | None = None) -> None:
        if name not in loggers:
            loggers[name] = logging.Logger(name)
            loggers[name].addHandler(handler)
        loggers[name].info(text, extra=fields)

    yield call
    handler.close()


def subsystem_dirs(home: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records of each subsystem that has any."""
    return {
        subsystem_dir.name: durable(home, subsystem_dir.name)
        for subsystem_dir in sorted(home.iterdir())
        if (subsystem_dir / "spool").is_dir()
    }


class TestByLogger:
    @pytest.mark.parametrize("name", subsystems.names())
    def test_each(self, log: Log, home: Path, name: str) -> None:
        """A logger of the table, and all below it, lead to their subsystem; one beside it does not."""
        for logger in subsystems.get(name).loggers:
            log(logger, "plain", {})
            log(f"{logger}.below", "plain", {})
            log(f"{logger}beside", "plain", {})
        found = (
            {subsystem_dir: len(records) for subsystem_dir, records in subsystem_dirs(home).items()}
            if home.exists()
            else {}
        )
        count = len(subsystems.get(name).loggers)
        both = "mcp_files" if name == "mcp_actions" else name
        expected = {name: 2 * count, both: 2 * count, "logs": count}
        if name == "mcp_actions":  # `ipfs_kit_py.mcp.handlers` stands in two rows: there the event decides
            expected = {"mcp_actions": 2, "mcp_files": 2, "logs": 2}
        assert found == (expected if count else {})

    def test_two_rows(self, log: Log, home: Path) -> None:
        """`ipfs_kit_py.mcp.handlers` logs files and actions, each event to its own subsystem."""
        log("ipfs_kit_py.mcp.handlers.a", "x", mcp_actions.action(success=True, command="pin"))
        log("ipfs_kit_py.mcp.handlers.a", "x", mcp_files.file(operation="read", path="/a", success=True, duration_ms=1))
        assert {"mcp_actions": 1, "mcp_files": 1} == {
            name: len(records) for name, records in subsystem_dirs(home).items()
        }

    def test_rest(self, log: Log, home: Path) -> None:
        """Everything else goes to `logs`, the root logger's records too."""
        log("root", "x", {})
        log("", "y", {})
        log("app", "no.such.event", {})
        assert {"logs"} == set(subsystem_dirs(home))


class TestByEvent:
    def test_each(self, log: Log, home: Path) -> None:
        """Each event, and all below it, lead to their subsystem, whatever logger says it."""
        for name in subsystems.names():
            for event in subsystems.get(name).events:
                log("ipfs_kit_py.storage_wal", "x", {"event": event})
                log("app", f"{event}.more", {})
        counted = {name: len(records) for name, records in subsystem_dirs(home).items()}
        assert {n: 2 * len(subsystems.get(n).events) for n in subsystems.names() if n != "logs"} == counted

    def test_before_logger(self, log: Log, home: Path) -> None:
        """The event counts more than the logger."""
        log("ipfs_kit_py.storage_wal", "x", LOGIN)
        assert {"audit"} == set(subsystem_dirs(home))


class TestByField:
    def test_consumed(self, log: Log, home: Path) -> None:
        """The field `subsystem` counts most, and is not kept: the log it lies in says it."""
        log("audit", "x", {**LOGIN, "subsystem": "health"})
        ((name, (record,)),) = subsystem_dirs(home).items()
        assert "health" == name
        assert "subsystem" not in record

    @pytest.mark.parametrize("odd", ["nothing", "../audit", 5, None, ["audit"]])
    def test_unknown(self, log: Log, home: Path, odd: Any) -> None:
        """What is no registered name is a field like others, and makes no directory."""
        log("audit", "x", {"subsystem": odd})
        ((name, (record,)),) = subsystem_dirs(home).items()
        assert ("audit", odd) == (name, record["subsystem"])

    def test_in_json(self, log: Log, home: Path) -> None:
        """Members of a JSON message route as fields do; one without an event gets the first of its subsystem."""
        log("app", json.dumps({"subsystem": "telemetry", "value": 1}), {})
        log("app", json.dumps({"event": "wal.operation.added", "backend": "x"}), {})
        log("audit", json.dumps({"action": "login"}), {})
        log("app", json.dumps({"a": 1}), {})
        found = {name: [record["event"] for record in records] for name, records in subsystem_dirs(home).items()}
        assert ["wal.metric"] == found["telemetry"]
        assert ["wal.operation.added"] == found["wal"]
        assert ["audit.event"] == found["audit"]
        assert ['{"a": 1}'] == found["logs"]


def test_one_subsystem_takes_all(home: Path) -> None:
    """A handler of one subsystem routes nothing: what comes to it is its own, and keeps its field."""
    handler = IPFSHandler("health", home=home, keeper="none")
    logger = logging.Logger("audit")
    logger.addHandler(handler)
    logger.info("x", extra={**LOGIN, "subsystem": "wal"})
    handler.close()
    ((name, (record,)),) = subsystem_dirs(home).items()
    assert ("health", "wal", "audit.event") == (name, record["subsystem"], record["event"])


def test_structlog(home: Path) -> None:
    """A processor routes by the same rules."""
    processor = IPFSProcessor(home=home, keeper="none")
    log = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[processor], wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    for fields in (LOGIN, {"event": "x", "subsystem": "wal"}, {"event": "x", "logger": "audit.a"}, {"event": "x"}):
        log.info(**fields)
    processor.close()
    assert {"audit": 2, "logs": 1, "wal": 1} == {name: len(records) for name, records in subsystem_dirs(home).items()}
