"""Who is measured: ours, the two ends of the scale in the standard library, and four peers that ship logs.

Each function takes the sinks' ports and a scratch directory and returns (handler, close): `close` returns when what
was logged has left, as far as that peer can tell. Peers run with their own defaults; where they drop fields by
default, they are told to keep them, since a record without its fields would be another record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, Literal

__all__ = ["FIELDS", "PEERS", "Peer"]

FIELDS: Final = ("user_id", "ip_address", "resource", "action", "status", "size", "details")
"""The seven extra fields of the record that is measured; `details` is nested."""

Handler = tuple[logging.Handler, Callable[[], None]]
Peer = Callable[[Mapping[str, int], str], Handler]


def null(_ports: Mapping[str, int], _scratch: str) -> Handler:
    """`logging.NullHandler`: what the call costs before anybody keeps the record."""
    handler = logging.NullHandler()
    return handler, handler.close


def file(_ports: Mapping[str, int], scratch: str) -> Handler:
    """`logging.FileHandler` with a plain text formatter, without the extra fields."""
    handler = logging.FileHandler(os.path.join(scratch, "app.log"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return handler, handler.close


def ours(_ports: Mapping[str, int], scratch: str) -> Handler:
    """`IPFSHandler`, durable at return, with its keeper running; ships where IPFS_LOGS_KUBO says, if it is set."""
    return _ours(scratch)


def ours_synced(_ports: Mapping[str, int], scratch: str) -> Handler:
    """The same with `durability="power"`: the call returns when its record would survive a power cut."""
    return _ours(scratch, "power")


def _ours(scratch: str, durability: Literal["process", "power"] = "process") -> Handler:
    from ipfs_log_handlers import IPFSHandler

    home = os.path.join(scratch, "home")
    handler = IPFSHandler(subsystem="logs", home=home, flush_timeout=120.0, durability=durability)
    return handler, handler.close


def opentelemetry(ports: Mapping[str, int], _scratch: str) -> Handler:
    """OpenTelemetry: LoggingHandler, BatchLogRecordProcessor and the OTLP/HTTP exporter."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{ports['otlp']}/v1/logs")
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return LoggingHandler(logger_provider=provider), provider.shutdown


class _StubCloudWatch:
    """As much of boto3's CloudWatch Logs client as watchtower calls; it takes everything and keeps nothing."""

    exceptions = SimpleNamespace(
        ClientError=type("ClientError", (Exception,), {}),
        OperationAbortedException=type("OperationAbortedException", (Exception,), {}),
        ResourceAlreadyExistsException=type("ResourceAlreadyExistsException", (Exception,), {}),
        DataAlreadyAcceptedException=type("DataAlreadyAcceptedException", (Exception,), {}),
        InvalidSequenceTokenException=type("InvalidSequenceTokenException", (Exception,), {}),
    )

    def create_log_stream(self, **_named: Any) -> None:
        """Says yes."""

    def put_log_events(self, **_named: Any) -> dict[str, str]:
        """Says that all was accepted."""
        return {"nextSequenceToken": "next"}


def watchtower(_ports: Mapping[str, int], _scratch: str) -> Handler:
    """The handler of watchtower with a client that answers at once: no network and no boto3 in the figure."""
    from watchtower import CloudWatchLogFormatter, CloudWatchLogHandler

    handler = CloudWatchLogHandler(boto3_client=_StubCloudWatch(), create_log_group=False)
    handler.setFormatter(CloudWatchLogFormatter(add_log_record_attrs=("levelname", "name", *FIELDS)))
    return handler, handler.close


def logstash(ports: Mapping[str, int], scratch: str) -> Handler:
    """python-logstash-async over TCP, with its SQLite database on disk."""
    from logstash_async.formatter import LogstashFormatter
    from logstash_async.handler import AsynchronousLogstashHandler

    handler = AsynchronousLogstashHandler("127.0.0.1", ports["logstash"], os.path.join(scratch, "logstash.db"))
    handler.setFormatter(LogstashFormatter())
    return handler, handler.close


def fluent(ports: Mapping[str, int], _scratch: str) -> Handler:
    """fluent-logger's asynchronous handler, with a formatter that keeps all attributes."""
    from fluent.asynchandler import FluentHandler
    from fluent.handler import FluentRecordFormatter

    handler = FluentHandler("bench", host="127.0.0.1", port=ports["fluent"])
    handler.setFormatter(FluentRecordFormatter(exclude_attrs=("exc_info", "args", "stack_info")))
    return handler, handler.close


PEERS: Final[dict[str, Peer]] = {
    "NullHandler": null,
    "FileHandler": file,
    "IPFSHandler": ours,
    "IPFSHandler, power": ours_synced,
    "OpenTelemetry": opentelemetry,
    "watchtower": watchtower,
    "python-logstash-async": logstash,
    "fluent-logger": fluent,
}
"""By the name that the tables use; the first one is the measure of the others."""
