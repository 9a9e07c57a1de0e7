"""Print a report on a home with `open_home()`: its records, its batches, and the result of all checks.

The home comes from IPFS_LOGS_HOME, or is the program's own directory under the user's state directory.
"""

from __future__ import annotations

import logging
from collections import Counter

from ipfs_log_handlers import IPFSHandler, open_home
from ipfs_log_handlers.api import Home


def log_something() -> None:
    """Log a few records, and seal them, so that there is something to report on."""
    handler = IPFSHandler("logs", batch={"records": 25})
    logger = logging.getLogger("shop")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    for number in range(100):
        logger.log(logging.ERROR if number % 10 == 0 else logging.INFO, "order %d", number)
    handler.flush()
    handler.close()


def report(home: Home) -> bool:
    """Print what is in a home; return whether every log is as it was signed."""
    for status in home.status():
        print(f"{status.subsystem}: {status.durable} records, {status.sealed} sealed, {status.shipped} shipped")
        if status.last_error is not None:
            print(f"  last error: {status.last_error}")
    for batch in home.batches():
        print(f"  batch {batch.index}: {batch.records} records, {batch.size} bytes, {batch.cid}")
    with home.dataset() as dataset:
        levels = Counter(record["level"] for name in home.subsystems for record in dataset.records(name))
    print(f"levels: {dict(levels)}")
    for check in home.health():
        if check.state != "ok":
            print(f"{check.state}: {check.check}: {check.found}")
    return all(checked.ok for checked in home.verify())


if __name__ == "__main__":
    log_something()
    raise SystemExit(0 if report(open_home()) else 1)
