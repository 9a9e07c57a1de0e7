"""Archive rotated log files and a report, and read them back by CID or version.

The home comes from IPFS_LOGS_HOME, or is the program's own directory under the user's state directory.
"""

from __future__ import annotations

import logging.handlers
import tempfile
from pathlib import Path

from ipfs_log_handlers.manager import get_ipfs_datasets_manager
from ipfs_log_handlers.rotator import Rotator


def rotate(where: Path) -> None:
    """Log more than fits into one file; the closed file is archived."""
    handler = logging.handlers.RotatingFileHandler(where / "shop.log", maxBytes=2_000, backupCount=1)
    handler.rotator = rotator = Rotator(component="shop")
    logger = logging.getLogger("shop")
    logger.addHandler(handler)
    for number in range(200):
        logger.warning("order %d placed", number)
    handler.close()
    print(f"{rotator.archived} rotated files archived, {rotator.failed} not")


def main() -> None:
    """Store, read back, make a version, and flush."""
    manager = get_ipfs_datasets_manager()
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        rotate(where)

        report = where / "report.csv"
        report.write_text("day,orders\n1,200\n")
        stored = manager.store(report, metadata={"name": "orders", "version": "1.0"})
        report.unlink()  # the home still has the bytes
        print(f"{stored['cid']} stored")

        loaded = manager.load(stored["cid"], where / "again.csv")
        print(Path(loaded["path"]).read_text(), end="")

        manager.store(
            data=b"day,orders\n1,201\n",
            metadata={"name": "orders", "version": "1.1", "parent": stored["cid"], "transformations": ["recount"]},
        )
    print("all sealed" if manager.flush() else "some archives still wait in the home")
    manager.close()


if __name__ == "__main__":
    main()
