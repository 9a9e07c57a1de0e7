"""Log, upload, keep further copies, and publish the home under a name that others can follow.

Set IPFS_LOGS_KUBO to the address of a Kubo daemon, and IPFS_LOGS_PINS to a pin service, such as
`cluster+http://127.0.0.1:9094` or `remote:SERVICE`. Without a daemon the records stay in the home.
"""

from __future__ import annotations

import logging
import logging.config
import os

from ipfs_log_handlers import StoreError, open_home

KUBO = os.environ.get("IPFS_LOGS_KUBO")
PINS = os.environ.get("IPFS_LOGS_PINS") if KUBO else None

LOGGING = {
    "version": 1,
    "handlers": {
        "audit": {
            "class": "ipfs_log_handlers.IPFSHandler",
            "subsystem": "audit",
            "kubo": KUBO,
            "pins": PINS,
            "replicas": 2 if PINS else 1,
            "publish": KUBO is not None,
        }
    },
    "loggers": {"shop": {"level": "INFO", "handlers": ["audit"]}},
}


def main() -> None:
    """Log some records; print where others find them."""
    logging.config.dictConfig(LOGGING)
    for user in ("ada", "ben"):
        logging.getLogger("shop").info("%s signed in", user, extra={"event_type": "authentication", "action": "login"})
    logging.shutdown()
    home = open_home()
    for status in home.status():
        print(f"{status.subsystem}: {status.durable} durable, {status.sealed} sealed, {status.shipped} shipped")
    key = home.public_key()
    print(f"verifier key: {key.verifier if key is not None else 'none yet'}")
    if KUBO is None:
        print("not published: set IPFS_LOGS_KUBO to the address of a daemon")
        return
    try:
        print(f"name: /ipns/{home.publish().name}")
    except StoreError as error:
        print(f"not published: {error}")


if __name__ == "__main__":
    main()
