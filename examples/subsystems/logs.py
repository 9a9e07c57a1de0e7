"""Log two records of logs; docs/subsystems/logs.md shows them."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler

log = logging.getLogger("shop.orders")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info("order %d placed", 4711, extra={"items": 3, "total": "19.90"})
log.warning("the payment service is slow", extra={"component": "payment", "waited_s": 2.5})
logging.shutdown()
