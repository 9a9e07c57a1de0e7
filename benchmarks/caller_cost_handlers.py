"""Make the handlers whose cost is measured: ours, two of the standard library, and four others that ship logs.

Each function takes the ports of the servers and a temporary directory and returns (handler, close). `close` returns
when all records have been sent, as far as the handler knows. The other handlers run with their defaults, except that
those that drop fields by default are configured to keep them, so that all of them send the same record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, Literal

__all__ = ["FIELDS", "HANDLERS", "Make"]

FIELDS: Final = ("user_id", "ip_address", "resource", "action", "status", "size", "details")
"""The seven extra fields of the record that is measured; `details` is nested."""

Handler = tuple[logging.Handler, Callable[[], None]]
Make = Callable[[Mapping[str, int], str], Handler]


def null(_ports: Mapping[str, int], _directory: str) -> Handler:
    """Make a `logging.NullHandler`: the cost of the call without any handling."""
    handler = logging.NullHandler()
    return handler, handler.close


def file(_ports: Mapping[str, int], directory: str) -> Handler:
    """Make a `logging.FileHandler` with a plain text formatter, without the extra fields."""
    handler = logging.FileHandler(os.path.join(directory, "app.log"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return handler, handler.close


def ours(_ports: Mapping[str, int], directory: str) -> Handler:
    """Make an `IPFSHandler` with its keeper running; it ships to IPFS_LOGS_KUBO if that is set."""
    return _ours(directory)


def ours_synced(_ports: Mapping[str, int], directory: str) -> Handler:
    """Make the same with `durability="power"`: when the call returns, its record survives a power cut."""
    return _ours(directory, "power")


def _ours(directory: str, durability: Literal["process", "power"] = "process") -> Handler:
    from ipfs_log_handlers import IPFSHandler

    home = os.path.join(directory, "home")
    handler = IPFSHandler(subsystem="logs", home=home, flush_timeout=120.0, durability=durability)
    return handler, handler.close


def opentelemetry(ports: Mapping[str, int], _directory: str) -> Handler:
    """Make OpenTelemetry's handler: LoggingHandler, BatchLogRecordProcessor and the OTLP/HTTP exporter."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{ports['otlp']}/v1/logs")
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return LoggingHandler(logger_provider=provider), provider.shutdown


class _StubCloudWatch:
    """The part of boto3's CloudWatch Logs client that watchtower calls; it accepts everything and stores nothing."""

    exceptions = SimpleNamespace(
        ClientError=type("ClientError", (Exception,), {}),
        OperationAbortedException=type("OperationAbortedException", (Exception,), {}),
        ResourceAlreadyExistsException=type("ResourceAlreadyExistsException", (Exception,), {}),
        DataAlreadyAcceptedException=type("DataAlreadyAcceptedException", (Exception,), {}),
        InvalidSequenceTokenException=type("InvalidSequenceTokenException", (Exception,), {}),
    )

    def create_log_stream(self, **_named: Any) -> None:
        """Accept."""

    def put_log_events(self, **_named: Any) -> dict[str, str]:
        """Answer that all events were accepted."""
        return {"nextSequenceToken": "next"}


def watchtower(_ports: Mapping[str, int], _directory: str) -> Handler:
    """Make watchtower's handler with a client that answers at once: the figure contains no network and no boto3."""
    from watchtower import CloudWatchLogFormatter, CloudWatchLogHandler

    handler = CloudWatchLogHandler(boto3_client=_StubCloudWatch(), create_log_group=False)
    handler.setFormatter(CloudWatchLogFormatter(add_log_record_attrs=("levelname", "name", *FIELDS)))
    return handler, handler.close


def logstash(ports: Mapping[str, int], directory: str) -> Handler:
    """Make python-logstash-async's handler over TCP, with its SQLite database on disk."""
    from logstash_async.formatter import LogstashFormatter
    from logstash_async.handler import AsynchronousLogstashHandler

    handler = AsynchronousLogstashHandler("127.0.0.1", ports["logstash"], os.path.join(directory, "logstash.db"))
    handler.setFormatter(LogstashFormatter())
    return handler, handler.close


def fluent(ports: Mapping[str, int], _directory: str) -> Handler:
    """Make fluent-logger's asynchronous handler, with a formatter that keeps all attributes."""
    from fluent.asynchandler import FluentHandler
    from fluent.handler import FluentRecordFormatter

    handler = FluentHandler("bench", host="127.0.0.1", port=ports["fluent"])
    handler.setFormatter(FluentRecordFormatter(exclude_attrs=("exc_info", "args", "stack_info")))
    return handler, handler.close


HANDLERS: Final[dict[str, Make]] = {
    "NullHandler": null,
    "FileHandler": file,
    "IPFSHandler": ours,
    "IPFSHandler, power": ours_synced,
    "OpenTelemetry": opentelemetry,
    "watchtower": watchtower,
    "python-logstash-async": logstash,
    "fluent-logger": fluent,
}
"""Functions that make a handler, by its name in the tables; the cost of the others is given by that of the first."""
