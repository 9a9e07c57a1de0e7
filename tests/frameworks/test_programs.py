"""Examples without a web server: asyncio, structlog, a YAML file, OpenTelemetry."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.framework_programs import EXAMPLES, Program, exactly_once, free_port, read_back


def test_an_asyncio_service_keeps_every_record(home: Path) -> None:
    """An asyncio service ends on SIGTERM with everything sealed."""
    port = free_port()
    with Program(home, "asyncio_service.py", port, port=port) as service:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, connection.makefile("rw") as file:
            for number in range(10):
                file.write(f"{number}\n")
                file.flush()
                assert "placed\n" == file.readline()
        service.stop()

    records = read_back(home)
    exactly_once(range(10), records)
    assert ("listening", "stopped") == (records[0]["event"], records[-1]["event"])
    assert [] == oracle.spooled(home)


@pytest.mark.parametrize(
    ("example", "loggers"),
    [("structlog_service.py", ["shop", "shop"]), ("structlog_stdlib.py", ["shop", "shop", "library"])],
    ids=["alone", "stdlib"],
)
def test_structlog_programs_keep_every_event(home: Path, example: str, loggers: list[str]) -> None:
    """Structlog alone and in front of the logging module give the same records, and go on to the console."""
    with Program(home, example) as program:
        program.process.wait(60)

    assert 0 == program.process.returncode
    assert "order placed" in program.printed
    records = read_back(home)
    assert loggers == [record["logger"] for record in records]
    placed, failed = records[:2]
    assert ("info", "order placed", 1, "4711") == tuple(placed[key] for key in ("level", "event", "number", "request"))
    assert ("error", "order not paid", 1, "4711") == tuple(
        failed[key] for key in ("level", "event", "number", "request")
    )
    assert failed["exception"].endswith("TimeoutError: the payment service did not answer")
    envelope = {"time", "level", "logger", "event", "pid", "seq", "subsystem"}
    assert [{"number", "request"}, {"number", "request", "exception"}] == [
        set(record) - envelope for record in records[:2]
    ]
    assert [{"event": "retried 3 times", "host": "payments"}] * (len(records) - 2) == [
        {key: record[key] for key in ("event", "host")} for record in records[2:]
    ]


def test_a_yaml_configuration_works(home: Path) -> None:
    """A YAML file is a configuration like any other."""
    with Program(home, "yaml_service.py", EXAMPLES / "logging.yaml") as program:
        program.end()

    exactly_once(range(3), read_back(home))


def test_records_of_a_traced_service_have_its_ids(home: Path) -> None:
    """What is logged inside a span has its ids; what is logged outside has none."""
    with Program(home, "opentelemetry_service.py") as program:
        program.end()

    outside, inside = read_back(home)
    assert not {"trace_id", "span_id"} & set(outside)
    assert program.printed.split() == [inside["trace_id"], inside["span_id"]]
