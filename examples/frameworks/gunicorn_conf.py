"""Gunicorn with prefork workers: `gunicorn -c gunicorn_conf.py wsgi_app:application`.

    IPFS_LOGS_HOME=/var/lib/shop/logs gunicorn -c gunicorn_conf.py wsgi_app:application

Master and workers share one home. Each worker is a writer of its own; whoever is first is the keeper for all.
"""

from __future__ import annotations

workers = 2
preload_app = True
max_requests = 1000
accesslog = "-"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
        "ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"},
    },
    "loggers": {
        "gunicorn.error": {"handlers": ["console", "ipfs"], "level": "INFO", "propagate": False},
        "gunicorn.access": {"handlers": ["console", "ipfs"], "level": "INFO", "propagate": False},
    },
    "root": {"handlers": ["console", "ipfs"], "level": "INFO"},
}
