"""Each event of each subsystem takes what the table says, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import structlog

from ipfs_log_handlers import ConfigurationError, EventError, IPFSProcessor, subsystems
from ipfs_log_handlers.subsystems import audit, data_lifecycle, fs_monitor, fs_replication, telemetry, wal
from ipfs_log_handlers.subsystems.events import Event, Events, Known, Members, Range, Unit
from ipfs_log_handlers.subsystems.signature import Field, fields_of
from tests.support import recount_oracle
from tests.support.logging_home import durable, logging_to

Make = Callable[..., dict[str, Any]]


def makers() -> dict[str, tuple[Event, Make]]:
    """Each event with the function that makes it."""
    found = {}
    for name in subsystems.names():
        module = importlib.import_module(f"ipfs_log_handlers.subsystems.{name}")
        by_event = {event.declared: event for event in subsystems.get(name).events.values()}
        for function in vars(module).values():
            event = by_event.get(inspect.unwrap(function)) if inspect.isfunction(function) else None
            if event is not None:
                found[event.name] = (event, function)
    return found


MAKERS = makers()
EVENTS = sorted(MAKERS)
RIGHT: dict[str, Any] = {"text": "t", "integer": 3, "number": 1, "boolean": False, "object": {}, "list": []}
WRONG: dict[str, list[Any]] = {
    "text": [5, b"x", ["x"]],
    "integer": [True, 1.0, "5"],
    "number": [True, "5", float("nan"), float("inf")],
    "boolean": [0, "true"],
    "object": [[("a", 1)], "x"],
    "list": [{}, "x"],
}


def right(field: Field) -> Any:
    """Return a value that a field takes."""
    if field.values:
        return field.values[0]
    if field.kind == "object":
        return {each.name: right(each) for each in field.members}
    return [{each.name: right(each) for each in field.members}] if field.members else RIGHT[field.kind]


def whole(event: Event) -> dict[str, Any]:
    """Every field of an event."""
    return {field.name: right(field) for field in event.fields}


OPTIONAL = {
    "audit.event": "user_id ip_address resource_id resource_type resource status request_id details",
    "wal.operation.added": "timestamp completed_at next_retry_at parameters result error error_type retry_count "
    "max_retries partition_id",
    "wal.metric": "operation_id operation_type backend status error_type category old_status new_status "
    "sampling_interval aggregate",
    "health.check": "check_name check_type target critical details error timestamp",
    "fs_journal.stats": "backend transactions performance node",
    "fs_journal.alert": "value threshold timestamp node",
    "replication.entry": "operation_id success cleanup_blocked target_redundancy verified_redundancy "
    "verified_backend_ids actions vector_clock error error_type",
    "data_lifecycle.event": "object_path policy_id policy_name user_id details",
    "mcp.file": "backend operation_type bucket status size cid details error request_id",
    "mcp.action": "command method subcommand action category server_id user_id params duration_ms error metadata",
}


class TestTable:
    def test_all_events(self) -> None:
        """Every event of the table has its function, and there is no other."""
        table = {event for name in subsystems.names() for event in recount_oracle.required_of(name)}
        assert table == set(EVENTS)

    @pytest.mark.parametrize("name", subsystems.names())
    def test_required(self, name: str) -> None:
        """An event requires what the table says."""
        for event, names in recount_oracle.required_of(name).items():
            told = {each for each in MAKERS[event][0].required if isinstance(each, str)}
            assert set(names) == told
        assert list(recount_oracle.required_of(name)) == list(subsystems.get(name).events)

    @pytest.mark.parametrize("name", sorted(OPTIONAL))
    def test_optional(self, name: str) -> None:
        """An event takes the optional fields of the table, and no others."""
        event = MAKERS[name][0]
        assert set(OPTIONAL[name].split()) == {f.name for f in event.fields} - set(event.required)

    def test_values_and_units(self) -> None:
        """Closed sets are closed, open ones open, and numbers have their units."""
        fields = {f"{name}.{f.name}": f for name, (event, _) in MAKERS.items() for f in event.fields}
        assert fields["wal.operation.added.status"].closed
        assert fields["health.check.status"].values == ("healthy", "degraded", "unhealthy", "unknown")
        assert not fields["audit.event.event_type"].closed
        assert len(fields["audit.event.event_type"].values) == 10
        assert ("integer", "ms since 1970") == (
            fields["wal.operation.added.updated_at"].kind,
            fields["wal.operation.added.updated_at"].unit,
        )
        assert "s since 1970" == fields["audit.event.timestamp"].unit
        assert "ms" == fields["mcp.file.duration_ms"].unit
        assert "B" == fields["mcp.file.size"].unit

    def test_names_that_logging_refuses(self) -> None:
        """No field has a name that `extra` cannot hold, nor one of the record's own."""
        taken = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "time", "level", "logger", "pid", "seq"}
        assert set() == {field.name for event, _ in MAKERS.values() for field in event.fields} & taken


class TestValidation:
    @pytest.mark.parametrize("name", EVENTS)
    def test_right(self, name: str) -> None:
        """What is right comes back with the event; what is `None` is left out."""
        event, make = MAKERS[name]
        given = whole(event)
        assert {"event": name, **given} == make(**given)
        least = {f.name: given[f.name] for f in event.fields if f.required or f.name in event.required}
        extra = {"command": "c"} if name == "mcp.action" else {}
        assert {"event": name, **least, **extra} == make(**{f.name: None for f in event.fields} | least | extra)

    @pytest.mark.parametrize("name", EVENTS)
    def test_missing(self, name: str) -> None:
        """A required field that is missing is named; one that the configuration may give need not be there."""
        event, make = MAKERS[name]
        for field in event.fields:
            given = {key: value for key, value in whole(event).items() if key != field.name}
            if field.required:
                with pytest.raises(EventError, match=f"^{name}.{field.name}: a field is missing; expected"):
                    make(**given)
            else:
                assert field.name not in make(**given)

    @pytest.mark.parametrize("name", EVENTS)
    def test_wrong_type(self, name: str) -> None:
        """A value of a wrong type is refused, with the name of the field, what was expected and what was found."""
        event, make = MAKERS[name]
        for field in event.fields:
            for odd in WRONG[field.kind]:
                with pytest.raises(
                    EventError, match=f"^{name}.{field.name}: .*; expected .*, found {type(odd).__name__}"
                ):
                    make(**{**whole(event), field.name: odd})

    @pytest.mark.parametrize("name", EVENTS)
    def test_wrong_value(self, name: str) -> None:
        """A closed set takes its values and nothing else; an open one takes any text."""
        event, make = MAKERS[name]
        for field in event.fields:
            if not field.values:
                continue
            for value in field.values:
                if name != "wal.metric":
                    assert value == make(**{**whole(event), field.name: value})[field.name]
            odd = f"{field.values[-1]}x"
            if field.closed:
                with pytest.raises(EventError, match=rf"'{field.values[-1]}' perhaps, of one of .*found str '{odd}'"):
                    make(**{**whole(event), field.name: odd})
            else:
                assert odd == make(**{**whole(event), field.name: odd})[field.name]

    @pytest.mark.parametrize("name", EVENTS)
    def test_misspelt(self, name: str) -> None:
        """A misspelt field is told with the nearest right one."""
        event, make = MAKERS[name]
        for field in event.fields:
            with pytest.raises(
                EventError, match=f"^{name}: no such field; expected '.*' perhaps, found '{field.name}x'"
            ):
                make(**whole(event), **{f"{field.name}x": 1})
        with pytest.raises(EventError, match=r"one of .*extra=\{"):
            make(**whole(event), zzzzzzzz=1)

    def test_alternatives(self) -> None:
        """An action has a command or a method."""
        _, make = MAKERS["mcp.action"]
        with pytest.raises(EventError, match=r"^mcp\.action: a field is missing; expected command or method"):
            make(success=True)
        assert {"event": "mcp.action", "success": True, "method": "m"} == make(success=True, method="m")

    def test_metrics(self) -> None:
        """A rate is from 0 to 1, health one of three numbers; other metrics have any value."""
        for kind, good, bad in (
            ("success_rate", 1, 1.1), ("error_rate", 0, -0.1), ("backend_health", 0.5, 0.4),
        ):  # fmt: skip
            assert good == telemetry.metric(metric_type=kind, value=good, timestamp=1)["value"]  # type: ignore[arg-type]
            with pytest.raises(EventError, match=rf"wal\.metric\.value: no value of {kind}; expected .*, found {bad}"):
                telemetry.metric(metric_type=kind, value=bad, timestamp=1)  # type: ignore[arg-type]
        assert -7 == telemetry.metric(metric_type="queue_size", value=-7, timestamp=1)["value"]

    def test_members(self) -> None:
        """Known members of an object are checked where they are, required ones must be; unknown ones are kept."""
        good: dict[str, Any] = {"entry_count": 5, "checkpoint_age": 1.5, "mine": object}
        health = {"status": "ok", "error_rate": 0.5}
        assert good == fs_monitor.stats(timestamp=1, journal=good, health=health)["journal"]
        for journal in ({}, {"entry_count": 1.5}, {"entry_count": 1, "checkpoint_age": "x"}):
            with pytest.raises(EventError, match=r"^fs_journal\.stats\.journal\.(entry_count|checkpoint_age): "):
                fs_monitor.stats(timestamp=1, journal=journal, health=health)
        with pytest.raises(EventError, match=r"health\.error_rate: a number out of its range; expected .*from 0 to 1"):
            fs_monitor.stats(timestamp=1, journal=good, health={"status": "ok", "error_rate": 2})
        with pytest.raises(EventError, match=r"actions: a field of the wrong type; expected objects"):
            fs_replication.entry(entry_id="e", status="failed", actions=[5])  # type: ignore[list-item]
        with pytest.raises(EventError, match=r"result\.size: .*found str '5'"):
            wal.status(
                operation_id="o", operation_type="add", backend="b", status="failed", updated_at=1, result={"size": "5"}
            )

    def test_position(self) -> None:
        """Fields go by their names."""
        with pytest.raises(EventError, match="fields are given by name"):
            audit.event("authentication", "login", 1.0)  # type: ignore[call-arg]

    def test_is_a_value_error(self) -> None:
        """Who knows nothing of this package can catch it."""
        with pytest.raises(ValueError, match="perhaps"):
            data_lifecycle.policy(
                event_id="e",
                event_type="cost",
                object_id="o",
                action="addd",  # type: ignore[arg-type]
                status="success",
                timestamp="t",
            )


LOGIN: dict[str, Any] = {"event_type": "authentication", "action": "login", "timestamp": 1.5, "status": "success"}


class TestLogged:
    def test_logging(self, home: Path) -> None:
        """`extra=` takes the fields; the event is the record's, the text its message."""
        with logging_to(home, "audit") as logger:
            logger.info("%s signed in", "mira", extra=audit.event(**LOGIN))
            logger.info("again", extra={**audit.event(**LOGIN), "tenant": 5})
        first, second = durable(home, "audit")
        assert ("audit.event", "mira signed in", "login") == (first["event"], first["message"], first["action"])
        assert 5 == second["tenant"]

    @pytest.mark.parametrize("wrapper", [None, structlog.stdlib.BoundLogger, structlog.BoundLogger], ids=str)
    def test_structlog(self, home: Path, wrapper: Any) -> None:
        """`log.info(**fields)` does the same with each of structlog's loggers."""
        processor = IPFSProcessor("audit", home=home, keeper="none")
        made = structlog.wrap_logger(
            logging.getLogger("t"),
            processors=[processor, structlog.processors.JSONRenderer()],
            wrapper_class=wrapper or structlog.make_filtering_bound_logger(logging.INFO),
        )
        made.info(**audit.event(**LOGIN))
        made.bind(tenant=5).warning(**audit.event(**LOGIN))
        processor.close()
        first, second = durable(home, "audit")
        assert {"event": "audit.event", **LOGIN}.items() <= first.items()
        assert (5, "warning") == (second["tenant"], second["level"])


class TestOwn:
    def test_order(self) -> None:
        """The fields stand as they were given, and the defaults of others behind them."""
        events = Events()

        @events.define("billing.paid")
        def paid(*, invoice: str, method: str = "card", share: float = 1.0) -> None:
            """An invoice was paid."""

        assert list(paid(invoice="A-17", share=0.5)) == ["event", "invoice", "share", "method"]
        assert list(paid(method="cash", invoice="A-17")) == ["event", "method", "invoice", "share"]

    def test_declared(self) -> None:
        """A program declares its own events as this package does; what is not given has its default."""
        events = Events()

        @events.define("billing.paid")
        def paid(
            *,
            invoice: str,
            amount: Annotated[float, Unit("EUR")],
            method: Literal["card", "cash"] = "card",
            share: Annotated[float, Range((0, 1))] | None = None,
            kind: Annotated[str, Known(("new", "old"))] | None = None,
            lines: Annotated[list[Any], Members(text=str, count=int | None)] | None = None,
        ) -> None:
            """An invoice was paid."""

        given = {"invoice": "A", "amount": 2, "kind": "odd"}
        assert {"event": "billing.paid", "method": "card", **given} == paid(invoice="A", amount=2, kind="odd")
        assert "cash" == paid(invoice="A", amount=2, method="cash")["method"]
        assert ("invoice", "amount") == events["billing.paid"].required
        assert "An invoice was paid." == events["billing.paid"].about
        for odd in (
            {"share": 1.5},
            {"method": "coin"},
            {"lines": [{"count": 1}]},
            {"lines": [{"text": "t", "count": 1.5}]},
        ):
            with pytest.raises(EventError):
                paid(invoice="A", amount=2, **odd)

    def test_names_only(self) -> None:
        """Where a subsystem names required fields only, any others go with them."""
        event = subsystems.Subsystem(name="x", type="x", events={"x.y": ["a", ["b", "c"]]}).events["x.y"]
        assert {"event": "x.y", "a": 1, "c": 2, "d": 3} == event.make({"a": 1, "c": 2, "d": 3})
        with pytest.raises(EventError, match=r"x\.y: a field is missing; expected b\|c"):
            event.make({"a": 1})

    def test_signature_that_cannot_be(self) -> None:
        """A type that no field can have, and a parameter by position, are told when the event is first made."""

        def of_bytes(*, a: bytes) -> None: ...

        def by_position(a: str) -> None: ...

        for declared in (of_bytes, by_position):
            with pytest.raises(ConfigurationError, match=r"type|name"):
                fields_of(declared)
