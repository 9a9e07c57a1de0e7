"""Who stands in the reliability table: handlers as dictConfig makes them, each with its own defaults.

Each function takes the port of its other end and a directory that outlives the process, and returns a handler. What is
not a default is what the handler cannot do without: an address, a directory, a client with an endpoint of ours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

__all__ = ["CONTENDERS", "SPEAKS", "configuration", "make"]


def ours(port: int, directory: str) -> logging.Handler:
    """`IPFSHandler`, shipping to a Kubo daemon."""
    from ipfs_log_handlers import IPFSHandler

    return IPFSHandler("logs", home=os.path.join(directory, "home"), kubo=f"http://127.0.0.1:{port}")


def watchtower(port: int, _directory: str) -> logging.Handler:
    """watchtower, by boto3."""
    import boto3
    from watchtower import CloudWatchLogHandler

    client = boto3.client(
        "logs",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106 - nobody checks it
    )
    handler: logging.Handler = CloudWatchLogHandler(boto3_client=client)
    return handler


def opentelemetry(port: int, _directory: str) -> logging.Handler:
    """OpenTelemetry: LoggingHandler, BatchLogRecordProcessor and the OTLP/HTTP exporter."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider()
    provider.add_log_record_processor(
        BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"http://127.0.0.1:{port}/v1/logs"))
    )
    handler: logging.Handler = LoggingHandler(logger_provider=provider)
    return handler


def logstash(port: int, directory: str) -> logging.Handler:
    """python-logstash-async over TCP, with its database on disk."""
    from logstash_async.handler import AsynchronousLogstashHandler

    handler: logging.Handler = AsynchronousLogstashHandler("127.0.0.1", port, os.path.join(directory, "logstash.db"))
    return handler


def loki(port: int, _directory: str) -> logging.Handler:
    """python-logging-loki: a request for each record."""
    from logging_loki import LokiHandler

    handler: logging.Handler = LokiHandler(url=f"http://127.0.0.1:{port}/loki/api/v1/push", version="1")
    return handler


def fluent(port: int, _directory: str) -> logging.Handler:
    """fluent-logger's asynchronous handler with the formatter that it comes with."""
    from fluent.asynchandler import FluentHandler
    from fluent.handler import FluentRecordFormatter

    handler: logging.Handler = FluentHandler("bench", host="127.0.0.1", port=port)
    handler.setFormatter(FluentRecordFormatter())
    return handler


def sentry(port: int, _directory: str) -> logging.Handler:
    """sentry-sdk with its logs enabled: it is no handler, but patches logging when it is told to begin."""
    import sentry_sdk

    sentry_sdk.init(dsn=f"http://key@127.0.0.1:{port}/1", enable_logs=True)
    return logging.NullHandler()


CONTENDERS: Final[Mapping[str, Callable[[int, str], logging.Handler]]] = {
    "IPFSHandler": ours,
    "watchtower": watchtower,
    "OpenTelemetry": opentelemetry,
    "python-logstash-async": logstash,
    "python-logging-loki": loki,
    "fluent-logger": fluent,
    "sentry-sdk": sentry,
}
"""By the name that the table uses."""

SPEAKS: Final[Mapping[str, Literal["kubo", "http", "tcp"]]] = {
    "IPFSHandler": "kubo",
    "watchtower": "http",
    "OpenTelemetry": "http",
    "python-logstash-async": "tcp",
    "python-logging-loki": "http",
    "fluent-logger": "tcp",
    "sentry-sdk": "http",
}
"""What the other end must understand."""


def make(name: str, port: int, directory: str) -> logging.Handler:
    """A contender's handler: what dictConfig calls."""
    return CONTENDERS[name](port, directory)


def configuration(name: str, port: int, directory: str, level: str = "INFO") -> dict[str, Any]:
    """What `logging.config.dictConfig` takes: the contender alone at the root."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"h": {"()": make, "name": name, "port": port, "directory": directory}},
        "root": {"level": level, "handlers": ["h"]},
    }
