"""Log two subsystems with logging and structlog; `logging.shutdown()` seals the records into signed batches.

The home comes from IPFS_LOGS_HOME, or is the program's own directory under the user's state directory.
"""

from __future__ import annotations

import logging
import logging.config

import structlog

from ipfs_log_handlers import IPFSProcessor

LOGGING = {
    "version": 1,
    "handlers": {
        "audit": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "audit"},
        "app": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"},
    },
    "loggers": {"audit": {"handlers": ["audit"], "level": "INFO"}},
    "root": {"handlers": ["app"], "level": "INFO"},
}


def main() -> None:
    """Log a few records of both kinds, then shut down."""
    logging.config.dictConfig(LOGGING)
    audit = logging.getLogger("audit")
    app = logging.getLogger("shop.orders")
    audit.propagate = False

    structlog.configure(processors=[IPFSProcessor("audit"), structlog.processors.KeyValueRenderer()])
    events = structlog.get_logger()

    audit.info(
        "%s signed in",
        "mira",
        extra={"event": "audit.event", "event_type": "authentication", "action": "login", "timestamp": 1772438400.0},
    )
    app.info("order %d placed", 4711, extra={"items": 3, "total": "19.90"})
    try:
        raise TimeoutError("the payment service did not answer")
    except TimeoutError:
        app.exception("order %d not paid", 4711)
    events.info("audit.event", event_type="authorization", action="read", status="granted", timestamp=1772438401.0)
    logging.shutdown()


if __name__ == "__main__":
    main()
