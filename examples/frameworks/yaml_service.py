"""A program whose logging is a YAML file: what an operator edits, no code knows.

IPFS_LOGS_HOME=/var/lib/shop/logs python yaml_service.py logging.yaml
"""

from __future__ import annotations

import logging.config
import sys
from pathlib import Path

import yaml

log = logging.getLogger("shop")


def main(configuration: Path) -> None:
    """Log under the configuration of a file."""
    logging.config.dictConfig(yaml.safe_load(configuration.read_text(encoding="utf-8")))
    for number in range(3):
        log.info("order placed", extra={"number": number})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
