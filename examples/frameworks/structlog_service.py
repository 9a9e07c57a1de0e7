"""Structlog alone: `IPFSProcessor` in the chain, before the renderer that writes for people.

IPFS_LOGS_HOME=/var/lib/shop/logs python structlog_service.py
"""

from __future__ import annotations

import structlog

from ipfs_log_handlers import IPFSProcessor

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.dev.set_exc_info,
        IPFSProcessor("logs"),
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(),
    ]
)

log = structlog.get_logger().bind(logger="shop")


def main() -> None:
    """Log with context, and an exception."""
    with structlog.contextvars.bound_contextvars(request="4711"):
        log.info("order placed", number=1)
        try:
            raise TimeoutError("the payment service did not answer")
        except TimeoutError:
            log.exception("order not paid", number=1)


if __name__ == "__main__":
    main()
