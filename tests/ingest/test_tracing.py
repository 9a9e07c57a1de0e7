"""Trace ids of real OpenTelemetry spans, taken over by handler and processor."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from ipfs_log_handlers import IPFSProcessor
from ipfs_log_handlers.runtime.process import HomeProcess
from tests.support import programs
from tests.support.logging_home import durable, handler_of, logging_to

TRACER = TracerProvider().get_tracer("tests")


@pytest.fixture
def log(home: Path) -> Iterator[logging.Logger]:
    """Make a logger."""
    with logging_to(home) as logger:
        yield logger


def ids(record: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the two ids of a record."""
    return record.get("trace_id"), record.get("span_id")


def hexes(span: trace.Span) -> tuple[str, str]:
    """Return the two ids of a span, as OpenTelemetry writes them."""
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


@pytest.mark.parametrize(
    ("message", "extra"), [("x %d", {}), ("x %d", {"a": 1}), ("x %d", {"a": object()}), ('{"b": %d}', {"a": 1})]
)
def test_a_record_inside_a_span_has_its_ids(
    log: logging.Logger, home: Path, message: str, extra: dict[str, Any]
) -> None:
    """Inside a span each record has its ids, by the fast path and the slow one; before and after it has none."""
    expected = list[tuple[str | None, str | None]]()
    for _ in range(3):
        log.info(message, 1, extra=extra)
        with TRACER.start_as_current_span("outer") as outer, TRACER.start_as_current_span("inner") as inner:
            log.info(message, 1, extra=extra)
        expected += [(None, None), hexes(inner)]
        assert hexes(outer)[0] == hexes(inner)[0]

    assert expected == [ids(record) for record in durable(home)]


def test_ids_have_leading_zeros(log: logging.Logger, home: Path) -> None:
    """Ids are 32 and 16 lower-case hex digits, however small the number."""
    context = trace.SpanContext(trace_id=0xAB, span_id=0xCD, is_remote=True)
    with trace.use_span(trace.NonRecordingSpan(context)):
        log.info("x")

    assert [("0" * 30 + "ab", "0" * 14 + "cd")] == [ids(record) for record in durable(home)]


def test_the_record_of_other_handlers_is_not_changed(log: logging.Logger) -> None:
    """Pitfall 25: the handlers behind ours get the record as it was."""
    record = logging.makeLogRecord({"msg": "x", "name": "t", "a": 1})
    before = dict(record.__dict__)
    with TRACER.start_as_current_span("s"):
        handler_of(log).handle(record)
        handler_of(log).emit(record)

    assert before == record.__dict__


@pytest.mark.parametrize("given", [{"trace_id": "mine"}, {"span_id": "mine"}, {"trace_id": None}])
def test_ids_that_the_caller_gives_stay(log: logging.Logger, home: Path, given: dict[str, Any]) -> None:
    """A caller's own ids are not overwritten, nor is half of them filled in."""
    with TRACER.start_as_current_span("s"):
        log.info("x", extra=given)

    assert [given] == [{name: record[name] for name in record if name.endswith("_id")} for record in durable(home)]


def test_ids_of_the_instrumentation_win_over_the_active_span(log: logging.Logger, home: Path) -> None:
    """Behind a QueueHandler the ids that OpenTelemetry's logging instrumentation set come before another span's."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    front = logging.Logger("front")
    front.addHandler(logging.handlers.QueueHandler(waiting))
    instrumentor = LoggingInstrumentor()
    instrumentor.instrument(inject_trace_context=True, enable_log_auto_instrumentation=False)
    try:
        front.info("outside")
        with TRACER.start_as_current_span("s") as span:
            front.info("inside")
    finally:
        instrumentor.uninstrument()
    with TRACER.start_as_current_span("another"):
        for _ in range(2):
            handler_of(log).handle(waiting.get_nowait())

    outside, inside = durable(home)
    assert [(None, None), hexes(span)] == [ids(outside), ids(inside)]
    assert not {"otelTraceID", "otelSpanID"} & {*outside, *inside}


def test_an_event_inside_a_span_has_its_ids(home: Path) -> None:
    """A structlog event inside a span has its ids in the record, and goes on in the chain without them."""
    processor = IPFSProcessor("logs", home=home, keeper="none")
    given = {"event": "e", "a": 1}
    with TRACER.start_as_current_span("s") as span:
        assert {"event": "e", "a": 1} == processor(None, "info", given)
    processor(None, "info", given)
    processor.close()
    HomeProcess._all.pop(home)

    assert [hexes(span), (None, None)] == [ids(record) for record in durable(home)]


def test_a_span_that_fails_costs_the_ids_and_not_the_record(
    log: logging.Logger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span whose own code raises, or an OpenTelemetry that is half imported, costs the ids and not the record."""

    def failing() -> Any:
        raise RuntimeError

    monkeypatch.setattr(trace, "get_current_span", failing)
    log.info("raises")
    monkeypatch.delattr(trace, "get_current_span")
    log.info("half")

    assert [("raises", None), ("half", None)] == [(record["event"], record.get("trace_id")) for record in durable(home)]


def test_opentelemetry_is_not_imported(home: Path) -> None:
    """A program without OpenTelemetry logs without importing it."""
    program = f"""
import sys
from tests.support.logging_home import logging_to
from pathlib import Path
with logging_to(Path({str(home)!r})) as log:
    log.info("x"); log.info({{"a": 1}})
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", program], env=programs.environment(), capture_output=True, text=True)

    assert (0, "[]\n", "") == (done.returncode, done.stdout, done.stderr)
