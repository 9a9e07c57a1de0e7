"""Settings of a small Django project; `LOGGING` is all that there is to the signed log.

    IPFS_LOGS_HOME=/var/lib/shop/logs python manage.py runserver 8000
    IPFS_LOGS_HOME=/var/lib/shop/logs python manage.py restock 7

The server and the commands share the home that the environment names.
"""

from __future__ import annotations

SECRET_KEY = "for this example only"  # noqa: S105 - no secret
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["shop"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "filters": {"in_production": {"()": "django.utils.log.RequireDebugFalse"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
        "mail": {"class": "django.utils.log.AdminEmailHandler", "level": "ERROR", "filters": ["in_production"]},
        "ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"},
    },
    "loggers": {
        "django": {"handlers": ["mail"], "level": "INFO"},
        "django.server": {"handlers": ["console", "ipfs"], "level": "INFO", "propagate": False},
    },
    "root": {"handlers": ["console", "ipfs"], "level": "INFO"},
}
