"""Make the handlers of the reliability table as dictConfig does, each with its defaults.

Each function takes the port of a server and a directory that outlives the process, and returns a handler. Only the
settings that a handler cannot work without are given: an address, a directory, a client with the endpoint of the
server.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

__all__ = ["HANDLERS", "PROTOCOLS", "configuration", "make"]


def ours(port: int, directory: str) -> logging.Handler:
    """Make an `IPFSHandler` that ships to a Kubo daemon."""
    from ipfs_log_handlers import IPFSHandler

    return IPFSHandler("logs", home=os.path.join(directory, "home"), kubo=f"http://127.0.0.1:{port}")


def watchtower(port: int, _directory: str) -> logging.Handler:
    """Make watchtower's handler with a client of boto3."""
    import boto3
    from watchtower import CloudWatchLogHandler

    client = boto3.client(
        "logs",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106 - the server does not check it
    )
    handler: logging.Handler = CloudWatchLogHandler(boto3_client=client)
    return handler


def opentelemetry(port: int, _directory: str) -> logging.Handler:
    """Make OpenTelemetry's handler: LoggingHandler, BatchLogRecordProcessor and the OTLP/HTTP exporter."""
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
    """Make python-logstash-async's handler over TCP, with its database on disk."""
    from logstash_async.handler import AsynchronousLogstashHandler

    handler: logging.Handler = AsynchronousLogstashHandler("127.0.0.1", port, os.path.join(directory, "logstash.db"))
    return handler


def loki(port: int, _directory: str) -> logging.Handler:
    """Make python-logging-loki's handler, which sends a request for each record."""
    from logging_loki import LokiHandler

    handler: logging.Handler = LokiHandler(url=f"http://127.0.0.1:{port}/loki/api/v1/push", version="1")
    return handler


def fluent(port: int, _directory: str) -> logging.Handler:
    """Make fluent-logger's asynchronous handler with its own formatter."""
    from fluent.asynchandler import FluentHandler
    from fluent.handler import FluentRecordFormatter

    handler: logging.Handler = FluentHandler("bench", host="127.0.0.1", port=port)
    handler.setFormatter(FluentRecordFormatter())
    return handler


def sentry(port: int, _directory: str) -> logging.Handler:
    """Start sentry-sdk with its logs enabled; it has no handler, but patches logging when it is initialised."""
    import sentry_sdk

    sentry_sdk.init(dsn=f"http://key@127.0.0.1:{port}/1", enable_logs=True)
    return logging.NullHandler()


HANDLERS: Final[Mapping[str, Callable[[int, str], logging.Handler]]] = {
    "IPFSHandler": ours,
    "watchtower": watchtower,
    "OpenTelemetry": opentelemetry,
    "python-logstash-async": logstash,
    "python-logging-loki": loki,
    "fluent-logger": fluent,
    "sentry-sdk": sentry,
}
"""Functions that make a handler, by its name in the table."""

PROTOCOLS: Final[Mapping[str, Literal["kubo", "http", "tcp"]]] = {
    "IPFSHandler": "kubo",
    "watchtower": "http",
    "OpenTelemetry": "http",
    "python-logstash-async": "tcp",
    "python-logging-loki": "http",
    "fluent-logger": "tcp",
    "sentry-sdk": "http",
}
"""The protocol that the server of each handler must understand."""


def make(name: str, port: int, directory: str) -> logging.Handler:
    """Make a handler; dictConfig calls this."""
    return HANDLERS[name](port, directory)


def configuration(name: str, port: int, directory: str, level: str = "INFO") -> dict[str, Any]:
    """Return a configuration for dictConfig in which the root logger has this handler alone."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"h": {"()": make, "name": name, "port": port, "directory": directory}},
        "root": {"level": level, "handlers": ["h"]},
    }
