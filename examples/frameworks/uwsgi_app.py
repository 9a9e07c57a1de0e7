"""The WSGI application under uWSGI, which has no setting for Python's logging: `uwsgi --ini uwsgi.ini`.

    IPFS_LOGS_HOME=/var/lib/shop/logs uwsgi --ini uwsgi.ini --http-socket 127.0.0.1:8000

Master and workers share one home. Each worker is a writer of its own; the first to ask is the keeper for all.
"""

from __future__ import annotations

import logging.config

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "line"},
            "ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"},
        },
        "root": {"handlers": ["console", "ipfs"], "level": "INFO"},
    }
)

from wsgi_app import application  # noqa: E402, F401 - what it logs while it is imported is kept, too
