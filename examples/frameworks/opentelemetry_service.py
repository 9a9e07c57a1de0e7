"""OpenTelemetry: what is logged while a span is active has its `trace_id` and `span_id`, without a setting.

IPFS_LOGS_HOME=/var/lib/shop/logs python opentelemetry_service.py
"""

from __future__ import annotations

import logging
import logging.config

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"}},
    "root": {"handlers": ["ipfs"], "level": "INFO"},
}

log = logging.getLogger("shop")


def main() -> None:
    """Log outside and inside of a span."""
    logging.config.dictConfig(LOGGING)
    trace.set_tracer_provider(TracerProvider())
    tracer = trace.get_tracer("shop")
    log.info("opened")
    with tracer.start_as_current_span("order") as span:
        log.info("order placed", extra={"number": 1})
        context = span.get_span_context()
        print(trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))


if __name__ == "__main__":
    main()
