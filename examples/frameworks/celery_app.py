"""Celery with prefork workers: what the worker and its tasks log goes to one signed log.

    IPFS_LOGS_HOME=/var/lib/shop/logs celery -A celery_app worker --concurrency 2
    python celery_app.py 100

`setup_logging` takes the place of Celery's own set-up, which would remove the handlers of the root logger.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from pathlib import Path

from celery import Celery
from celery.signals import setup_logging

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(processName)s %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
        "ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"},
    },
    "root": {"handlers": ["console", "ipfs"], "level": "INFO"},
}


@setup_logging.connect
def configure_logging(**_: object) -> None:
    """Configure logging in the worker's main process, before it forks."""
    logging.config.dictConfig(LOGGING)


QUEUE = Path(os.environ.get("SHOP_QUEUE", "queue"))
"""Any broker will do; a directory is enough for this example."""
QUEUE.mkdir(exist_ok=True)

app = Celery("celery_app", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(QUEUE),
    "data_folder_out": str(QUEUE),
    "control_folder": str(QUEUE / "control"),
    "polling_interval": 0.05,
}
log = logging.getLogger("shop")


@app.task
def place(number: int) -> None:
    """Place an order."""
    log.info("order placed", extra={"number": number})


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        place.delay(number)
