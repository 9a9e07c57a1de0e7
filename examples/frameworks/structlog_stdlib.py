"""Structlog in front of the logging module: its events and those of every library go to one signed log.

    IPFS_LOGS_HOME=/var/lib/shop/logs python structlog_stdlib.py

`wrap_for_formatter` hands event dicts on whole. The console renders them; the handler needs no formatter.
"""

from __future__ import annotations

import logging
import logging.config

import structlog
from structlog.stdlib import ProcessorFormatter

SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "console": {
            "()": ProcessorFormatter,
            "foreign_pre_chain": SHARED,
            "processors": [ProcessorFormatter.remove_processors_meta, structlog.dev.ConsoleRenderer()],
        }
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "console"},
        "ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"},
    },
    "root": {"handlers": ["console", "ipfs"], "level": "INFO"},
}
logging.config.dictConfig(LOGGING)
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, *SHARED, ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
log = structlog.get_logger("shop")


def main() -> None:
    """Log an event with structlog and a line as libraries do."""
    with structlog.contextvars.bound_contextvars(request="4711"):
        log.info("order placed", number=1)
        try:
            raise TimeoutError("the payment service did not answer")
        except TimeoutError:
            log.exception("order not paid", number=1)
    logging.getLogger("library").warning("retried %d times", 3, extra={"host": "payments"})


if __name__ == "__main__":
    main()
